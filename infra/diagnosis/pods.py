"""What is wrong with pods: scheduling, images, configuration, crashes, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from infra.diagnosis.finding import (
    STARTUP_GRACE_S,
    ClusterSnapshot,
    ContainerLog,
    Diagnosis,
    Grade,
    KubeObject,
    containers_of,
    format_duration,
    get_condition,
    kubectl_command,
    labels_of,
    last_lines,
    parse_quantity,
    qualified_name,
    quote,
    statuses_of,
    time_of_event,
)

_IMAGE_ERRORS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_CONFIG_ERRORS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_MOUNT_ERRORS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
_PULL_EVENTS = ("Pulling", "Pulled")
_PROBE_EVENTS = ("Unhealthy",)
_DELETION_TIMEOUT_S = 120.0  # what should be gone for so long is stuck
_RESTART_MAX_AGE_S = 3600.0  # a restart before this is history
_MAX_MEMORY_SHARE = 0.9  # of its limit: the next request may be its last
_GIB = 2**30


def diagnose_pods(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """All findings about pods."""
    for pod in seen.of("Pod"):
        yield from _pod(seen, pod)


def _pod(seen: ClusterSnapshot, pod: KubeObject) -> Iterator[Diagnosis]:
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        yield from _stuck(seen, pod)
    elif status.get("phase") == "Succeeded":
        return
    elif status.get("phase") == "Failed":
        yield from _failed(pod)
    elif (scheduled := get_condition(pod, "PodScheduled")) and scheduled.get("status") == "False":
        yield from _unscheduled(seen, pod, quote(scheduled.get("message")))
    else:
        yield from _running(seen, pod)


def _stuck(seen: ClusterSnapshot, pod: KubeObject) -> Iterator[Diagnosis]:
    metadata = pod["metadata"]
    late = seen.age(metadata["deletionTimestamp"])
    if late < _DELETION_TIMEOUT_S:
        return
    held = ", ".join(metadata.get("finalizers") or []) or "its node has not confirmed its end"
    fix = f"{kubectl_command(pod, 'describe pod')}, then its node"
    why = f"should be gone for {format_duration(late)}: {held}"
    yield Diagnosis(f"pod {qualified_name(pod)}", why, fix, "risk")


def _failed(pod: KubeObject) -> Iterator[Diagnosis]:
    status = pod["status"]
    if status.get("reason") != "Evicted":  # its owner says what follows from a failed pod
        return
    why = f"evicted: {quote(status.get('message'))}"
    fix = "give its node more room, or the pod a limit that it keeps to"
    yield Diagnosis(f"pod {qualified_name(pod)}", why, fix, "risk")


# --- scheduling ---


def _unscheduled(seen: ClusterSnapshot, pod: KubeObject, why: str) -> Iterator[Diagnosis]:
    if "PersistentVolumeClaim" in why and _claim_explains(seen, pod):
        return
    cause = why.split(". ")[0]  # what follows is of preemption and of resource claims
    yield Diagnosis(
        f"pod {qualified_name(pod)}", f"no node takes it: {cause}", _room(seen, pod, cause)
    )


def _claim_explains(seen: ClusterSnapshot, pod: KubeObject) -> bool:
    namespace = pod["metadata"]["namespace"]
    claims = seen.of("PersistentVolumeClaim")
    own = [claim for claim in claims if claim["metadata"]["namespace"] == namespace]
    return any(claim.get("status", {}).get("phase") != "Bound" for claim in own)


def _room(seen: ClusterSnapshot, pod: KubeObject, why: str) -> str:
    """What helps against a scheduler's refusal."""
    text = why.lower()
    chosen: tuple[tuple[str, Callable[[], str]], ...] = (
        ("insufficient", lambda: _more_room(seen, pod)),
        ("persistentvolumeclaim", lambda: _describe(pod, "the claim that it names")),
        ("volume node affinity", lambda: _describe(pod, "a node where its volume is")),
        ("untolerated taint", lambda: "`kubectl taint nodes NODE KEY-` removes it; or add a node"),
        ("affinity/selector", lambda: _selector(pod)),
        ("too many pods", lambda: "add a node"),
    )
    return next((fix() for part, fix in chosen if part in text), _describe(pod, "its events"))


def _describe(pod: KubeObject, what: str) -> str:
    return f"{kubectl_command(pod, 'describe pod')} shows {what}"


def _selector(pod: KubeObject) -> str:
    wanted = pod["spec"].get("nodeSelector") or {}
    label = ",".join(f"{key}={value}" for key, value in wanted.items()) or "the labels it asks for"
    return f"add a node with {label}, or label one: `kubectl label node NODE {label}`"


def _more_room(seen: ClusterSnapshot, pod: KubeObject) -> str:
    cpu, memory = _asked(pod, "cpu"), _asked(pod, "memory") / _GIB
    asks = f"it asks for {cpu:g} CPU and {memory:.3g} GiB"
    sizes = [one.get("status", {}).get("allocatable", {}) for one in seen.of("Node")]
    if sizes:
        most = max(parse_quantity(one.get("cpu")) for one in sizes)
        largest = max(parse_quantity(one.get("memory")) for one in sizes) / _GIB
        asks += f", the largest node has {most:g} CPU and {largest:.3g} GiB in all"
    return f"add a node, or make the pod smaller with {_size_setting(pod, 'Cpu', 'MemoryGib')} ({asks})"


