"""What is wrong with KubeRay's operator, and with the kinds that it serves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infra.diagnosis.objects import KubeObject, RawObject, nested
from infra.diagnosis.report import Diagnoses, Diagnosis, failure, risk
from infra.diagnosis.snapshot import ClusterSnapshot

_DEFINITIONS = ("rayclusters.ray.io", "rayservices.ray.io")
# A field of the RayCluster by the version of the operator that brought it.
_MARK_FIELD = ("headGroupSpec", "ingressOptions")
_MARK_VERSION = (1, 7)
_MARK_RELEASE = "1.7"
_INSTALL = "`pulumi up` installs the chart kuberay-operator"
_NO_OPERATOR = "its CRDs are there and no operator is: nothing makes Ray's pods"
_OPERATOR_FIX = "`pulumi up` brings the operator of the chart; it must not be older than the CRDs"
_CRDS_FIX = (
    "Helm never upgrades CRDs: `kubectl apply --server-side --force-conflicts -k"
    ' "github.com/ray-project/kuberay/ray-operator/config/crd?ref=vVERSION"`'
)
_TAG_VERSION = re.compile(r":v?(\d+)\.(\d+)(?:\.\d+)?(?:@|-|$)")


def diagnose_operator(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield what the operator and the kinds that it serves lack; both have to be of one version."""
    if not snapshot.has("CustomResourceDefinition"):
        return
    definitions = snapshot.by_name("CustomResourceDefinition")
    missing = [name for name in _DEFINITIONS if name not in definitions]
    if missing:
        yield failure("KubeRay", f"the cluster does not know {', '.join(missing)}", _INSTALL)
    else:
        yield from _diagnose_operators(snapshot, _has_mark(definitions[_DEFINITIONS[0]]))


def _diagnose_operators(snapshot: ClusterSnapshot, has_mark: bool) -> Diagnoses:
    operators = list(_operators(snapshot))
    if not operators:
        yield failure("KubeRay", _NO_OPERATOR, _INSTALL)
    for operator in operators:
        yield from _unavailable(operator)
        yield from _version_mismatch(operator, has_mark)


def _operators(snapshot: ClusterSnapshot) -> Iterator[Operator]:
    for deployment in snapshot.of("Deployment"):
        if _is_operator(deployment):
            yield Operator(deployment)


def _is_operator(deployment: KubeObject) -> bool:
    return deployment.labels.get("app.kubernetes.io/name") == "kuberay-operator"


@dataclass(frozen=True)
class Operator:
    """A deployment of KubeRay's operator."""

    deployment: KubeObject

    def __str__(self) -> str:
        return f"KubeRay operator {self.deployment.qualified_name}"

    @property
    def image(self) -> str:
        """Its image."""
        return self.deployment.items("spec.template.spec.containers")[0]["image"]

    @property
    def version(self) -> tuple[int, int] | None:
        """Major and minor of the image's tag; None where the tag is no version."""
        match = _TAG_VERSION.search(self.image)
        if match is None:
            return None
        return int(match[1]), int(match[2])

    def against(self, definitions: str) -> str:
        """Return what does not fit: its image, and the definitions of this age."""
        return f"({self.image} against CRDs {definitions})"


def _unavailable(operator: Operator) -> Diagnoses:
    deployment = operator.deployment
    if deployment.status.get("availableReplicas"):
        return
    replicas = deployment.raw["spec"].get("replicas", 1)
    why = f"0 of {replicas} pods are available: nothing makes or mends Ray's pods"
    yield failure(str(operator), why, f"`kubectl -n {deployment.namespace} describe pods`")


def _version_mismatch(operator: Operator, has_mark: bool) -> Diagnoses:
    version = operator.version
    if version is None or has_mark == (version >= _MARK_VERSION):
        return
    if has_mark:
        yield _old_operator(operator)
    else:
        yield _old_definitions(operator)


def _old_operator(operator: Operator) -> Diagnosis:
    against = operator.against(f"of {_MARK_RELEASE}")
    why = f"is older than its CRDs {against}: new fields are ignored"
    return risk(str(operator), why, _OPERATOR_FIX)


def _old_definitions(operator: Operator) -> Diagnosis:
    against = operator.against(f"older than {_MARK_RELEASE}")
    why = f"is newer than its CRDs {against}: new fields are dropped"
    return risk(str(operator), why, _CRDS_FIX)


def _has_mark(definition: KubeObject) -> bool:
    """Return whether the definition of RayCluster has the field of the mark's version."""
    schema = _schema(definition)
    for name in ("spec", *_MARK_FIELD):
        schema = nested(schema, f"properties.{name}") or {}
    return bool(schema)


def _schema(definition: KubeObject) -> RawObject:
    for version in definition.items("spec.versions"):
        if version["name"] == "v1":
            return version["schema"]["openAPIV3Schema"]
    return {}
