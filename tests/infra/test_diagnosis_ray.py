"""What is wrong around pods: services, policies, namespaces, nodes, Ray and its operator."""

from __future__ import annotations

import json

import pytest

from infra.diagnosis import diagnose
from infra.diagnosis.grounds import NETWORK_POLICIES
from infra.diagnosis.snapshot import Readiness
from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.stack_settings import read_files
from tests.infra import cluster_objects as given
from tests.infra.cluster_objects import only, says, snapshot

# --- services, budgets, policies, namespaces, nodes ---


def test_a_service_without_endpoints_counts_its_pods() -> None:
    more = {"EndpointSlice": [given.endpoints("vigil-serve-svc", False)]}
    found = only(more)
    says(
        found,
        "Service vigil/vigil-serve-svc",
        "of 1 pods with its labels 1 are ready",
        "get pods -l",
    )


def test_a_service_that_is_new_or_has_no_selector_is_left_alone() -> None:
    new, outside = given.service(age=30), given.service("database")
    outside["spec"].pop("selector")
    assert diagnose(snapshot({"Service": [new, outside], "EndpointSlice": []})) == []


def test_an_endpoint_of_unknown_readiness_counts_as_ready() -> None:
    """As the API's own documentation asks of its readers."""
    assert diagnose(snapshot({"EndpointSlice": [given.endpoints("vigil-serve-svc", None)]})) == []


def test_a_budget_that_cannot_be_computed_blocks_every_drain() -> None:
    said = "rayclusters.ray.io does not implement the scale subresource"
    failed = given.condition("DisruptionAllowed", "False", "SyncFailed", said)
    budget = {"metadata": given.metadata("vigil-serve"), "status": {"conditions": [failed]}}
    found = only({"PodDisruptionBudget": [budget]})
    says(found, "PodDisruptionBudget vigil/vigil-serve", said, "integer `minAvailable`", "risk")


def test_a_budget_without_room_just_now_is_well() -> None:
    none = given.condition("DisruptionAllowed", "False", "InsufficientPods")
    budget = {"metadata": given.metadata("vigil-serve"), "status": {"conditions": [none]}}
    assert diagnose(snapshot({"PodDisruptionBudget": [budget]})) == []


def test_a_policy_that_was_taken_away() -> None:
    left = [one for one in given.policies() if one["metadata"]["name"] != "operator-to-ray"]
    found = only({"NetworkPolicy": left})
    says(found, "NetworkPolicy vigil/operator-to-ray", "is refused", "pulumi up --refresh")
    left = [one for one in given.policies() if one["metadata"]["name"] != "deny-all"]
    assert {one.grade for one in diagnose(snapshot({"NetworkPolicy": left}))} == {"risk"}


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_every_environment_renders_the_policies_that_are_looked_for(environment: str) -> None:
    groups = all_objects(read_files(environment), Bindings())
    policies = [one for some in groups.values() for one in some if one["kind"] == "NetworkPolicy"]
    names = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in policies}
    assert {(space, name) for space, some in NETWORK_POLICIES.items() for name in some} <= names


def test_a_namespace_that_does_not_go_says_what_holds_it() -> None:
    held = [
        given.condition("NamespaceFinalizersRemaining", "True", "Some", "ray.io/x in 1"),
        given.condition("NamespaceContentRemaining", "False", "ContentRemoved", "gone"),
    ]
    going = given.namespace("vigil", "Terminating", held, deletionTimestamp=given.ago(400))
    more = {"Namespace": [going, *given.WELL["Namespace"][1:]]}
    says(only(more), "namespace vigil", "deleted for 7 min", "get rayservices,rayclusters,pods,pvc")
    assert "ray.io/x in 1" in only(more).why
    assert "gone" not in only(more).why


def test_a_namespace_that_is_missing() -> None:
    found = only({"Namespace": given.WELL["Namespace"][1:]})
    says(found, "namespace vigil", "is not there", "pulumi up")


def test_a_node_that_is_not_ready_or_under_pressure() -> None:
    away = given.condition("Ready", "Unknown", "NodeStatusUnknown", "stopped posting status.")
    says(only({"Node": [given.node(away)]}), "node node-1", "stopped posting", "describe node")
    full = given.condition("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has it")
    ready = given.condition("Ready", "True")
    assert only({"Node": [given.node(ready, full)]}).grade == "risk"


# --- Ray ---


def test_an_application_that_could_not_be_deployed_says_why() -> None:
    lines = ("Deploying app 'vigil' failed:", "Traceback (most recent call last):", "  File x")
    trace = "\n".join((*lines, "ModuleNotFoundError: no serve"))
    service = given.ray_service({"vigil": given.application("DEPLOY_FAILED", trace)})
    found = only({"RayService": [service]})
    says(found, "RayService vigil/vigil", "ModuleNotFoundError: no serve", "ray.io/group=serve")
    assert "Deploying app" not in found.why


def test_an_unhealthy_deployment_speaks_before_its_application() -> None:
    deployments = {"Gateway": ("UNHEALTHY", "The replica died: OOM"), "Other": ("HEALTHY", "")}
    sick = given.application("UNHEALTHY", "The app is unhealthy", **deployments)
    service = given.ray_service({"vigil": sick, "drift": given.application()})
    assert "Gateway: The replica died: OOM" in only({"RayService": [service]}).why


