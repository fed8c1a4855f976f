"""What is wrong with Ray: services, clusters, the operator, and what it was installed with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.diagnosis.finding import (
    STARTUP_GRACE_S,
    ClusterSnapshot,
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

_UNHEALTHY = ("UNHEALTHY", "DEPLOY_FAILED")
_INVALID_SERVICE = ("InvalidRayServiceSpec", "InvalidRayServiceMetadata", "RollbackImpossible")
_FAILED_UPDATE = (
    "FailedToCreateService",
    "FailedToUpdateServeApplications",
    "FailedToUpdateService",
)
_INVALID_CLUSTER = ("InvalidRayClusterSpec", "InvalidRayClusterMetadata", "InvalidRayClusterStatus")
_UPGRADE_TIMEOUT_S = 1200.0  # a second cluster that is not ready after this will hardly get there
_CRDS = ("rayclusters.ray.io", "rayservices.ray.io")
# A field of the RayCluster by the version of the operator that brought it.
_MARK_FIELD, _MARK_VERSION = ("headGroupSpec", "ingressOptions"), (1, 7)


# --- the serving cluster ---


def diagnose_ray_services(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """What keeps a RayService from serving; a note while it starts."""
    for service in seen.of("RayService"):
        found = [*_refused_spec(seen, service), *_suspended(service), *_head_port(service)]
        found += _applications(service)
        yield from found
        yield from _upgrade(seen, service)
        yield from _readiness(seen, service, explained=bool(found))


def _what(service: KubeObject) -> str:
    return f"RayService {qualified_name(service)}"


def _describe(service: KubeObject) -> str:
    return kubectl_command(service, "describe rayservice")


def _refused_spec(seen: ClusterSnapshot, service: KubeObject) -> Iterator[Diagnosis]:
    metadata = service["metadata"]
    for event in seen.events(
        "RayService", metadata["namespace"], metadata["name"], _INVALID_SERVICE
    )[:1]:
        why = f"the operator refuses it: {quote(event.get('message'))}"
        yield Diagnosis(_what(service), why, "correct the stack's settings and `pulumi up`")


def _suspended(service: KubeObject) -> Iterator[Diagnosis]:
    if service["spec"].get("suspend") or is_true(service, "Suspended"):
        resume = """ --type merge -p '{"spec": {"suspend": false}}'"""
        fix = kubectl_command(service, "patch rayservice", resume)
        yield Diagnosis(_what(service), "is suspended", fix)


def _head_port(service: KubeObject) -> Iterator[Diagnosis]:
    template = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    head = template["spec"]["containers"][0]
    names = [port.get("name", "") for port in head.get("ports") or []]
    if not any(name == "serve" or name.startswith("serve-") for name in names):
        why = "its head names no port `serve`, so the operator makes no service for it"
        fix = "add the port {name: serve, containerPort: 8000} to the head's container"
        yield Diagnosis(_what(service), why, fix)


def _statuses(service: KubeObject) -> list[KubeObject]:
    """Of the cluster that serves, and of one that is to take its place."""
    status = service.get("status") or {}
    parts = (status.get("activeServiceStatus"), status.get("pendingServiceStatus"))
    return [part for part in parts if part]


def _applications(service: KubeObject) -> Iterator[Diagnosis]:
    for part in _statuses(service):
        for name, application in (part.get("applicationStatuses") or {}).items():
            if application.get("status") in _UNHEALTHY:
                yield _application(service, name, application)


def _application(service: KubeObject, name: str, application: KubeObject) -> Diagnosis:
    deployments = application.get("serveDeploymentStatuses") or {}
    bad = {key: one for key, one in deployments.items() if one.get("status") in _UNHEALTHY}
    told = [f"{key}: {_said(one.get('message'))}" for key, one in bad.items() if one.get("message")]
    said = "; ".join(told) or _said(application.get("message"))
    why = f"application {name} is {application['status']}: {said or 'it gives no reason'}"
    namespace = service["metadata"]["namespace"]
    fix = f"the replicas' logs say more: `kubectl -n {namespace} logs -l ray.io/group=serve -c ray`"
    return Diagnosis(_what(service), why, fix)


def _said(message: str | None) -> str:
    """Of a traceback the end, which names the error."""
    text = message or ""
    return last_lines(text, 2) if "Traceback" in text else quote(text)


def _upgrade(seen: ClusterSnapshot, service: KubeObject) -> Iterator[Diagnosis]:
    upgrade = get_condition(service, "UpgradeInProgress")
    if upgrade is None or upgrade.get("status") != "True":
        return
    since = seen.age(upgrade.get("lastTransitionTime"))
    if since < _UPGRADE_TIMEOUT_S:
        return
    pending = (service["status"].get("pendingServiceStatus") or {}).get("rayClusterName", "")
    why = f"a second cluster, {pending}, is not ready for {format_duration(since)}; the first one still serves"
    yield Diagnosis(_what(service), why, f"{_describe(service)}, and its pods", "risk")


def _readiness(
    seen: ClusterSnapshot, service: KubeObject, *, explained: bool
) -> Iterator[Diagnosis]:
    if is_true(service, "Ready"):
        return
    ready = get_condition(service, "Ready") or {}
    made = service["metadata"].get("creationTimestamp")
    since = seen.age(ready.get("lastTransitionTime") or made)
    why = f"is not ready for {format_duration(since)} ({describe_progress(service)})"
    if not explained and since < STARTUP_GRACE_S:
        yield Diagnosis(_what(service), why, "wait: it starts", "note")
        return
    key = service["metadata"]["namespace"], service["metadata"]["name"]
    if events := seen.events("RayService", *key, _FAILED_UPDATE):
        why += f": {quote(events[0].get('message'))}"
    yield Diagnosis(_what(service), why, _describe(service))


def describe_progress(service: KubeObject) -> str:
    """How far it is, in Ray's and the operator's words."""
    if not service.get("status"):
        return "no operator has looked at it yet"
    ready = get_condition(service, "Ready") or {}
    parts = [ready.get("reason") or "no condition yet"]
    for status in _statuses(service):
        for name, one in sorted((status.get("applicationStatuses") or {}).items()):
            parts.append(f"{name} {one.get('status', '?')}")
    parts.append(f"{service['status'].get('numServeEndpoints', 0)} endpoints")
    return ", ".join(parts)


def is_running(service: KubeObject) -> bool:
    """Whether the operator calls it ready and every application of the active cluster runs."""
    active = (service.get("status") or {}).get("activeServiceStatus") or {}
    applications = (active.get("applicationStatuses") or {}).values()
    states = [one.get("status") for one in applications]
    return is_true(service, "Ready") and bool(states) and set(states) == {"RUNNING"}


def diagnose_champion(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """The service is up and has no model: nothing is wrong, and nothing is served."""
    answer = seen.readiness
    if answer is None or not answer.reached:
        return
    if answer.status == 503 and answer.error == "NoModel":
        why = "runs and has no champion yet: /readyz answers 503"
        fix = "`vigil train` a model, then `vigil promote VERSION`"
        yield Diagnosis("the service", why, fix, "note")
    elif answer.status >= 500:
        why = f"/readyz answers {answer.status} {answer.error}".rstrip()
        yield Diagnosis("the service", why, "read the replicas' logs")


# --- clusters ---


def diagnose_ray_clusters(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Ray clusters whose head is not there."""
    for cluster in seen.of("RayCluster"):
        metadata = cluster["metadata"]
        key = metadata["namespace"], metadata["name"]
        if events := seen.events("RayCluster", *key, _INVALID_CLUSTER):
            why = f"the operator refuses it: {quote(events[0].get('message'))}"
            fix = "correct the stack's settings and `pulumi up`"
            yield Diagnosis(f"RayCluster {qualified_name(cluster)}", why, fix)
        elif not metadata.get("deletionTimestamp"):
            yield from _head(seen, cluster)


