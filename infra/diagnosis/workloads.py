"""What is wrong around pods: controllers, quotas, jobs, services, budgets."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.objects import KubeObject, RawObject, nested
from infra.diagnosis.report import (
    Diagnoses,
    Diagnosis,
    failure,
    format_labels,
    last_words,
    quote,
    risk,
)
from infra.diagnosis.snapshot import ClusterSnapshot, SeenObject

_CREATION_ERRORS = ("FailedCreate",)
_JOB_NAME = "batch.kubernetes.io/job-name"
_SERVICE_NAME = "kubernetes.io/service-name"
_MAX_REFUSAL_CHARACTERS = 600
_KEEP_TO_LEVEL = "pods have to keep to its level, pod-security.kubernetes.io/enforce"


# --- controllers whose pods are refused ---


def diagnose_refusals(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield pods that the API server refuses to make: quotas, Pod Security, missing accounts."""
    for controller in (*snapshot.of("ReplicaSet"), *snapshot.of("RayCluster")):
        refusal = controller.condition("ReplicaFailure")
        if refusal.is_true:
            yield _refused(controller, refusal.message)
    for job in snapshot.of("Job"):
        yield from _refused_job(job)


def _refused_job(job: SeenObject) -> Diagnoses:
    event = job.newest_event(_CREATION_ERRORS)
    if event and not _has_pods(job):
        yield _refused(job, event.message)


def _has_pods(job: KubeObject) -> bool:
    if job.status.get("active"):
        return True
    return job.is_true("Complete") or job.is_true("Failed")


def _refused(controller: KubeObject, refusal: str) -> Diagnosis:
    message = quote(refusal, _MAX_REFUSAL_CHARACTERS)
    if quota := _from(message, "exceeded quota"):
        return _over_quota(controller, quota)
    if violation := _from(message, "violates PodSecurity"):
        return _insecure(controller, violation)
    fix = controller.kubectl(f"describe {controller.kind.lower()}")
    return failure(controller, f"its pods are refused: {quote(message)}", fix)


def _from(message: str, words: str) -> str:
    """Return the part of a message that begins with these words; nothing without them."""
    _, begin, rest = message.partition(words)
    return begin + rest


def _over_quota(controller: KubeObject, message: str) -> Diagnosis:
    edit = f"`kubectl -n {controller.namespace} edit resourcequota {_quota_of(message)}`"
    fix = f"raise it ({edit}), or make the pods smaller in the stack's settings"
    return failure(controller, f"its pods do not fit into the quota: {quote(message)}", fix)


def _quota_of(message: str) -> str:
    return message.removeprefix("exceeded quota: ").split(",")[0]


def _insecure(controller: KubeObject, message: str) -> Diagnosis:
    why = f"Pod Security refuses its pods: {quote(message)}"
    fix = f"{_KEEP_TO_LEVEL}: `kubectl get namespace {controller.namespace} --show-labels`"
    return failure(controller, why, fix)


# --- jobs ---


def diagnose_jobs(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield jobs that have failed."""
    for job in snapshot.of("Job"):
        if job.is_true("Failed"):
            yield _failed_job(job)


def _failed_job(job: SeenObject) -> Diagnosis:
    why = f"has failed {_end_of(job)}"
    if _is_scheduled(job):
        return risk(job, why, job.kubectl("describe job"))
    delete = job.kubectl("delete job")
    return failure(job, why, f"mend it, then {delete} and `pulumi up --refresh`")


def _end_of(job: SeenObject) -> str:
    failed = job.condition("Failed")
    return f"({failed.reason}): {quote(failed.message)}{last_words(_last_log(job))}"


def _is_scheduled(job: KubeObject) -> bool:
    owners = job.items("metadata.ownerReferences")
    return any(owner.get("kind") == "CronJob" for owner in owners)


def _last_log(job: SeenObject) -> str:
    """Return the log of the last pod of a job."""
    names = {pod.name for pod in _pods_of(job)}
    last = ""
    for key, text in job.snapshot.logs.items():
        if key.namespace == job.namespace and key.pod in names:
            last = text
    return last


def _pods_of(job: SeenObject) -> Iterator[KubeObject]:
    for pod in job.neighbours("Pod"):
        if pod.has_labels({_JOB_NAME: job.name}):
            yield pod


# --- services, budgets ---


def diagnose_services(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield services that lead nowhere."""
    if not snapshot.has("EndpointSlice"):
        return
    for service in snapshot.of("Service"):
        selector = service.value("spec.selector")
        if selector and _leads_nowhere(service):
            yield _without_endpoints(service, selector)


def _leads_nowhere(service: SeenObject) -> bool:
    if service.is_starting(service.created_at):
        return False
    return not _has_ready_endpoint(service)


def _has_ready_endpoint(service: SeenObject) -> bool:
    own = {_SERVICE_NAME: service.name}
    slices = service.neighbours("EndpointSlice")
    return any(_has_ready(each) for each in slices if each.has_labels(own))


def _has_ready(endpoints: KubeObject) -> bool:
    return any(map(_may_be_ready, endpoints.items("endpoints")))


def _may_be_ready(endpoint: RawObject) -> bool:
    return nested(endpoint, "conditions.ready") is not False  # unknown counts as ready


def _without_endpoints(service: SeenObject, selector: dict[str, str]) -> Diagnosis:
    selected = [pod for pod in service.neighbours("Pod") if pod.has_labels(selector)]
    ready = sum(pod.is_true("Ready") for pod in selected)
    why = f"has no endpoints: of {len(selected)} pods with its labels {ready} are ready"
    return failure(service, why, _list_pods(service.namespace, selector))


def _list_pods(namespace: str, selector: dict[str, str]) -> str:
    return f"`kubectl -n {namespace} get pods -l {format_labels(selector)}`"


def diagnose_budgets(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield disruption budgets that cannot be computed: no drain ever ends."""
    for budget in snapshot.of("PodDisruptionBudget"):
        allowed = budget.condition("DisruptionAllowed")
        if allowed.reason == "SyncFailed":
            yield _uncomputed(budget, allowed.message)


def _uncomputed(budget: KubeObject, cause: str) -> Diagnosis:
    why = f"cannot be computed, so no drain or node upgrade evicts its pods: {quote(cause)}"
    fix = "pods of a RayCluster need an integer `minAvailable`, for it has no scale subresource"
    return risk(budget, why, fix)