def _asked(pod: KubeObject, kind: str) -> float:
    specs = (pod.get("spec") or {}).get("containers") or []
    requests = [one.get("resources", {}).get("requests") or {} for one in specs]
    return sum(parse_quantity(one.get(kind)) for one in requests)


def _size_setting(pod: KubeObject, *parts: str) -> str:
    """The keys of the stack that size a pod; of one whose size is fixed, what it has to be."""
    labels = labels_of(pod)
    groups = {"serve": "worker", "train": "train", "headgroup": "head"}
    prefix = groups.get(labels.get("ray.io/group", ""))
    if prefix is None:
        return "the resources in its manifest"
    return " or ".join(f"`pulumi config set vigil:{prefix}{part} N`" for part in parts)


# --- containers ---


def _running(seen: ClusterSnapshot, pod: KubeObject) -> Iterator[Diagnosis]:
    found: list[Diagnosis] = []
    for status in statuses_of(pod):
        found.extend(_container(seen, pod, status))
    if not found:
        found.extend(_not_ready(seen, pod))
    yield from found
    yield from _memory(seen, pod)


def _container(seen: ClusterSnapshot, pod: KubeObject, status: KubeObject) -> Iterator[Diagnosis]:
    state = status.get("state") or {}
    reason = (state.get("waiting") or {}).get("reason", "")
    if reason in _IMAGE_ERRORS:
        yield _image(seen, pod, status)
    elif reason in _CONFIG_ERRORS:
        yield _config(pod, status)
    elif reason == "CrashLoopBackOff":
        yield _crashing(seen, pod, status)
    elif (ended := state.get("terminated")) and ended.get("exitCode") != 0:
        yield from _ended(seen, pod, status, ended)
    else:
        yield from _was_killed(seen, pod, status)


def _image(seen: ClusterSnapshot, pod: KubeObject, status: KubeObject) -> Diagnosis:
    waiting = status["state"]["waiting"]
    metadata = pod["metadata"]
    said = quote(waiting.get("message"), 1000)
    key = metadata["namespace"], metadata["name"]
    events = seen.events("Pod", *key, ("Failed", "ErrImageNeverPull"))
    messages = [quote(one.get("message"), 1000) for one in events]
    told = [message for message in messages if "pull" in message.lower()]
    detailed = [one for one in told if len(one) > len(said)]
    image = status.get("image") or "its image"
    cause = _of_registry((detailed or [said])[0])
    why = f"image {image} cannot be had ({waiting['reason']}): {cause}"
    if waiting["reason"] == "InvalidImageName":
        return Diagnosis(
            f"pod {qualified_name(pod)}", why, "correct vigil:image (REGISTRY/NAME:TAG)"
        )
    load = f"`kind load docker-image {image}`"
    fix = f"push it, or give it to the node ({load}), or set vigil:image to one that exists"
    return Diagnosis(f"pod {qualified_name(pod)}", why, fix)


def _of_registry(message: str) -> str:
    """What the registry said, without the sentences that lead up to it."""
    marks = ("failed to do request: ", "failed to resolve reference ", "ErrImagePull: ")
    found = next((mark for mark in marks if mark in message), None)
    return quote(message.split(found, 1)[1] if found else message)


def _config(pod: KubeObject, status: KubeObject) -> Diagnosis:
    waiting = status["state"]["waiting"]
    said = quote(waiting.get("message"))
    why = f"container {status['name']} cannot be made ({waiting['reason']}): {said}"
    fix = "`pulumi up --refresh` makes Secrets and ConfigMaps of the platform that are missing"
    return Diagnosis(f"pod {qualified_name(pod)}", why, fix)


def _log(seen: ClusterSnapshot, pod: KubeObject, container: str, *, previous: bool) -> str:
    metadata = pod["metadata"]
    key = ContainerLog(metadata["namespace"], metadata["name"], container, previous)
    said = last_lines(seen.logs.get(key, ""))
    return f", its last words: {said}" if said else ""


def _read(pod: KubeObject, container: str, *, previous: bool) -> str:
    more = f" -c {container}{' --previous' if previous else ''}"
    return f"read {kubectl_command(pod, 'logs', more)}"


def _crashing(seen: ClusterSnapshot, pod: KubeObject, status: KubeObject) -> Diagnosis:
    ended = (status.get("lastState") or {}).get("terminated") or {}
    name = status["name"]
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(pod, name, "failure")
    log = _log(seen, pod, name, previous=True)
    count = f"exit code {ended.get('exitCode', '?')}, {status.get('restartCount', 0)} restarts"
    why = f"container {name} ends again and again ({count}){log}"
    return Diagnosis(f"pod {qualified_name(pod)}", why, _read(pod, name, previous=True))


