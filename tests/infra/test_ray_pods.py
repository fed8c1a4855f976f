"""What a real cluster taught: order, ports, tokens, budgets, room and rank of the pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from infra.manifests import all_objects, ray
from infra.manifests.bindings import PLATFORM_PRIORITY, TRAINING_PRIORITY, Bindings
from infra.manifests.parts import Manifest
from infra.settings import PlatformSettings
from infra.stack_settings import read_files

STACKS = ("dev", "prod", "local")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
REFERENCES = {"persistentVolumeClaim": "claimName", "configMap": "name", "secret": "secretName"}


@pytest.fixture(params=STACKS)
def settings(request: pytest.FixtureRequest) -> PlatformSettings:
    return read_files(request.param)


def groups_of(settings: PlatformSettings) -> dict[str, list[Manifest]]:
    return all_objects(settings, Bindings("db.example", "arn:secret", "fs-1", "rediss://r:6379"))


def objects_of(settings: PlatformSettings) -> list[Manifest]:
    return [one for group in groups_of(settings).values() for one in group]


def templates(one: Manifest) -> Iterator[Manifest]:
    """Every pod template in an object."""
    spec = one.get("spec", {})
    cluster = spec.get("rayClusterConfig", spec)
    if "headGroupSpec" in cluster:
        yield cluster["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster["workerGroupSpecs"])
    elif "jobTemplate" in spec:
        yield spec["jobTemplate"]["spec"]["template"]
    elif "template" in spec and one["apiVersion"] in ("apps/v1", "batch/v1"):
        yield spec["template"]


def clusters(settings: PlatformSettings) -> tuple[Manifest, Manifest]:
    """The specs of the RayClusters that serve and train."""
    service = ray.ray_service(settings, Bindings())
    return service["spec"]["rayClusterConfig"], ray.training_cluster(settings)["spec"]


def selects(selector: dict[str, str], template: Manifest) -> bool:
    return selector.items() <= template["metadata"]["labels"].items()


def test_what_a_job_mounts_is_made_before_it(settings: PlatformSettings) -> None:
    """All that comes after a Job waits for its end: for a claim among that, both would wait."""
    made: set[tuple[str, str]] = set()
    for one in objects_of(settings):
        if one["kind"] == "Job":
            (template,) = templates(one)
            wanted = {
                (kind, volume[key][name])
                for volume in template["spec"]["volumes"]
                for key, name in REFERENCES.items()
                if key in volume
                for kind in [key[0].upper() + key[1:]]
            }
            assert wanted <= made
        made.add((one["kind"], one["metadata"]["name"]))


def test_a_service_selects_no_pod_of_a_job(settings: PlatformSettings) -> None:
    found = objects_of(settings)
    services = [one["spec"]["selector"] for one in found if one["kind"] == "Service"]
    jobs = [each for one in found if one["kind"] in ("Job", "CronJob") for each in templates(one)]
    assert services
    assert jobs
    assert not [job for job in jobs for selector in services if selects(selector, job)]


def test_the_head_that_serves_names_the_port_that_kuberay_looks_for(
    settings: PlatformSettings,
) -> None:
    serving, _ = clusters(settings)
    ports = serving["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    assert {"name": "serve", "containerPort": 8000} in ports


def test_only_the_autoscaler_can_ask_the_api_server(settings: PlatformSettings) -> None:
    for cluster in clusters(settings):
        head = cluster["headGroupSpec"]["template"]["spec"]
        (token,) = [one["projected"] for one in head["volumes"] if one["name"] == "api-token"]
        assert {key for source in token["sources"] for key in source} == {
            "serviceAccountToken",
            "configMap",
            "downwardAPI",
        }
        mounts = {one["mountPath"] for one in cluster["autoscalerOptions"]["volumeMounts"]}
        assert TOKEN in mounts
        assert TOKEN not in {one["mountPath"] for one in head["containers"][0]["volumeMounts"]}
    for one in objects_of(settings):
        for template in templates(one):
            spec = template["spec"]
            account = spec.get("serviceAccountName", "")
            assert spec.get("automountServiceAccountToken") is False or account == "mlflow"


def test_budgets_of_ray_pods_are_a_number_of_pods_that_stay(settings: PlatformSettings) -> None:
    """A RayCluster has no scale subresource: the controller can compute nothing else."""
    found = objects_of(settings)
    pods = [each for one in found if one["apiVersion"] == "ray.io/v1" for each in templates(one)]
    budgets = [one["spec"] for one in found if one["kind"] == "PodDisruptionBudget"]
    of_ray = [
        budget
        for budget in budgets
        if any(selects(budget["selector"]["matchLabels"], pod) for pod in pods)
    ]
    assert of_ray or settings.gcs_fault_tolerance == "redis"
    for budget in of_ray:
        assert type(budget["minAvailable"]) is int
        assert "maxUnavailable" not in budget


@pytest.mark.parametrize(("stack", "stay"), [("prod", 2), ("dev", 1), ("local", None)])
def test_a_drain_leaves_all_serving_workers_but_one(stack: str, stay: int | None) -> None:
    budgets = {
        one["metadata"]["name"]: one["spec"] for one in ray.disruption_budgets(read_files(stack))
    }
    assert budgets.get("vigil-serve-worker", {}).get("minAvailable") == stay
    assert ("vigil-serve-head" in budgets) == (stack != "prod")  # prod has Redis


def test_every_scratch_folder_is_bounded(settings: PlatformSettings) -> None:
    for one in objects_of(settings):
        for template in templates(one):
            for volume in template["spec"]["volumes"]:
                assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], volume


def test_training_makes_way_for_serving(settings: PlatformSettings) -> None:
    values = {
        one["metadata"]["name"]: (one["value"], one["preemptionPolicy"])
        for one in objects_of(settings)
        if one["kind"] == "PriorityClass"
    }
    assert values[PLATFORM_PRIORITY][0] > values[TRAINING_PRIORITY][0]
    assert values[TRAINING_PRIORITY][1] == "Never"
    serving, training = clusters(settings)
    ranks = {
        group["groupName"]: group["template"]["spec"]["priorityClassName"]
        for cluster in (serving, training)
        for group in cluster["workerGroupSpecs"]
    }
    assert ranks.pop("train") == TRAINING_PRIORITY
    assert {"serve", "monitor"} <= ranks.keys()
    assert set(ranks.values()) == {PLATFORM_PRIORITY}
    assert training["headGroupSpec"]["template"]["spec"]["priorityClassName"] == PLATFORM_PRIORITY


def test_ray_objects_are_applied_over_what_the_autoscaler_wrote(settings: PlatformSettings) -> None:
    found = [one for one in objects_of(settings) if one["apiVersion"] == "ray.io/v1"]
    assert len(found) == 2
    for one in found:
        assert one["metadata"]["annotations"]["pulumi.com/patchForce"] == "true"


def test_a_head_is_gone_within_seconds(settings: PlatformSettings) -> None:
    """KubeRay makes no new head before; the autoscaler's container has to be killed."""
    for cluster in clusters(settings):
        assert cluster["headGroupSpec"]["template"]["spec"]["terminationGracePeriodSeconds"] <= 30


def test_mlflow_runs_no_jobs(settings: PlatformSettings) -> None:
    (server,) = [one for one in objects_of(settings) if one["kind"] == "Deployment"]
    (template,) = templates(server)
    values = {one["name"]: one.get("value") for one in template["spec"]["containers"][0]["env"]}
    assert values["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_no_serving_worker_at_rest_is_without_a_replica(settings: PlatformSettings) -> None:
    """Such a one is never ready: a budget would count it, and forbid the drain of ready ones."""
    service = ray.ray_service(settings, Bindings())["spec"]
    detector = yaml.safe_load(service["serveConfigV2"])["applications"][0]["deployments"][0]
    most = detector["max_replicas_per_node"]
    workers = service["rayClusterConfig"]["workerGroupSpecs"][0]
    least = detector["autoscaling_config"]["min_replicas"]
    assert least > most * (workers["minReplicas"] - 1)
    assert detector["autoscaling_config"]["max_replicas"] <= most * workers["maxReplicas"]
