"""What the rendered objects say together: pods, names, policies, pools."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from infra.manifests import ray, ray_config
from infra.manifests.bindings import RAY_NAMESPACE, TRACKING_NAMESPACE
from infra.manifests.operators import helm_charts
from infra.manifests.parts import Manifest
from infra.settings import PlatformSettings
from serve.applications import ray_process_environment
from serve.settings import ServeSettings
from tests.infra.recorded import ROOT, changed
from tests.infra.rendered import BOUND, VARIANTS, objects_of, pods_of, settings_of


@pytest.fixture(
    params=VARIANTS,
    ids=[f"{stack}-{'-'.join(changes) or 'as-is'}"[:60] for stack, changes in VARIANTS],
)
def settings(request: pytest.FixtureRequest) -> PlatformSettings:
    stack, changes = request.param
    return settings_of(stack, **changes)


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


def test_a_second_cluster_takes_over_at_once_or_step_by_step() -> None:
    at_once = ray.ray_service(settings_of("prod"), BOUND)["spec"]["upgradeStrategy"]
    assert at_once == {"type": "NewCluster"}
    changes = {
        "ingress": "gateway",
        "gateway_class": "internal",
        "upgrade_strategy": "NewClusterWithIncrementalUpgrade",
        "upgrade_surge_percent": 50,
    }
    spec = ray.ray_service(settings_of("prod", **changes), BOUND)["spec"]
    assert spec["upgradeStrategy"]["clusterUpgradeOptions"] == {
        "gatewayClassName": "internal",
        "stepSizePercent": 10,
        "intervalSeconds": 30,
        "maxSurgePercent": 50,
    }
    assert spec["rayClusterConfig"]["enableInTreeAutoscaling"]  # KubeRay refuses it without


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


def test_every_pod_is_restricted_and_bounded(settings: PlatformSettings) -> None:
    pods = [pod["spec"] for one in objects_of(settings) for pod in pods_of(one)]
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


def _without_libpq(environment: list[Manifest]) -> list[Manifest]:
    """What Ray and Vigil read; how a database is reached is the monitor's alone."""
    return [variable for variable in environment if not variable["name"].startswith("PG")]


def test_head_and_workers_have_one_environment(settings: PlatformSettings) -> None:
    for one in (ray.ray_service(settings, BOUND), ray.training_cluster(settings)):
        containers = [pod["spec"]["containers"][0] for pod in pods_of(one)]
        environments = [_without_libpq(container["env"]) for container in containers]
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


def test_grpc_has_a_service_and_is_let_through_where_it_has_a_port() -> None:
    found = objects_of(settings_of("prod", serve={"grpc_port": 9001}))
    (service,) = [one for one in found if one["metadata"]["name"] == "vigil-grpc"]
    assert [port["port"] for port in service["spec"]["ports"]] == [9001]
    (policy,) = [one for one in found if one["metadata"]["name"] == "ingress"]
    ports = [port["port"] for port in policy["spec"]["ingress"][0]["ports"]]
    assert ports == [8000, 9001]
    workers = settings_of("prod", serve={"grpc_port": 9001})
    labels = ray.ray_service(workers, BOUND)["spec"]["rayClusterConfig"]["workerGroupSpecs"][0][
        "template"
    ]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


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
        for pod in pods_of(one):
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
        for pod in pods_of(o)
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