def _ended(
    seen: ClusterSnapshot, pod: KubeObject, status: KubeObject, ended: KubeObject
) -> Iterator[Diagnosis]:
    name = status["name"]
    if ended.get("reason") == "OOMKilled":
        yield _out_of_memory(pod, name, "failure")
        return
    log = _log(seen, pod, name, previous=False)
    if name == "autoscaler":
        code = f"exit code {ended.get('exitCode')}"
        why = f"its autoscaler has ended ({code}), so no worker is added{log}"
        fix = f"mend the cause, then {kubectl_command(pod, 'delete pod')}"
        yield Diagnosis(f"pod {qualified_name(pod)}", why, fix)
        return
    why = f"container {name} has ended with exit code {ended.get('exitCode')}{log}"
    yield Diagnosis(f"pod {qualified_name(pod)}", why, _read(pod, name, previous=False))


def _out_of_memory(pod: KubeObject, container: str, grade: Grade) -> Diagnosis:
    specs = [one for one in containers_of(pod) if one["name"] == container]
    limits = specs[0].get("resources", {}).get("limits") or {} if specs else {}
    limit = limits.get("memory", "the node")
    why = f"container {container} was killed at its memory limit of {limit} (OOMKilled)"
    fix = f"give it more memory: {_size_setting(pod, 'MemoryGib')}"
    return Diagnosis(f"pod {qualified_name(pod)}", why, fix, grade)


def _was_killed(seen: ClusterSnapshot, pod: KubeObject, status: KubeObject) -> Iterator[Diagnosis]:
    """A container that runs, and did not end well the last time."""
    ended = (status.get("lastState") or {}).get("terminated")
    if not ended or seen.age(ended.get("finishedAt")) > _RESTART_MAX_AGE_S:
        return
    name = status["name"]
    if ended.get("reason") == "OOMKilled":
        yield _out_of_memory(pod, name, "risk")
    elif ended.get("exitCode") != 0:
        log = _log(seen, pod, name, previous=True)
        count, code = status.get("restartCount", 1), ended.get("exitCode")
        why = f"container {name} was restarted {count} times, last after exit code {code}{log}"
        yield Diagnosis(f"pod {qualified_name(pod)}", why, _read(pod, name, previous=True), "risk")


def _not_ready(seen: ClusterSnapshot, pod: KubeObject) -> Iterator[Diagnosis]:
    metadata = pod["metadata"]
    ready = get_condition(pod, "Ready")
    if ready is None or ready.get("status") == "True":
        return
    key = metadata["namespace"], metadata["name"]
    if mounts := seen.events("Pod", *key, _MOUNT_ERRORS):
        why = f"cannot start: {quote(mounts[0]['message'])}"
        yield Diagnosis(f"pod {qualified_name(pod)}", why, _describe(pod, "its volumes"))
        return
    if (pulls := seen.events("Pod", *key, _PULL_EVENTS)) and pulls[0]["reason"] == "Pulling":
        why = f"still pulls its image: {quote(pulls[0].get('message'))}"
        yield Diagnosis(f"pod {qualified_name(pod)}", why, "wait, or put the image nearer", "note")
        return
    since = seen.age(ready.get("lastTransitionTime") or metadata.get("creationTimestamp"))
    if since < STARTUP_GRACE_S:
        return
    probes = seen.events("Pod", *key, _PROBE_EVENTS)
    fresh = [one["message"] for one in probes if seen.age(time_of_event(one)) < STARTUP_GRACE_S]
    said = quote((fresh or [ready.get("message")])[0])
    why = f"is not ready for {format_duration(since)}: {said}"
    yield Diagnosis(f"pod {qualified_name(pod)}", why, _describe(pod, "its probes and events"))


def _memory(seen: ClusterSnapshot, pod: KubeObject) -> Iterator[Diagnosis]:
    metadata = pod["metadata"]
    for one in containers_of(pod):
        limit = parse_quantity((one.get("resources", {}).get("limits") or {}).get("memory"))
        used = seen.usage.get((metadata["namespace"], metadata["name"], one["name"]), 0)
        if limit and used >= _MAX_MEMORY_SHARE * limit:
            why = f"container {one['name']} uses {used / _GIB:.2f} of {limit / _GIB:.2f} GiB"
            fix = f"give it more memory before it is killed: {_size_setting(pod, 'MemoryGib')}"
            yield Diagnosis(f"pod {qualified_name(pod)}", why, fix, "risk")


def logs_to_read(seen: ClusterSnapshot) -> list[ContainerLog]:
    """Whose last words the findings would quote."""
    found = []
    for pod in seen.of("Pod"):
        metadata = pod["metadata"]
        for status in statuses_of(pod):
            if (previous := _worth_reading(status)) is not None:
                key = metadata["namespace"], metadata["name"], status["name"]
                found.append(ContainerLog(*key, previous))
    return found


def _worth_reading(status: KubeObject) -> bool | None:
    """Whether it is the log of the container before; None: neither."""
    state = status.get("state") or {}
    if (state.get("terminated") or {}).get("exitCode", 0) != 0:
        return False
    last = (status.get("lastState") or {}).get("terminated") or {}
    return True if last.get("exitCode", 0) != 0 else None
