"""What is wrong with Ray: services, their applications, clusters."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.objects import Condition, KubeObject, RawObject
from infra.diagnosis.report import (
    Diagnoses,
    Diagnosis,
    failure,
    last_lines,
    note,
    quote,
    risk,
)
from infra.diagnosis.snapshot import ClusterSnapshot, SeenObject

_UNHEALTHY = ("UNHEALTHY", "DEPLOY_FAILED")
_INVALID_SERVICE = ("InvalidRayServiceSpec", "InvalidRayServiceMetadata", "RollbackImpossible")
_INVALID_CLUSTER = ("InvalidRayClusterSpec", "InvalidRayClusterMetadata", "InvalidRayClusterStatus")
_FAILED_UPDATE = (
    "FailedToCreateService",
    "FailedToUpdateServeApplications",
    "FailedToUpdateService",
)
_RESUME = """ --type merge -p '{"spec": {"suspend": false}}'"""
_UPGRADE_TIMEOUT_S = 1200.0  # a second cluster that is not ready after this will hardly get there
_NO_SERVE_PORT = "its head names no port `serve`, so the operator makes no service for it"
_ADD_SERVE_PORT = "add the port {name: serve, containerPort: 8000} to the head's container"
_NO_CHAMPION = "runs and has no champion yet: /readyz answers 503"
_PROMOTE_A_CHAMPION = "`vigil train` a model, then `vigil promote VERSION`"
_HEAD_CONTAINERS = "spec.rayClusterConfig.headGroupSpec.template.spec.containers"


# --- the serving cluster ---


def diagnose_ray_services(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield what keeps a RayService from serving; a note while it starts."""
    for service in snapshot.of("RayService"):
        causes = list(_causes(service))
        yield from causes
        yield from _upgrade(service)
        yield from _not_ready(service, is_explained=bool(causes))


def _causes(service: SeenObject) -> Diagnoses:
    yield from _refused(service, _INVALID_SERVICE)
    yield from _suspended(service)
    yield from _unnamed_port(service)
    for name, application in _applications(service):
        if _is_unhealthy(application):
            yield _unhealthy(service, name, application)


def _is_unhealthy(status: RawObject) -> bool:
    """Return whether Serve calls an application or a deployment broken."""
    return status.get("status") in _UNHEALTHY


def _refused(subject: SeenObject, reasons: tuple[str, ...]) -> Diagnoses:
    """Yield the operator's refusal of a RayService or RayCluster."""
    if event := subject.newest_event(reasons):
        yield failure(
            subject,
            f"the operator refuses it: {quote(event.message)}",
            "correct the stack's settings and `pulumi up`",
        )


def _suspended(service: KubeObject) -> Diagnoses:
    is_suspended = service.value("spec.suspend") or service.is_true("Suspended")
    if is_suspended:
        resume = service.kubectl("patch rayservice", _RESUME)
        yield failure(service, "is suspended", resume)


def _unnamed_port(service: KubeObject) -> Diagnoses:
    head = service.items(_HEAD_CONTAINERS)[0]
    ports = head.get("ports") or []
    if not any(map(_is_serve_port, ports)):
        yield failure(service, _NO_SERVE_PORT, _ADD_SERVE_PORT)


def _is_serve_port(port: RawObject) -> bool:
    name = port.get("name", "")
    return name == "serve" or name.startswith("serve-")


def _statuses(service: KubeObject) -> list[RawObject]:
    """Return the status of the cluster that serves, and of one that is to take its place."""
    both = map(service.status.get, ("activeServiceStatus", "pendingServiceStatus"))
    return list(filter(None, both))


def _applications(service: KubeObject) -> Iterator[tuple[str, RawObject]]:
    for status in _statuses(service):
        applications = status.get("applicationStatuses") or {}
        yield from applications.items()


def _unhealthy(
    service: KubeObject,
    name: str,
    application: RawObject,
) -> Diagnosis:
    why = f"application {name} is {application['status']}: {_cause_of(application)}"
    logs = f"`kubectl -n {service.namespace} logs -l ray.io/group=serve -c ray`"
    return failure(service, why, f"the replicas' logs say more: {logs}")


def _cause_of(application: RawObject) -> str:
    """Return what its deployments say, or else the application itself."""
    messages = "; ".join(_deployment_messages(application))
    return messages or _end_of(application.get("message")) or "it gives no reason"


def _deployment_messages(application: RawObject) -> Iterator[str]:
    """Yield what the deployments of an application that are not well say."""
    deployments = application.get("serveDeploymentStatuses") or {}
    for name, deployment in deployments.items():
        if _is_unhealthy(deployment) and deployment.get("message"):
            yield f"{name}: {_end_of(deployment['message'])}"