def test_an_application_of_the_cluster_that_is_to_take_over_is_looked_at_too() -> None:
    pending = {
        "rayClusterName": "b",
        "applicationStatuses": {"vigil": given.application("DEPLOY_FAILED", "no")},
    }
    found = only({"RayService": [given.ray_service(pendingServiceStatus=pending)]})
    assert "vigil is DEPLOY_FAILED: no" in found.why


def test_a_service_that_starts_is_a_note_and_one_that_does_not_is_a_failure() -> None:
    found = only({"RayService": [given.starting(60)]})
    says(
        found,
        "RayService vigil/vigil",
        "Initializing, vigil DEPLOYING, 0 endpoints",
        "wait",
        "note",
    )
    late = only({"RayService": [given.starting(600)]})
    says(late, "RayService vigil/vigil", "is not ready for 10 min", "describe rayservice vigil")


def test_a_service_that_is_not_ready_quotes_the_operators_event() -> None:
    said = "Please specify a port"
    event = given.newer_event("RayService", "vigil", "FailedToCreateService", said)
    found = only({"RayService": [given.starting(600)], "Event": [event]})
    assert "Please specify a port" in found.why


def test_a_service_that_no_operator_has_seen() -> None:
    service = given.ray_service()
    service["status"] = {}
    assert "no operator has looked at it yet" in only({"RayService": [service]}).why


def test_a_head_without_a_port_serve() -> None:
    found = only({"RayService": [given.ray_service(ports=("metrics", "dashboard"))]})
    says(found, "RayService vigil/vigil", "names no port `serve`", "containerPort: 8000")


def test_a_suspended_service() -> None:
    service = given.ray_service()
    service["spec"]["suspend"] = True
    found = only({"RayService": [service]})
    patch = found.fix.split(" -p ")[1].strip("`'")
    assert json.loads(patch) == {"spec": {"suspend": False}}


def test_a_spec_that_the_operator_refuses() -> None:
    event = given.newer_event("RayService", "vigil", "InvalidRayServiceSpec", "spec.x should be y")
    assert "spec.x should be y" in only({"Event": [event]}).why
    said = "worker group z"
    event = given.newer_event("RayCluster", "vigil-train", "InvalidRayClusterSpec", said)
    says(only({"Event": [event]}), "RayCluster vigil/vigil-train", "worker group z", "settings")


def test_a_second_cluster_that_never_takes_over_is_a_risk() -> None:
    for age, count in ((300, 0), (2000, 1)):
        conditions = [
            given.condition("Ready", "True", "NonZeroServeEndpoints"),
            given.condition("UpgradeInProgress", "True", "BothActivePendingClustersExist", "", age),
        ]
        pending = {"rayClusterName": "vigil-b"}
        service = given.ray_service(conditions=conditions, pendingServiceStatus=pending)
        found = diagnose(snapshot({"RayService": [service]}))
        assert len(found) == count
    assert (found[0].grade, "vigil-b" in found[0].why) == ("risk", True)


def test_no_champion_is_a_note_with_the_two_commands() -> None:
    found = only({}, readiness=Readiness(503, "NoModel"))
    says(found, "the service", "no champion yet", "`vigil promote VERSION`", "note")
    assert "`vigil train`" in found.fix


def test_an_answer_of_the_api_server_itself_says_nothing_of_the_service() -> None:
    behind = Readiness(503, "no endpoints available", reached=False)
    assert diagnose(snapshot(readiness=behind)) == []
    assert only({}, readiness=Readiness(500)).what == "the service"
    assert diagnose(snapshot(readiness=Readiness(200))) == []


def test_a_training_cluster_without_its_head() -> None:
    gone = [given.condition("HeadPodReady", "False", "HeadPodNotFound", "Head Pod not found", 600)]
    found = only({"RayCluster": [given.ray_cluster(conditions=gone)]})
    says(found, "RayCluster vigil/vigil-train", "Head Pod not found", "describe raycluster")
    new = [given.condition("HeadPodReady", "False", "HeadPodNotFound", "", 30)]
    assert diagnose(snapshot({"RayCluster": [given.ray_cluster(conditions=new)]})) == []


def test_the_operator_and_its_kinds() -> None:
    says(only({"CustomResourceDefinition": []}), "KubeRay", "rayclusters.ray.io", "pulumi up")
    assert "no operator is" in only({"Deployment": []}).why
    found = only({"Deployment": [given.deployment(available=0)]})
    says(found, "KubeRay operator vigil-operators/kuberay-operator", "0 of 1 pods", "describe pods")


def test_an_operator_and_crds_of_two_versions() -> None:
    old = given.deployment(image="quay.io/kuberay/operator:v1.6.1")
    assert "is older than its CRDs" in only({"Deployment": [old]}).why
    before = [given.definition("rayclusters.ray.io"), given.definition("rayservices.ray.io")]
    found = only({"CustomResourceDefinition": before})
    assert ("is newer than its CRDs" in found.why, found.grade) == (True, "risk")
    assert diagnose(snapshot({"Deployment": [old], "CustomResourceDefinition": before})) == []
    nightly = given.deployment(image="quay.io/kuberay/operator:nightly")
    assert diagnose(snapshot({"Deployment": [nightly]})) == []
