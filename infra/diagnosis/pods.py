"""What is wrong with pods: scheduling, deletion, readiness, memory."""

from __future__ import annotations

from collections.abc import Sequence

from infra.diagnosis.containers import GIB, diagnose_containers, diagnose_memory, size_setting
from infra.diagnosis.objects import Condition, KubeEvent, KubeObject, nested, parse_quantity
from infra.diagnosis.report import (
    Diagnoses,
    Diagnosis,
    failure,
    format_labels,
    note,
    quote,
    risk,
)
from infra.diagnosis.snapshot import ClusterSnapshot, SeenObject

_MOUNT_ERRORS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
_PULL_EVENTS = ("Pulling", "Pulled")
_PROBE_EVENTS = ("Unhealthy",)
_EVICTED_FIX = "give its node more room, or the pod a limit that it keeps to"
_DELETION_TIMEOUT_S = 120.0  # what should be gone for so long is stuck


def diagnose_pods(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield all that is wrong with pods."""
    for pod in snapshot.of("Pod"):
        yield from _pod(pod)


def _pod(pod: SeenObject) -> Diagnoses:
    scheduled = pod.condition("PodScheduled")
    if pod.deleted_at:
        yield from _deleted(pod)
    elif pod.phase == "Failed":
        yield from _failed(pod)
    elif pod.phase == "Succeeded":
        return
    elif scheduled.status == "False":
        yield from _unscheduled(pod, quote(scheduled.message))
    else:
        yield from _started(pod)


def _deleted(pod: SeenObject) -> Diagnoses:
    if pod.age(pod.deleted_at) < _DELETION_TIMEOUT_S:
        return
    since = pod.duration_since(pod.deleted_at)
    why = f"should be gone for {since}: {_what_holds(pod)}"
    yield risk(pod, why, f"{pod.kubectl('describe pod')}, then its node")


def _what_holds(pod: KubeObject) -> str:
    finalizers = pod.metadata.get("finalizers") or []
    return ", ".join(finalizers) or "its node has not confirmed its end"


def _failed(pod: KubeObject) -> Diagnoses:
    if pod.status.get("reason") == "Evicted":  # of others their owner says what follows
        yield _evicted(pod, quote(pod.status.get("message")))


def _evicted(pod: KubeObject, message: str) -> Diagnosis:
    return risk(pod, f"evicted: {message}", _EVICTED_FIX)


# --- scheduling ---


def _unscheduled(pod: SeenObject, why: str) -> Diagnoses:
    if "PersistentVolumeClaim" in why and _has_unbound_claim(pod):
        return  # that of the claim is the cause
    cause = why.split(". ")[0]  # what follows is of preemption and of resource claims
    fix = _schedule_fix(pod, cause.lower())
    yield failure(pod, f"no node takes it: {cause}", fix)


def _has_unbound_claim(pod: SeenObject) -> bool:
    claims = pod.neighbours("PersistentVolumeClaim")
    return any(claim.phase != "Bound" for claim in claims)


def _schedule_fix(pod: SeenObject, cause: str) -> str:
    """Return what helps against a scheduler's refusal."""
    if "insufficient" in cause:
        return _more_room(pod)
    fixes = {
        "persistentvolumeclaim": _shows(pod, "the claim that it names"),
        "volume node affinity": _shows(pod, "a node where its volume is"),
        "untolerated taint": "`kubectl taint nodes NODE KEY-` removes it; or add a node",
        "affinity/selector": _label_a_node(pod),
        "too many pods": "add a node",
    }
    matching = (fix for part, fix in fixes.items() if part in cause)
    return next(matching, _shows(pod, "its events"))


def _shows(pod: KubeObject, what: str) -> str:
    return f"{pod.kubectl('describe pod')} shows {what}"


def _label_a_node(pod: KubeObject) -> str:
    labels = format_labels(pod.value("spec.nodeSelector") or {}) or "the labels it asks for"
    return f"add a node with {labels}, or label one: `kubectl label node NODE {labels}`"


def _more_room(pod: SeenObject) -> str:
    setting = size_setting(pod, "Cpu", "MemoryGib")
    sizes = f"{_request_of(pod)}{_largest_node(pod.snapshot)}"
    return f"add a node, or make the pod smaller with {setting} ({sizes})"


def _request_of(pod: KubeObject) -> str:
    memory = _requested(pod, "memory") / GIB
    return f"it asks for {_requested(pod, 'cpu'):g} CPU and {memory:.3g} GiB"


def _requested(pod: KubeObject, resource: str) -> float:
    path = f"resources.requests.{resource}"
    return sum(parse_quantity(nested(each, path)) for each in pod.items("spec.containers"))


def _largest_node(snapshot: ClusterSnapshot) -> str:
    nodes = snapshot.of("Node")
    if not nodes:
        return ""
    cpu = _most_allocatable(nodes, "cpu")
    memory = _most_allocatable(nodes, "memory") / GIB
    return f", the largest node has {cpu:g} CPU and {memory:.3g} GiB in all"


def _most_allocatable(nodes: Sequence[KubeObject], resource: str) -> float:
    path = f"status.allocatable.{resource}"
    return max(parse_quantity(node.value(path)) for node in nodes)


# --- pods that have been scheduled ---


def _started(pod: SeenObject) -> Diagnoses:
    causes = list(diagnose_containers(pod))
    yield from causes or _not_ready(pod)
    yield from diagnose_memory(pod)


def _not_ready(pod: SeenObject) -> Diagnoses:
    ready = pod.condition("Ready")
    if ready.is_true or not ready.is_stated:
        return
    since = ready.changed_at or pod.created_at
    if mount := pod.newest_event(_MOUNT_ERRORS):
        yield _unmounted(pod, mount)
    elif pull := _pull_under_way(pod):
        yield _still_pulling(pod, pull)
    elif not pod.is_starting(since):
        why = f"is not ready for {pod.duration_since(since)}: {_probe_message(pod, ready)}"
        yield failure(pod, why, _shows(pod, "its probes and events"))


def _unmounted(pod: KubeObject, mount: KubeEvent) -> Diagnosis:
    why = f"cannot start: {quote(mount.message)}"
    return failure(pod, why, _shows(pod, "its volumes"))


def _still_pulling(pod: KubeObject, pull: KubeEvent) -> Diagnosis:
    why = f"still pulls its image: {quote(pull.message)}"
    return note(pod, why, "wait, or put the image nearer")


def _pull_under_way(pod: SeenObject) -> KubeEvent | None:
    """Return the event of a pull that has not ended; None where none is under way."""
    pull = pod.newest_event(_PULL_EVENTS)
    return pull if pull and pull.reason == "Pulling" else None


def _probe_message(pod: SeenObject, ready: Condition) -> str:
    """Return what a probe said lately, or else the condition."""
    probe = pod.newest_event(_PROBE_EVENTS)
    is_recent = probe and pod.is_starting(probe.time)
    return quote(probe.message if probe and is_recent else ready.message)