def _end_of(message: str | None) -> str:
    """Return a message; of a traceback its end, which names the error."""
    text = message or ""
    if "Traceback" in text:
        return last_lines(text, 2)
    return quote(text)


def _upgrade(service: SeenObject) -> Diagnoses:
    upgrade = service.condition("UpgradeInProgress")
    age_s = service.age(upgrade.changed_at)
    if upgrade.is_true and age_s >= _UPGRADE_TIMEOUT_S:
        duration = service.duration_since(upgrade.changed_at)
        yield _stuck_upgrade(service, duration)


def _stuck_upgrade(service: KubeObject, duration: str) -> Diagnosis:
    pending = service.value("status.pendingServiceStatus.rayClusterName") or ""
    why = f"a second cluster, {pending}, is not ready for {duration}; the first one still serves"
    return risk(service, why, f"{service.kubectl('describe rayservice')}, and its pods")


def _not_ready(service: SeenObject, *, is_explained: bool) -> Diagnoses:
    ready = service.condition("Ready")
    if ready.is_true:
        return
    began = ready.changed_at or service.created_at
    why = f"is not ready for {service.duration_since(began)} ({describe_progress(service)})"
    if service.is_starting(began) and not is_explained:
        yield note(service, why, "wait: it starts")
    else:
        fix = service.kubectl("describe rayservice")
        yield failure(service, f"{why}{_failed_update(service)}", fix)


def _failed_update(service: SeenObject) -> str:
    """Return what the operator could not do, as the end of a sentence."""
    event = service.newest_event(_FAILED_UPDATE)
    return f": {quote(event.message)}" if event else ""


def describe_progress(service: KubeObject) -> str:
    """Return how far a RayService is, in Ray's and the operator's words."""
    if not service.status:
        return "no operator has looked at it yet"
    return ", ".join(_progress(service))


def _progress(service: KubeObject) -> Iterator[str]:
    yield service.condition("Ready").reason or "no condition yet"
    for status in _statuses(service):
        yield from _application_states(status)
    yield f"{service.status.get('numServeEndpoints', 0)} endpoints"


def _application_states(status: RawObject) -> Iterator[str]:
    applications = status.get("applicationStatuses") or {}
    for name in sorted(applications):
        yield f"{name} {applications[name].get('status', '?')}"


def is_running(service: KubeObject) -> bool:
    """Return whether the operator calls it ready and every application of its cluster runs."""
    return service.is_true("Ready") and _active_states(service) == {"RUNNING"}


def _active_states(service: KubeObject) -> set[str | None]:
    """Return the states of the applications of the cluster that serves."""
    statuses = service.value("status.activeServiceStatus.applicationStatuses") or {}
    return {status.get("status") for status in statuses.values()}


def diagnose_champion(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield a service that is up and has no model: nothing is wrong, and nothing is served."""
    answer = snapshot.readiness
    if answer is None or not answer.reached:
        return
    if answer.is_without_model:
        yield note("the service", _NO_CHAMPION, _PROMOTE_A_CHAMPION)
    elif answer.status >= 500:
        why = f"/readyz answers {answer.status} {answer.error}".rstrip()
        yield failure("the service", why, "read the replicas' logs")


# --- clusters ---


def diagnose_ray_clusters(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield Ray clusters whose head is not there."""
    for cluster in snapshot.of("RayCluster"):
        yield from _cluster(cluster)


def _cluster(cluster: SeenObject) -> Diagnoses:
    refusals = list(_refused(cluster, _INVALID_CLUSTER))
    yield from refusals or _head(cluster)


def _head(cluster: SeenObject) -> Diagnoses:
    ready = cluster.condition("HeadPodReady")
    began = ready.changed_at or cluster.created_at
    if cluster.deleted_at or cluster.is_starting(began) or _has_head(cluster):
        return
    why = f"its head is not ready for {cluster.duration_since(began)} {_head_state(ready)}"
    yield failure(cluster, why, cluster.kubectl("describe raycluster"))


def _head_state(ready: Condition) -> str:
    cause = quote(ready.message) or "the operator has not looked at it"
    return f"({ready.reason or 'no status'}): {cause}"


def _has_head(cluster: KubeObject) -> bool:
    """Return whether its head is ready; an older operator says it of the whole cluster alone."""
    ready = cluster.condition("HeadPodReady")
    if ready.is_stated:
        return ready.is_true
    return cluster.status.get("state") == "ready"