def _head(seen: ClusterSnapshot, cluster: KubeObject) -> Iterator[Diagnosis]:
    ready = get_condition(cluster, "HeadPodReady")
    metadata = cluster["metadata"]
    started = (ready or {}).get("lastTransitionTime") or metadata.get("creationTimestamp")
    since = seen.age(started)
    if since < STARTUP_GRACE_S or (ready is not None and ready.get("status") == "True"):
        return
    if ready is None and (cluster.get("status") or {}).get("state") == "ready":
        return
    said = quote((ready or {}).get("message")) or "the operator has not looked at it"
    reason = (ready or {}).get("reason", "no status")
    why = f"its head is not ready for {format_duration(since)} ({reason}): {said}"
    yield Diagnosis(
        f"RayCluster {qualified_name(cluster)}",
        why,
        kubectl_command(cluster, "describe raycluster"),
    )


# --- the operator ---


def diagnose_operator(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """The operator and the kinds that it serves: there, and of one version."""
    if "CustomResourceDefinition" not in seen.objects:
        return
    there = {one["metadata"]["name"]: one for one in seen.of("CustomResourceDefinition")}
    if missing := [name for name in _CRDS if name not in there]:
        why = f"the cluster does not know {', '.join(missing)}"
        yield Diagnosis("KubeRay", why, "`pulumi up` installs the chart kuberay-operator")
        return
    operators = [one for one in seen.of("Deployment") if _is_operator(one)]
    if not operators:
        why = "its CRDs are there and no operator is: nothing makes Ray's pods"
        yield Diagnosis("KubeRay", why, "`pulumi up` installs the chart kuberay-operator")
    for one in operators:
        yield from _operator(one, there["rayclusters.ray.io"])


def _is_operator(deployment: KubeObject) -> bool:
    return labels_of(deployment).get("app.kubernetes.io/name") == "kuberay-operator"


def _operator(deployment: KubeObject, crd: KubeObject) -> Iterator[Diagnosis]:
    what = f"KubeRay operator {qualified_name(deployment)}"
    wanted = deployment["spec"].get("replicas", 1)
    if not (deployment.get("status") or {}).get("availableReplicas"):
        namespace = deployment["metadata"]["namespace"]
        why = f"0 of {wanted} pods are available: nothing makes or mends Ray's pods"
        yield Diagnosis(what, why, f"`kubectl -n {namespace} describe pods`")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    version = _version(image)
    if version is None:
        return
    newer = _has_mark(crd)
    mark = ".".join(map(str, _MARK_VERSION))
    told = f"{image} against CRDs {'of' if newer else 'older than'} {mark}"
    if newer and version < _MARK_VERSION:
        fix = "`pulumi up` brings the operator of the chart; it must not be older than the CRDs"
        yield Diagnosis(
            what, f"is older than its CRDs ({told}): new fields are ignored", fix, "risk"
        )
    elif not newer and version >= _MARK_VERSION:
        fix = (
            "Helm never upgrades CRDs: `kubectl apply --server-side --force-conflicts -k"
            ' "github.com/ray-project/kuberay/ray-operator/config/crd?ref=vVERSION"`'
        )
        yield Diagnosis(
            what, f"is newer than its CRDs ({told}): new fields are dropped", fix, "risk"
        )


def _version(image: str) -> tuple[int, int] | None:
    """Major and minor of an image's tag; None where the tag is no version."""
    found = re.search(r":v?(\d+)\.(\d+)(?:\.\d+)?(?:@|-|$)", image)
    return (int(found[1]), int(found[2])) if found else None


def _has_mark(crd: KubeObject) -> bool:
    versions = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
    part = versions[0]["schema"]["openAPIV3Schema"] if versions else {}
    for name in ("spec", *_MARK_FIELD):
        part = (part.get("properties") or {}).get(name) or {}
    return bool(part)
