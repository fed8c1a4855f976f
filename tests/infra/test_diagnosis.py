"""Each thing that can be wrong with a platform is named, with its cause and what helps."""

from __future__ import annotations

from typing import Any

import pytest

from infra.diagnosis import diagnose
from infra.diagnosis.containers import logs_to_read
from infra.diagnosis.objects import parse_quantity
from infra.diagnosis.report import Diagnosis, worst_first
from infra.diagnosis.snapshot import ContainerLog
from tests.infra import cluster_objects as given
from tests.infra.cluster_objects import only, says, snapshot


def test_nothing_is_said_of_a_platform_that_is_well() -> None:
    assert diagnose(snapshot()) == []


def test_a_cluster_without_vigil_is_one_finding() -> None:
    says(only({"Namespace": [], "Pod": []}), "Vigil", "no namespace vigil", "pulumi up")


# --- images, configuration, crashes, memory ---

PULL = (
    'Back-off pulling image "registry.example/vigil:1": ErrImagePull: failed to pull and unpack'
    ' image "registry.example/vigil:1": failed to resolve reference "registry.example/vigil:1":'
    " registry.example/vigil:1: not found"
)


def broken(state: dict[str, Any], **more: Any) -> dict[str, list[dict[str, Any]]]:
    return {"Pod": [given.pod(statuses=[given.container_status(state=state, **more)])]}


def test_an_image_that_cannot_be_pulled_is_named_with_the_registrys_words() -> None:
    found = only(broken(given.waiting("ImagePullBackOff", PULL)))
    says(found, "pod vigil/vigil-serve-abc", "registry.example/vigil:1: not found", "vigil:image")
    assert "ErrImagePull: failed" not in found.why


def test_a_back_off_without_a_cause_takes_it_from_the_event() -> None:
    """Kubernetes before 1.33 says no more than that it waits."""
    short = given.waiting("ImagePullBackOff", 'Back-off pulling image "x"')
    told = "Failed to pull image: pull access denied, repository does not exist or needs a login"
    event = given.event("Pod", "vigil-serve-abc", "Failed", told)
    assert "pull access denied" in only(broken(short) | {"Event": [event]}).why


def test_an_image_that_is_not_on_the_node_and_may_not_be_pulled() -> None:
    said = 'Container image "vigil:dev" is not present with pull policy of Never'
    found = only(broken(given.waiting("ErrImageNeverPull", said), image="vigil:dev"))
    says(found, "pod vigil/vigil-serve-abc", said, "kind load docker-image vigil:dev")


def test_many_pods_without_their_image_are_one_finding() -> None:
    state = given.container_status(state=given.waiting("ImagePullBackOff", PULL))
    pods = [given.pod(f"p{i}", statuses=[state]) for i in range(5)]
    assert only({"Pod": pods}).what == "pod vigil/p0, pod vigil/p1, pod vigil/p2 and 2 more"


def test_a_missing_secret_of_a_variable_is_named() -> None:
    state = given.waiting("CreateContainerConfigError", 'secret "ray-token" not found')
    found = only(broken(state))
    says(found, "pod vigil/vigil-serve-abc", 'secret "ray-token" not found', "pulumi up --refresh")


def test_a_missing_secret_of_a_volume_is_named() -> None:
    told = 'MountVolume.SetUp failed for volume "keys" : secret "api-keys" not found'
    event = given.event("Pod", "vigil-serve-abc", "FailedMount", told)
    found = only(broken(given.waiting("ContainerCreating")) | {"Event": [event]})
    says(found, "pod vigil/vigil-serve-abc", told, "describe pod")


def test_a_crash_loop_quotes_the_last_words() -> None:
    last = given.terminated(3)
    more = broken(given.waiting("CrashLoopBackOff"), lastState=last, restartCount=7)
    key = ContainerLog("vigil", "vigil-serve-abc", "ray", previous=True)
    assert logs_to_read(snapshot(more)) == [key]
    found = only(more, logs={key: "starting\n\nno such table: models\n"})
    says(found, "pod vigil/vigil-serve-abc", "exit code 3, 7 restarts", "-c ray --previous")
    assert found.why.endswith("starting | no such table: models")


