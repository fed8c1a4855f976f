"""Every rendered object against the schema of who will read it."""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.serve.schema import ServeDeploySchema

from drift.settings import DriftSettings
from infra.manifests import ray
from infra.manifests.parts import Manifest
from infra.settings import PlatformSettings
from serve.settings import ServeSettings
from tests.infra.recorded import ROOT
from tests.infra.rendered import BOUND, VARIANTS, objects_of, settings_of

CORE = (
    "v1",
    "apps/v1",
    "batch/v1",
    "policy/v1",
    "networking.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
)


# Validated by their own operators only: their CRDs are not among the test data.
WITH_SCHEMA_OF_OTHERS = {
    "karpenter.sh/v1",
    "karpenter.k8s.aws/v1",
    "eks.amazonaws.com/v1",
    "monitoring.coreos.com/v1",
    "monitoring.coreos.com/v1alpha1",
    "gateway.networking.k8s.io/v1",
    "policies.kyverno.io/v1",
    "policy.sigstore.dev/v1beta1",
    "argoproj.io/v1alpha1",
}


@pytest.fixture(
    params=VARIANTS,
    ids=[f"{stack}-{'-'.join(changes) or 'as-is'}"[:60] for stack, changes in VARIANTS],
)
def settings(request: pytest.FixtureRequest) -> PlatformSettings:
    stack, changes = request.param
    return settings_of(stack, **changes)


@pytest.fixture(scope="session")
def ray_schemas() -> dict[tuple[str, str], Draft202012Validator]:
    """KubeRay's CRDs, with unknown fields as errors: the API server would drop them silently."""
    folder = Path(os.environ.get("VIGIL_TEST_CRDS", ROOT.parent / "shared" / "crds"))
    if not folder.is_dir():
        pytest.skip(f"no KubeRay CRDs: set VIGIL_TEST_CRDS to their folder ({folder} is absent)")
    wanted = [crd for file in sorted(folder.glob("ray.io_ray[cs]*s.yaml")) for crd in [_load(file)]]
    return {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): _validator(
            version["schema"]["openAPIV3Schema"]
        )
        for crd in wanted
        for version in crd["spec"]["versions"]
        if version["name"] == "v1"
    }


@cache
def _load(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(), yaml.CSafeLoader)


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    strict = _strict(schema)
    strict["properties"]["metadata"] = {"type": "object"}  # the API server checks it by itself
    return Draft202012Validator(strict)


def _strict(schema: Any) -> Any:
    """A structural schema as JSON schema that allows no other fields."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    if found.pop("x-kubernetes-int-or-string", False):
        found.pop("anyOf", None)
        found["type"] = ["integer", "string"]
    free = found.pop("x-kubernetes-preserve-unknown-fields", False) or found.pop(
        "x-kubernetes-embedded-resource", False
    )
    for key in ("properties", "patternProperties"):
        if key in found:
            found[key] = {name: _strict(one) for name, one in found[key].items()}
    for key in ("items", "additionalProperties"):
        found |= {key: _strict(found[key])} if isinstance(found.get(key), dict) else {}
    if "properties" in found and "additionalProperties" not in found and not free:
        found["additionalProperties"] = False
    return found


def _errors(validator: Draft202012Validator, one: Manifest) -> list[str]:
    return [
        f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}"
        for e in validator.iter_errors(one)
    ]


def test_ray_objects_are_what_kuberay_reads(
    settings: PlatformSettings, ray_schemas: dict[tuple[str, str], Draft202012Validator]
) -> None:
    found = [one for one in objects_of(settings) if one["apiVersion"] == "ray.io/v1"]
    assert [one["kind"] for one in found] == ["RayService", "RayCluster"]
    for one in found:
        assert _errors(ray_schemas[one["apiVersion"], one["kind"]], one) == []


def test_the_ray_schemas_do_refuse(
    ray_schemas: dict[tuple[str, str], Draft202012Validator],
) -> None:
    good = ray.ray_service(settings_of("prod"), BOUND)
    schema = ray_schemas["ray.io/v1", "RayService"]
    bad = copy.deepcopy(good)
    group = bad["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    group["minReplica"] = group.pop("minReplicas")
    group["template"]["spec"]["containers"][0]["port"] = []
    assert len(_errors(schema, bad)) == 3


def test_core_objects_are_valid_for_the_configured_version(settings: PlatformSettings) -> None:
    for one in objects_of(settings):
        if one["apiVersion"] in CORE:
            kubernetes_validate.validate(one, settings.kubernetes_version, strict=True)
        else:
            assert one["apiVersion"] == "ray.io/v1" or one["apiVersion"] in WITH_SCHEMA_OF_OTHERS


def test_the_serve_configuration_is_what_serve_reads(settings: PlatformSettings) -> None:
    spec = ray.ray_service(settings, BOUND)["spec"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    serve, drift, *streams = config.applications
    assert [one.import_path for one in streams] == ["serve.stream.app:build"] * bool(
        settings.serve.stream_source
    )
    assert (serve.import_path, drift.import_path) == ("serve.http.app:build", "drift.monitor:build")
    # The arguments are the classes' own: what is rendered can be read back by the code.
    assert (
        ServeSettings.from_values(**serve.args).model_name
        == DriftSettings.from_values(**drift.args).model_name
        == "vigil"
    )
    assert (
        DriftSettings.from_values(**drift.args).jobs_url
        == "http://vigil-train-head-svc.vigil.svc.cluster.local:8265"
    )
    detector = serve.deployments[0]
    assert detector.autoscaling_config["max_replicas"] == settings.serve.max_replicas  # type: ignore[index,call-overload]
    assert not {"model_version", "version"} & {*serve.args, *(detector.user_config or {})}  # type: ignore[misc]
