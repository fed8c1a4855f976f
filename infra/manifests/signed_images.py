"""Only images that a workflow of the repository has signed run in Vigil's namespaces.

The API server itself wants Vigil's own image by its digest; policy-controller or Kyverno, which is
in the cluster already, looks whether that digest is signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.manifests.bindings import RAY_NAMESPACE, TRACKING_NAMESPACE
from infra.manifests.parts import Manifest, Manifests, kube_manifest
from infra.settings import PlatformSettings
from infra.trust import GITHUB_ISSUER

SIGNED_NAMESPACES = (RAY_NAMESPACE, TRACKING_NAMESPACE)  # no image but Vigil's runs there
SIGNING_WORKFLOW = ".github/workflows/build-deploy.yml"
INCLUDED_LABEL = {"policy.sigstore.dev/include": "true"}  # policy-controller looks at no other
_NAME = "vigil-signed-images"
_ISSUER = f"https://{GITHUB_ISSUER}"
_ADMISSION_API = "admissionregistration.k8s.io/v1"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_IN_NAMESPACES = {
    "matchExpressions": [
        {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": list(SIGNED_NAMESPACES),
        }
    ]
}
_PODS = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["pods", "pods/ephemeralcontainers"],
}
# That of cosign 3, which the workflow signs with.
_SIGNATURE_FORMAT = "bundle"


def signed_image_manifests(settings: PlatformSettings) -> Manifests:
    """What refuses other images, where a stack asks for it."""
    if settings.image_admission == "off":
        return []
    controllers = {"policy-controller": _image_policy, "kyverno": _validating_policy}
    return [
        _digest_policy(settings),
        _digest_binding(),
        controllers[settings.image_admission](settings),
    ]


def api_of_image_admission(settings: PlatformSettings) -> dict[str, str]:
    """The API of the controller that looks at signatures, with the setting that needs it."""
    objects = signed_image_manifests(settings)
    return {one["apiVersion"]: "imageAdmission" for one in objects if _is_of_others(one)}


def _is_of_others(one: Manifest) -> bool:
    return one["apiVersion"] != _ADMISSION_API


def namespace_labels(settings: PlatformSettings, namespace: str) -> dict[str, str]:
    """What a controller of images reads on a namespace."""
    is_included = namespace in SIGNED_NAMESPACES
    return INCLUDED_LABEL if is_included and settings.image_admission == "policy-controller" else {}


def _repository(settings: PlatformSettings) -> str:
    return settings.image_ref.partition("@")[0]


def _digest_policy(settings: PlatformSettings) -> Manifest:
    pinned = f"^{re.escape(_repository(settings))}@sha256:[0-9a-f]{{64}}$"
    image = settings.image_ref.partition("@")[0]
    validation = {
        "expression": " && ".join(_all_match(field, pinned) for field in _CONTAINERS),
        "message": f"an image is not {image} by its digest: no other runs in this namespace",
    }
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_PODS]},
        "validations": [validation],
    }
    return kube_manifest(
        _ADMISSION_API,
        "ValidatingAdmissionPolicy",
        _NAME,
        None,
        spec=spec,
    )


def _all_match(field: str, pattern: str) -> str:
    """CEL: every container of a field has an image of the pattern."""
    return f"object.spec.?{field}.orValue([]).all(c, c.image.matches(r'{pattern}'))"


def _digest_binding() -> Manifest:
    spec = {
        "policyName": _NAME,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": _IN_NAMESPACES},
    }
    kind = "ValidatingAdmissionPolicyBinding"
    return kube_manifest(
        _ADMISSION_API,
        kind,
        _NAME,
        None,
        spec=spec,
    )


def _identities(settings: PlatformSettings) -> Iterator[dict[str, str]]:
    """Who signs: the workflow, of the branch `main` or of a tag for a release."""
    workflow = f"https://github.com/{settings.github_repository}/{SIGNING_WORKFLOW}"
    yield {"issuer": _ISSUER, "subject": f"{workflow}@refs/heads/main"}
    yield {"issuer": _ISSUER, "subjectRegExp": f"^{re.escape(workflow)}@refs/tags/v[^/]+$"}


def _image_policy(settings: PlatformSettings) -> Manifest:
    authority = {
        "name": "workflow",
        "signatureFormat": _SIGNATURE_FORMAT,
        "keyless": {
            "url": "https://fulcio.sigstore.dev",
            "identities": [*_identities(settings)],
        },
        "ctlog": {"url": "https://rekor.sigstore.dev"},
    }
    spec = {
        "mode": "enforce",
        "images": [{"glob": f"{_repository(settings)}*"}],
        "authorities": [authority],
    }
    return kube_manifest(
        "policy.sigstore.dev/v1beta1", "ClusterImagePolicy", _NAME, None, spec=spec
    )


def _validating_policy(settings: PlatformSettings) -> Manifest:
    keyless = {"identities": [*_identities(settings)]}
    rekor = {"url": "https://rekor.sigstore.dev"}
    spec = {
        "failurePolicy": "Fail",
        "validationActions": ["Deny"],
        "matchConstraints": {"resourceRules": [_PODS], "namespaceSelector": _IN_NAMESPACES},
        "matchImageReferences": [{"glob": f"{_repository(settings)}*"}],
        "validationConfigurations": {
            "required": True,
            "verifyDigest": True,
            "mutateDigest": False,  # it is there
        },
        "attestors": [{"name": "workflow", "cosign": {"keyless": keyless, "ctlog": rekor}}],
        "validations": [_signature_check(field) for field in _CONTAINERS],
        **({"credentials": {"providers": ["amazon"]}} if settings.on_aws else {}),
    }
    api = "policies.kyverno.io/v1"
    return kube_manifest(
        api,
        "ImageValidatingPolicy",
        _NAME,
        None,
        spec=spec,
    )


def _signature_check(field: str) -> dict[str, str]:
    signed = "verifyImageSignatures(image, [attestors.workflow])"
    return {
        "expression": f"images.{field}.map(image, {signed}).all(found, found > 0)",
        "message": "an image is not signed by the workflow that builds Vigil's images",
    }