def test_a_container_out_of_memory_names_its_limit_and_the_setting() -> None:
    last = given.terminated(137, "OOMKilled")
    found = only(broken(given.waiting("CrashLoopBackOff"), lastState=last))
    says(found, "pod vigil/vigil-serve-abc", "memory limit of 8Gi", "vigil:workerMemoryGib")


def test_a_container_that_was_out_of_memory_and_runs_again_is_a_risk() -> None:
    status = given.container_status(lastState=given.terminated(137, "OOMKilled"), restartCount=1)
    found = only({"Pod": [given.pod(statuses=[status])]})
    assert (found.grade, "OOMKilled" in found.why) == ("risk", True)


def test_a_restart_of_yesterday_is_history() -> None:
    status = given.container_status(lastState=given.terminated(1, age=90_000), restartCount=1)
    assert diagnose(snapshot({"Pod": [given.pod(statuses=[status])]})) == []


def test_a_dead_autoscaler_in_a_head_that_runs() -> None:
    statuses = [given.container_status(), given.container_status("autoscaler", given.terminated(1))]
    labels = {"ray.io/group": "headgroup", "ray.io/node-type": "head"}
    key = ContainerLog("vigil", "head", "autoscaler")
    more = {"Pod": [given.pod("head", statuses=statuses, labels=labels)]}
    found = only(more, logs={key: "FileNotFoundError: .. serviceaccount/token"})
    says(found, "pod vigil/head", "autoscaler has ended (exit code 1)", "delete pod head")
    assert "serviceaccount/token" in found.why


def test_memory_near_its_limit_is_a_risk() -> None:
    key = ("vigil", "vigil-serve-abc", "ray")
    assert diagnose(snapshot(usage={key: int(7.1 * 2**30)})) == []
    found = only({}, usage={key: int(7.3 * 2**30)})
    says(found, "pod vigil/vigil-serve-abc", "7.30 of 8.00 GiB", "vigil:workerMemoryGib", "risk")


def test_a_pod_that_does_not_get_ready_quotes_its_probe() -> None:
    event = given.event("Pod", "vigil-serve-abc", "Unhealthy", "Readiness probe failed: HTTP 500")
    status = given.container_status(ready=False)
    for age, expected in ((60, 0), (600, 1)):
        late = [given.condition("Ready", "False", "ContainersNotReady", "", age)]
        pod = given.pod(statuses=[status], conditions=late)
        found = diagnose(snapshot({"Pod": [pod], "Event": [event]}))
        assert len(found) == expected
    assert "Readiness probe failed: HTTP 500" in found[0].why


def test_a_pod_that_still_pulls_its_image_is_no_failure() -> None:
    creating = [given.container_status(state=given.waiting("ContainerCreating"))]
    pulling = given.event("Pod", "vigil-serve-abc", "Pulling", 'Pulling image "x"', age=400)
    found = only({"Pod": [given.pod(statuses=creating)], "Event": [pulling]})
    assert (found.grade, found.why) == ("note", 'still pulls its image: Pulling image "x"')
    pulled = given.event("Pod", "vigil-serve-abc", "Pulled", "Successfully pulled", age=390)
    late = only({"Pod": [given.pod(statuses=creating)], "Event": [pulling, pulled]})
    assert late.grade == "failure"


def test_an_evicted_pod_is_a_risk() -> None:
    pod = given.pod(phase="Failed", reason="Evicted", message="low on resource: memory.")
    says(only({"Pod": [pod]}), "pod vigil/vigil-serve-abc", "low on resource: memory", "", "risk")


def test_a_pod_that_does_not_go_is_a_risk_once_its_grace_is_over() -> None:
    for late, count in ((30, 0), (300, 1)):
        pod = given.pod(metadata={"deletionTimestamp": given.ago(late)})
        assert len(diagnose(snapshot({"Pod": [pod]}))) == count


