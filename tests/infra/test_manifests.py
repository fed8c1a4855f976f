"""Every rendered object against the schema of who will read it."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.serve.schema import ServeDeploySchema

from drift.settings import DriftSettings
from infra.manifests import all_objects, ray, ray_config
from infra.manifests.bindings import RAY_NAMESPACE, TRACKING_NAMESPACE, Bindings
from infra.manifests.operators import helm_charts
from infra.manifests.parts import Manifest
from infra.settings import PlatformSettings
from serve.applications import ray_process_environment
from serve.settings import ServeSettings
from tests.infra.recorded import ROOT, STACKS, changed

BOUND = Bindings(
    "db.example",
    "arn:aws:secretsmanager:eu-west-1:111122223333:secret:rds",
    "fs-1",
    "rediss://redis.example:6379",
)
CORE = (
    "v1",
    "apps/v1",
    "batch/v1",
    "policy/v1",
    "networking.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1",
)
# Validated by their own operators only: their CRDs are not among the test data.
WITH_SCHEMA_OF_OTHERS = {
    "karpenter.sh/v1",
    "karpenter.k8s.aws/v1",
    "eks.amazonaws.com/v1",
    "monitoring.coreos.com/v1",
    "monitoring.coreos.com/v1alpha1",
    "gateway.networking.k8s.io/v1",
    "argoproj.io/v1alpha1",
}


def settings_of(stack: str, **changes: Any) -> PlatformSettings:
    return changed(stack, **changes)


VARIANTS = [
    *((stack, {}) for stack in STACKS),
    ("dev", {"nodes": "auto", "ingress": "gateway", "hostname": "vigil.example"}),
    ("dev", {"shared_folder": False}),
    ("dev", {"nodes": "static", "haproxy": False, "spot_serving": False, "monitoring": False}),
    (
        "local",
        {
            "monitoring": True,
            "train_schedule": "0 3 * * *",
            "train_data": "/var/lib/vigil/a.csv",
            "gcs_fault_tolerance": "redis",
            "redis_address": "redis://redis:6379",
        },
    ),
]


@pytest.fixture(
    params=VARIANTS,
    ids=[f"{stack}-{'-'.join(changes) or 'as-is'}"[:60] for stack, changes in VARIANTS],
)
def settings(request: pytest.FixtureRequest) -> PlatformSettings:
    stack, changes = request.param
    return settings_of(stack, **changes)


def objects_of(settings: PlatformSettings) -> list[Manifest]:
    return [one for group in all_objects(settings, BOUND).values() for one in group]


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


@pytest.mark.parametrize("issuer", [None, "https://login.example.com"])
def test_nobody_calls_without_a_key_of_the_secret_or_a_token_of_the_provider(
    issuer: str | None,
) -> None:
    audience = issuer and "vigil"
    platform = changed("prod", serve={"oidc_issuer": issuer, "oidc_audience": audience})
    serve = ServeSettings.from_values(
        **ray_config.serve_config(platform)["applications"][0]["args"]
    )
    assert serve.auth_required
    assert (serve.oidc_issuer, serve.oidc_audience) == (issuer, audience)
    pod = ray.ray_service(platform, BOUND)["spec"]["rayClusterConfig"]["workerGroupSpecs"][0][
        "template"
    ]["spec"]
    volume = next(one for one in pod["volumes"] if one["name"] == "keys")["secret"]
    mount = next(one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "keys")
    assert (volume["secretName"], volume["optional"]) == ("api-keys", True)
    assert str(serve.key_file) == f"{mount['mountPath']}/keys.json"
    assert mount["readOnly"]


def test_the_console_links_to_what_the_stack_names() -> None:
    serve = ServeSettings.from_values(
        **ray_config.serve_config(settings_of("prod"))["applications"][0]["deployments"][0][
            "user_config"
        ]
    )
    assert serve.links == {"Grafana": "https://grafana.example.com/dashboards"}


def test_haproxy_keeps_the_limits_of_the_settings() -> None:
    platform = settings_of("prod")
    values = {one["name"]: one.get("value") for one in ray_config.ray_variables(platform)}
    assert values.items() >= ray_process_environment(ray_config.serve_settings(platform)).items()


def test_the_drift_monitor_has_a_worker_group_of_its_own() -> None:
    cluster = ray.ray_service(settings_of("prod"), BOUND)["spec"]["rayClusterConfig"]
    accounts = {
        g["groupName"]: g["template"]["spec"]["serviceAccountName"]
        for g in cluster["workerGroupSpecs"]
    }
    assert accounts == {"serve": "vigil-serve", "monitor": "vigil-drift", "stream": "vigil-stream"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    source = (ROOT / "drift" / "monitor.py").read_text()
    assert "class DriftMonitor:" in source  # the deployment that serveConfigV2 names


def _pods(one: Manifest) -> list[Manifest]:
    """Every pod template in an object."""
    spec = one.get("spec", {})
    cluster = spec.get("rayClusterConfig", spec)
    if "headGroupSpec" in cluster:
        return [
            cluster["headGroupSpec"]["template"],
            *(group["template"] for group in cluster["workerGroupSpecs"]),
        ]
    return (
        [spec["jobTemplate"]["spec"]["template"]]
        if "jobTemplate" in spec
        else [spec["template"]]
        if "containers" in str(spec)
        else []
    )


def test_every_pod_is_restricted_and_bounded(settings: PlatformSettings) -> None:
    pods = [pod["spec"] for one in objects_of(settings) for pod in _pods(one)]
    assert len(pods) >= 7
    for pod in pods:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostNetwork")
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert container["image"] == settings.image_ref
            assert not container["image"].endswith(":latest")
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_head_and_workers_have_one_environment(settings: PlatformSettings) -> None:
    for one in (ray.ray_service(settings, BOUND), ray.training_cluster(settings)):
        environments = [pod["spec"]["containers"][0]["env"] for pod in _pods(one)]
        assert all(environment == environments[0] for environment in environments)
        values = {variable["name"]: variable.get("value") for variable in environments[0]}
        assert (
            values["RAY_SERVE_ENABLE_HA_PROXY"]
            == values["RAY_SERVE_THROUGHPUT_OPTIMIZED"]
            == ("1" if settings.haproxy else "0")
        )
        assert values["VIGIL_TRAIN_TRACKING_URI"] == ray_config.TRACKING_URI


def test_the_environment_names_variables_that_exist() -> None:
    names = {variable["name"] for variable in ray_config.ray_variables(settings_of("prod"))}
    constants = (Path(_module_file("ray.serve._private.constants"))).read_text()
    serve = {name for name in names if name.startswith("RAY_SERVE_")}
    assert serve
    assert {name for name in serve if name not in constants} == set()


def _module_file(name: str) -> str:
    import importlib.util

    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def test_a_pod_outlives_its_draining() -> None:
    cluster = ray.ray_service(settings_of("prod"), BOUND)["spec"]["rayClusterConfig"]
    for group in cluster["workerGroupSpecs"]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > ray_config.DRAIN_S


def test_the_training_cluster_rests_at_zero() -> None:
    group = ray.training_cluster(settings_of("prod"))["spec"]["workerGroupSpecs"][0]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (0, 0, 4)


def test_the_ray_version_is_the_one_that_is_installed() -> None:
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"ray[data,serve,train]=={ray_config.RAY_VERSION}" in pinned


def test_namespaces_deny_by_default_and_nothing_but_port_8000_comes_in_from_outside() -> None:
    found = objects_of(settings_of("prod"))
    policies = [one for one in found if one["kind"] == "NetworkPolicy"]
    for namespace in (RAY_NAMESPACE, TRACKING_NAMESPACE):
        denied = [
            p
            for p in policies
            if p["metadata"]["namespace"] == namespace and p["metadata"]["name"] == "deny-all"
        ]
        assert denied[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    outside = [
        (policy["metadata"]["name"], port["port"])
        for policy in policies
        for rule in policy["spec"].get("ingress", [])
        if any("ipBlock" in peer for peer in rule["from"])
        for port in rule["ports"]
    ]
    assert outside == [("ingress", 8000)]
    (way_in,) = [one for one in found if one["kind"] == "Ingress"]
    assert [path["backend"]["service"] for path in way_in["spec"]["rules"][0]["http"]["paths"]] == [
        {"name": "vigil-serve-svc", "port": {"number": 8000}}
    ]


def test_the_restricted_level_is_enforced_where_our_pods_run() -> None:
    labels = {
        one["metadata"]["name"]: one["metadata"]["labels"]
        for one in objects_of(settings_of("prod"))
        if one["kind"] == "Namespace"
    }
    for namespace in (RAY_NAMESPACE, TRACKING_NAMESPACE):
        assert labels[namespace]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_names_that_objects_refer_to_exist(settings: PlatformSettings) -> None:
    found = objects_of(settings)
    claims = {
        (o["metadata"]["namespace"], o["metadata"]["name"])
        for o in found
        if o["kind"] == "PersistentVolumeClaim"
    }
    accounts = {
        (o["metadata"]["namespace"], o["metadata"]["name"])
        for o in found
        if o["kind"] == "ServiceAccount"
    }
    configs = {
        (o["metadata"]["namespace"], o["metadata"]["name"])
        for o in found
        if o["kind"] == "ConfigMap"
    }
    for one in found:
        for pod in _pods(one):
            namespace = one["metadata"]["namespace"]
            assert pod["spec"].get("serviceAccountName") in (
                None,
                *(name for space, name in accounts if space == namespace),
            )
            for volume in pod["spec"]["volumes"]:
                if "persistentVolumeClaim" in volume:
                    assert (namespace, volume["persistentVolumeClaim"]["claimName"]) in claims
                if "configMap" in volume:
                    assert (namespace, volume["configMap"]["name"]) in configs


def test_node_pools_are_bounded_and_heads_stay_on_demand() -> None:
    pools = {
        o["metadata"]["name"]: o["spec"]
        for o in objects_of(settings_of("prod"))
        if o["kind"] == "NodePool"
    }
    capacity = {
        name: pool["template"]["spec"]["requirements"][0]["values"] for name, pool in pools.items()
    }
    assert capacity == {
        "ray-head": ["on-demand"],
        "ray-serve": ["on-demand", "spot"],
        "ray-train": ["spot", "on-demand"],
    }
    assert all(pool["limits"] == {"cpu": "256", "memory": "2048Gi"} for pool in pools.values())
    used = {
        pod["spec"]["nodeSelector"]["vigil/pool"]
        for o in objects_of(settings_of("prod"))
        if o["apiVersion"] == "ray.io/v1"
        for pod in _pods(o)
    }
    assert used == pools.keys()


def test_charts_are_pinned() -> None:
    for chart in helm_charts(
        settings_of("prod", delivery="argocd", git_url="https://git.example/v.git")
    ):
        assert re.fullmatch(r"\d+\.\d+\.\d+", chart.version), chart.name
        assert chart.repository.startswith("https://") or chart.chart.startswith("oci://")


def test_on_aws_the_monitor_keeps_state_and_rows_in_a_bucket_and_consumers_share_the_table() -> (
    None
):
    told = {stack: ray_config.drift_settings(settings_of(stack)) for stack in ("prod", "local")}
    bucket = "s3://vigil-prod-captured-111122223333-eu-west-1"
    assert (told["prod"].captured_url, told["prod"].state_url) == (
        f"{bucket}/rows",
        f"{bucket}/state",
    )
    assert (told["local"].captured_url, told["local"].state_url) == ("", "")
    mine = changed("prod", drift={"captured_url": "s3://mine/rows"})
    assert ray_config.drift_settings(mine).captured_url == "s3://mine/rows"
    assert (
        ray_config.serve_settings(settings_of("prod")).stream_leases == "dynamodb:vigil-prod-leases"
    )
    assert ray_config.serve_settings(settings_of("dev")).stream_leases == ""


def test_the_secrets_of_the_rooms_are_there_for_the_pods_that_need_them_alone() -> None:
    cluster = ray.ray_service(settings_of("prod"), BOUND)["spec"]["rayClusterConfig"]
    groups = {one["groupName"]: one["template"]["spec"] for one in cluster["workerGroupSpecs"]}
    mounted = {
        name
        for name, pod in groups.items()
        if "secrets" in [volume["name"] for volume in pod["volumes"]]
    }
    assert mounted == {"monitor", "stream"}
