"""What is wrong around pods: controllers, quotas, jobs, services, budgets, claims."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.finding import (
    STARTUP_GRACE_S,
    ClusterSnapshot,
    ContainerLog,
    Diagnosis,
    KubeObject,
    format_duration,
    get_condition,
    is_true,
    kubectl_command,
    labels_of,
    last_lines,
    qualified_name,
    quote,
)

_CREATION_ERRORS = ("FailedCreate",)
_PROVISION_ERRORS = ("ProvisioningFailed", "FailedBinding")
_JOB_NAME = "batch.kubernetes.io/job-name"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


# --- controllers whose pods are refused ---


def diagnose_refusals(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Pods that the API server refuses to make: quotas, Pod Security, missing accounts."""
    for kind in ("ReplicaSet", "RayCluster"):
        for one in seen.of(kind):
            failed = get_condition(one, "ReplicaFailure")
            if failed is not None and failed.get("status") == "True":
                yield _refused(kind, one, quote(failed.get("message"), 600))
    for one in seen.of("Job"):
        if not _job_has_pods(one):
            yield from _refused_job(seen, one)


def _job_has_pods(job: KubeObject) -> bool:
    status = job.get("status") or {}
    return bool(status.get("active")) or is_true(job, "Complete") or is_true(job, "Failed")


def _refused_job(seen: ClusterSnapshot, job: KubeObject) -> Iterator[Diagnosis]:
    metadata = job["metadata"]
    for event in seen.events("Job", metadata["namespace"], metadata["name"], _CREATION_ERRORS)[:1]:
        yield _refused("Job", job, quote(event.get("message"), 600))


def _refused(kind: str, one: KubeObject, message: str) -> Diagnosis:
    namespace = one["metadata"]["namespace"]
    what = f"{kind} {qualified_name(one)}"
    if "exceeded quota" in message:
        said = message[message.index("exceeded quota") :]
        quota = said.removeprefix("exceeded quota: ").split(",")[0]
        edit = f"`kubectl -n {namespace} edit resourcequota {quota}`"
        fix = f"raise it ({edit}), or make the pods smaller in the stack's settings"
        return Diagnosis(what, f"its pods do not fit into the quota: {quote(said)}", fix)
    if "violates PodSecurity" in message:
        said = message[message.index("violates PodSecurity") :]
        level = f"`kubectl get namespace {namespace} --show-labels`"
        fix = f"pods have to keep to its level, pod-security.kubernetes.io/enforce: {level}"
        return Diagnosis(what, f"Pod Security refuses its pods: {quote(said)}", fix)
    fix = kubectl_command(one, f"describe {kind.lower()}")
    return Diagnosis(what, f"its pods are refused: {quote(message)}", fix)