# --- scheduling and storage ---


@pytest.mark.parametrize(
    ("message", "why", "fix"),
    [
        (
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption:"
            " 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "no node takes it: 0/1 nodes are available: 1 Insufficient cpu",
            "vigil:workerCpu N` or `pulumi config set vigil:workerMemoryGib N`"
            " (it asks for 4 CPU and 8 GiB, the largest node has 12 CPU and 20.3 GiB in all)",
        ),
        (
            "0/3 nodes are available: 3 node(s) had untolerated taint {vigil/pool: ray-serve}.",
            "untolerated taint {vigil/pool: ray-serve}",
            "kubectl taint nodes",
        ),
        (
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
            "didn't match",
            "kubectl label node NODE vigil/pool=ray-serve",
        ),
        (
            'persistentvolumeclaim "home" not found.',
            'persistentvolumeclaim "home" not found',
            "describe pod",
        ),
    ],
)
def test_a_pod_that_no_node_takes(message: str, why: str, fix: str) -> None:
    spec = {"nodeSelector": {"vigil/pool": "ray-serve"}}
    found = only({"Pod": [given.unscheduled(message, spec=spec)]})
    assert why in found.why
    assert fix in found.fix
    assert "reemption" not in found.why


def test_a_claim_of_a_class_that_is_not_there_explains_the_pods_that_wait_for_it() -> None:
    message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
    more = {
        "PersistentVolumeClaim": [given.claim(storage_class="fast")],
        "Pod": [given.unscheduled(message)],
        "StorageClass": [given.storage_class("gp3"), given.storage_class("standard")],
    }
    says(only(more), "claim vigil/home", "no storage class 'fast'", "one of: gp3, standard")


def test_a_claim_without_a_class_needs_a_default_one() -> None:
    more = {
        "PersistentVolumeClaim": [given.claim(storage_class=None)],
        "StorageClass": [given.storage_class(default=False)],
    }
    assert "none is the default" in only(more).why


def test_a_claim_that_waits_for_its_first_pod_is_well() -> None:
    assert diagnose(snapshot({"PersistentVolumeClaim": [given.claim()]})) == []


def test_a_claim_that_its_provisioner_refuses_quotes_it() -> None:
    told = "failed to provision volume: NodePath only supports ReadWriteOnce"
    event = given.event("PersistentVolumeClaim", "home", "ProvisioningFailed", told)
    found = only({"PersistentVolumeClaim": [given.claim()], "Event": [event]})
    says(found, "claim vigil/home", told, "vigil:homeAccessMode")


def test_a_claim_that_nobody_provisions() -> None:
    more = {
        "PersistentVolumeClaim": [given.claim()],
        "StorageClass": [given.storage_class(mode="Immediate")],
    }
    assert "nobody says why" in only(more).why


def test_an_event_of_an_hour_ago_is_history() -> None:
    event = given.event("PersistentVolumeClaim", "home", "ProvisioningFailed", "no", age=4000)
    assert diagnose(snapshot({"PersistentVolumeClaim": [given.claim()], "Event": [event]})) == []


# --- what the API server refuses ---

QUOTA = (
    'pods "mlflow-1-d5ngc" is forbidden: exceeded quota: small, requested: limits.memory=2Gi,'
    " used: limits.memory=344Mi, limited: limits.memory=512Mi"
)
SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'


def refused(kind: str, message: str) -> dict[str, list[dict[str, Any]]]:
    failed = given.condition("ReplicaFailure", "True", "FailedCreate", message)
    one = {"metadata": given.metadata("mlflow-1"), "status": {"conditions": [failed]}}
    return {kind: [one]}


def test_a_quota_that_is_too_small_is_named() -> None:
    found = only(refused("ReplicaSet", QUOTA))
    says(found, "ReplicaSet vigil/mlflow-1", "exceeded quota: small", "edit resourcequota small")
    assert "limited: limits.memory=512Mi" in found.why


