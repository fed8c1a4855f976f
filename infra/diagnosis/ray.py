"""What is wrong with Ray: services, their applications, clusters."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.objects import KubeObject, RawObject
from infra.diagnosis.report import (
    Diagnosis,
    failure,
    format_duration,
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
_HEAD_CONTAINERS = "spec.rayClusterConfig.headGroupSpec.template.spec.containers"


# --- the serving cluster ---


def diagnose_ray_services(snapshot: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Yield what keeps a RayService from serving; a note while it starts."""
    for service in snapshot.of("RayService"):
        causes = list(_causes(service))
        yield from causes
        yield from _upgrade(service)
        yield from _not_ready(service, is_explained=bool(causes))


def _causes(service: SeenObject) -> Iterator[Diagnosis]:
    yield from _refused(service, _INVALID_SERVICE)
    yield from _suspended(service)
    yield from _unnamed_port(service)
    for name, application in _applications(service):
        if application.get("status") in _UNHEALTHY:
            yield _unhealthy(service, name, application)


def _refused(subject: SeenObject, reasons: tuple[str, ...]) -> Iterator[Diagnosis]:
    """Yield the operator's refusal of a RayService or RayCluster."""
    for event in subject.events(reasons)[:1]:
        why = f"the operator refuses it: {quote(event.message)}"
        yield failure(subject, why, "correct the stack's settings and `pulumi up`")


def _suspended(service: KubeObject) -> Iterator[Diagnosis]:
    if service.value("spec.suspend") or service.is_true("Suspended"):
        resume = service.kubectl("patch rayservice", _RESUME)
        yield failure(service, "is suspended", resume)


def _unnamed_port(service: KubeObject) -> Iterator[Diagnosis]:
    head = service.items(_HEAD_CONTAINERS)[0]
    if not any(map(_is_serve_port, head.get("ports") or [])):
        why = "its head names no port `serve`, so the operator makes no service for it"
        fix = "add the port {name: serve, containerPort: 8000} to the head's container"
        yield failure(service, why, fix)


def _is_serve_port(port: RawObject) -> bool:
    name = port.get("name", "")
    return name == "serve" or name.startswith("serve-")


def _statuses(service: KubeObject) -> list[RawObject]:
    """Return the status of the cluster that serves, and of one that is to take its place."""
    active = service.status.get("activeServiceStatus")
    pending = service.status.get("pendingServiceStatus")
    return list(filter(None, (active, pending)))


def _applications(service: KubeObject) -> Iterator[tuple[str, RawObject]]:
    for status in _statuses(service):
        applications = status.get("applicationStatuses") or {}
        yield from applications.items()


def _unhealthy(service: KubeObject, name: str, application: RawObject) -> Diagnosis:
    cause = _deployment_messages(application) or _end_of(application.get("message"))
    why = f"application {name} is {application['status']}: {cause or 'it gives no reason'}"
    logs = f"`kubectl -n {service.namespace} logs -l ray.io/group=serve -c ray`"
    return failure(service, why, f"the replicas' logs say more: {logs}")


def _deployment_messages(application: RawObject) -> str:
    """Return what the deployments of an application that are not well say."""
    deployments = application.get("serveDeploymentStatuses") or {}
    messages = [
        f"{name}: {_end_of(deployment['message'])}"
        for name, deployment in deployments.items()
        if deployment.get("status") in _UNHEALTHY and deployment.get("message")
    ]
    return "; ".join(messages)


def _end_of(message: str | None) -> str:
    """Return a message; of a traceback its end, which names the error."""
    text = message or ""
    return last_lines(text, 2) if "Traceback" in text else quote(text)


def _upgrade(service: SeenObject) -> Iterator[Diagnosis]:
    upgrade = service.condition("UpgradeInProgress")
    since = service.age(upgrade.changed_at)
    if not upgrade.is_true or since < _UPGRADE_TIMEOUT_S:
        return
    pending = service.value("status.pendingServiceStatus.rayClusterName") or ""
    duration = format_duration(since)
    why = f"a second cluster, {pending}, is not ready for {duration}; the first one still serves"
    yield risk(service, why, f"{service.kubectl('describe rayservice')}, and its pods")


def _not_ready(service: SeenObject, *, is_explained: bool) -> Iterator[Diagnosis]:
    ready = service.condition("Ready")
    if ready.is_true:
        return
    began = ready.changed_at or service.created_at
    since = format_duration(service.age(began))
    why = f"is not ready for {since} ({describe_progress(service)})"
    if service.is_starting(began) and not is_explained:
        yield note(service, why, "wait: it starts")
        return
    if event := service.newest_event(_FAILED_UPDATE):
        why += f": {quote(event.message)}"
    yield failure(service, why, service.kubectl("describe rayservice"))


def describe_progress(service: KubeObject) -> str:
    """Return how far a RayService is, in Ray's and the operator's words."""
    if not service.status:
        return "no operator has looked at it yet"
    reason = service.condition("Ready").reason or "no condition yet"
    endpoints = f"{service.status.get('numServeEndpoints', 0)} endpoints"
    return ", ".join([reason, *_application_states(service), endpoints])


def _application_states(service: KubeObject) -> Iterator[str]:
    for status in _statuses(service):
        applications = status.get("applicationStatuses") or {}
        for name in sorted(applications):
            yield f"{name} {applications[name].get('status', '?')}"


def is_running(service: KubeObject) -> bool:
    """Return whether the operator calls it ready and every application of its cluster runs."""
    applications = service.value("status.activeServiceStatus.applicationStatuses") or {}
    states = {application.get("status") for application in applications.values()}
    return service.is_true("Ready") and states == {"RUNNING"}


def diagnose_champion(snapshot: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Yield a service that is up and has no model: nothing is wrong, and nothing is served."""
    answer = snapshot.readiness
    if answer is None or not answer.reached:
        return
    if answer.status == 503 and answer.error == "NoModel":
        why = "runs and has no champion yet: /readyz answers 503"
        yield note("the service", why, "`vigil train` a model, then `vigil promote VERSION`")
    elif answer.status >= 500:
        why = f"/readyz answers {answer.status} {answer.error}".rstrip()
        yield failure("the service", why, "read the replicas' logs")


# --- clusters ---


def diagnose_ray_clusters(snapshot: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Yield Ray clusters whose head is not there."""
    for cluster in snapshot.of("RayCluster"):
        refusals = list(_refused(cluster, _INVALID_CLUSTER))
        yield from refusals
        if not refusals and not cluster.deleted_at:
            yield from _head(cluster)


def _head(cluster: SeenObject) -> Iterator[Diagnosis]:
    ready = cluster.condition("HeadPodReady")
    began = ready.changed_at or cluster.created_at
    if cluster.is_starting(began) or _has_head(cluster):
        return
    since = format_duration(cluster.age(began))
    cause = quote(ready.message) or "the operator has not looked at it"
    why = f"its head is not ready for {since} ({ready.reason or 'no status'}): {cause}"
    yield failure(cluster, why, cluster.kubectl("describe raycluster"))


def _has_head(cluster: KubeObject) -> bool:
    """Return whether its head is ready; an older operator says it of the whole cluster alone."""
    ready = cluster.condition("HeadPodReady")
    if ready.is_stated:
        return ready.is_true
    return cluster.status.get("state") == "ready"