def diagnose_jobs(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Jobs that have failed."""
    for job in seen.of("Job"):
        failed = get_condition(job, "Failed")
        if failed is None or failed.get("status") != "True":
            continue
        log = _job_log(seen, job)
        why = f"has failed ({failed.get('reason')}): {quote(failed.get('message'))}{log}"
        remedy = f"mend it, then {kubectl_command(job, 'delete job')} and `pulumi up --refresh`"
        if _of_a_schedule(job):
            yield Diagnosis(
                f"Job {qualified_name(job)}", why, kubectl_command(job, "describe job"), "risk"
            )
        else:
            yield Diagnosis(f"Job {qualified_name(job)}", why, remedy)


def _of_a_schedule(job: KubeObject) -> bool:
    owners = job["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") == "CronJob" for owner in owners)


def _job_log(seen: ClusterSnapshot, job: KubeObject) -> str:
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    own = [pod for pod in seen.of("Pod") if labels_of(pod).get(_JOB_NAME) == name]
    names = {pod["metadata"]["name"] for pod in own}
    said = [last_lines(text) for key, text in seen.logs.items() if _is_of(key, namespace, names)]
    return f", its last words: {said[-1]}" if said and said[-1] else ""


def _is_of(key: ContainerLog, namespace: str, pods: set[str]) -> bool:
    return key.namespace == namespace and key.pod in pods


# --- services, budgets ---


def diagnose_services(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Services that lead nowhere."""
    if "EndpointSlice" not in seen.objects:
        return
    for service in seen.of("Service"):
        selector = (service.get("spec") or {}).get("selector")
        old = seen.age(service["metadata"].get("creationTimestamp")) >= STARTUP_GRACE_S
        if selector and old and not _ready_endpoints(seen, service):
            yield _leads_nowhere(seen, service, selector)


def _ready_endpoints(seen: ClusterSnapshot, service: KubeObject) -> int:
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    found = 0
    for piece in seen.of("EndpointSlice"):
        its = labels_of(piece).get("kubernetes.io/service-name")
        if (piece["metadata"]["namespace"], its) == (namespace, name):
            endpoints = piece.get("endpoints") or []
            states = [(one.get("conditions") or {}).get("ready") for one in endpoints]
            found += sum(state is not False for state in states)  # unknown counts as ready
    return found


def _leads_nowhere(
    seen: ClusterSnapshot, service: KubeObject, selector: dict[str, str]
) -> Diagnosis:
    namespace = service["metadata"]["namespace"]
    pods = [pod for pod in seen.of("Pod") if pod["metadata"]["namespace"] == namespace]
    chosen = [pod for pod in pods if selector.items() <= labels_of(pod).items()]
    ready = sum(is_true(pod, "Ready") for pod in chosen)
    label = ",".join(f"{key}={value}" for key, value in selector.items())
    told = f"of {len(chosen)} pods with its labels {ready} are ready"
    fix = f"`kubectl -n {namespace} get pods -l {label}`"
    return Diagnosis(f"Service {qualified_name(service)}", f"has no endpoints: {told}", fix)


def diagnose_budgets(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Disruption budgets that cannot be computed: no drain ever ends."""
    for budget in seen.of("PodDisruptionBudget"):
        allowed = get_condition(budget, "DisruptionAllowed")
        if allowed is None or allowed.get("reason") != "SyncFailed":
            continue
        said = quote(allowed.get("message"))
        why = f"cannot be computed, so no drain or node upgrade evicts its pods: {said}"
        fix = "pods of a RayCluster need an integer `minAvailable`, for it has no scale subresource"
        yield Diagnosis(f"PodDisruptionBudget {qualified_name(budget)}", why, fix, "risk")


# --- storage ---


def diagnose_claims(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Claims without a volume."""
    for claim in seen.of("PersistentVolumeClaim"):
        phase = (claim.get("status") or {}).get("phase")
        if phase == "Lost":
            fix = "restore the volume from a backup, or make the claim anew"
            yield Diagnosis(f"claim {qualified_name(claim)}", "its volume is gone", fix)
        elif phase == "Pending":
            yield from _pending(seen, claim)


def _pending(seen: ClusterSnapshot, claim: KubeObject) -> Iterator[Diagnosis]:
    metadata, wanted = claim["metadata"], (claim.get("spec") or {}).get("storageClassName")
    what = f"claim {qualified_name(claim)}"
    classes = {one["metadata"]["name"]: one for one in seen.of("StorageClass")}
    known = "StorageClass" in seen.objects
    offered = ", ".join(sorted(classes)) or "none (install a provisioner)"
    choose = f"set vigil:homeStorageClass to one of: {offered}"
    if known and wanted and wanted not in classes:
        yield Diagnosis(what, f"there is no storage class {wanted!r}", choose)
        return
    if known and wanted is None and not any(_is_default(one) for one in classes.values()):
        yield Diagnosis(what, "it names no storage class, and none is the default", choose)
        return
    key = metadata["namespace"], metadata["name"]
    if events := seen.events("PersistentVolumeClaim", *key, _PROVISION_ERRORS):
        describe = kubectl_command(claim, "describe pvc")
        fix = f"{describe}; an access mode that its class cannot give: vigil:homeAccessMode"
        yield Diagnosis(what, f"gets no volume: {quote(events[0].get('message'))}", fix)
        return
    waits = classes.get(wanted or "", {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    if not waits and seen.age(metadata.get("creationTimestamp")) >= STARTUP_GRACE_S:
        fix = f"look at the provisioner of storage class {wanted!r}: `kubectl get pods -A`"
        since = seen.age(metadata["creationTimestamp"])
        yield Diagnosis(what, f"is pending for {format_duration(since)}, and nobody says why", fix)


def _is_default(storage_class: KubeObject) -> bool:
    return (storage_class["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