def test_a_quota_of_ray_pods_is_found_in_the_clusters_condition() -> None:
    """KubeRay writes the API server's refusal into the status of the RayCluster."""
    more = refused("RayCluster", f"errors: failed to create head pod: {QUOTA}")
    ready = given.condition("HeadPodReady", "False", "HeadPodNotFound", "Head Pod not found", 20)
    more["RayCluster"][0]["status"]["conditions"].append(ready)
    says(only(more), "RayCluster vigil/mlflow-1", "exceeded quota", "resourcequota small")


def test_a_quota_of_a_job_is_found_in_its_events() -> None:
    job = {"metadata": given.metadata("mlflow-migrate-1"), "status": {"ready": 0}}
    event = given.event("Job", "mlflow-migrate-1", "FailedCreate", f"Error creating: {QUOTA}")
    says(
        only({"Job": [job], "Event": [event]}),
        "Job vigil/mlflow-migrate-1",
        "exceeded quota",
        "small",
    )
    done = {**job, "status": {"conditions": [given.condition("Complete", "True")]}}
    assert diagnose(snapshot({"Job": [done], "Event": [event]})) == []


def test_pod_security_is_named_with_what_it_misses() -> None:
    found = only(refused("ReplicaSet", SECURITY))
    says(found, "ReplicaSet vigil/mlflow-1", "runAsNonRoot != true", "pod-security.kubernetes")


def test_another_refusal_is_told_as_it_is() -> None:
    said = 'error looking up service account vigil/x: serviceaccount "x" not found'
    assert said in only(refused("ReplicaSet", said)).why


def test_a_failed_job_quotes_its_log() -> None:
    failed = given.condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the limit")
    job = {"metadata": given.metadata("migrate"), "status": {"conditions": [failed]}}
    labels = {"batch.kubernetes.io/job-name": "migrate"}
    status = given.container_status("migrate", given.terminated(1))
    pod = given.pod("migrate-x", statuses=[status], labels=labels, phase="Failed")
    more = {"Job": [job], "Pod": [pod]}
    (key,) = logs_to_read(snapshot(more))
    found = only(more, logs={key: "Can't locate revision\n"})
    says(found, "Job vigil/migrate", "its last words: Can't locate revision", "delete job migrate")


def test_a_failed_job_of_a_schedule_is_a_risk() -> None:
    failed = given.condition("Failed", "True", "DeadlineExceeded", "Job was active too long")
    owned = given.metadata("vigil-train-1", ownerReferences=[{"kind": "CronJob", "name": "t"}])
    assert only({"Job": [{"metadata": owned, "status": {"conditions": [failed]}}]}).grade == "risk"


# --- as a whole ---


def test_what_could_not_be_read_is_not_called_missing() -> None:
    kinds = (
        "NetworkPolicy",
        "CustomResourceDefinition",
        "EndpointSlice",
        "Namespace",
        "StorageClass",
    )
    seen = snapshot({"PersistentVolumeClaim": [given.claim()]})
    objects = {kind: some for kind, some in seen.objects.items() if kind not in kinds}
    found = diagnose(type(seen)(now=seen.now, objects=objects))
    assert [one.why for one in found] == ["is pending for 60 min, and nobody says why"]


def test_the_worst_comes_first_and_causes_before_what_follows() -> None:
    grades = ("note", "risk", "failure", "failure")
    found = [Diagnosis(f"{i}", "why", f"fix {i}", grade) for i, grade in enumerate(grades)]
    assert [one.what for one in worst_first(found)] == ["2", "3", "1", "0"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", 0.25),
        ("2Gi", 2**31),
        ("21275648Ki", 21275648 * 1024),
        ("1500M", 1.5e9),
        ("4", 4),
        (None, 0),
        ("1k", 1000),
        (0.5, 0.5),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str | None, number: float) -> None:
    assert parse_quantity(text) == number
