"""What is wrong with pods: scheduling, images, configuration, crashes, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from infra.diagnosis.finding import (
    STARTING_S,
    ContainerLog,
    Finding,
    Grade,
    Object,
    Snapshot,
    condition,
    containers_of,
    event_time,
    kubectl,
    labels_of,
    name_of,
    quantity,
    span,
    statuses_of,
    tail,
    words,
)

IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
MOUNT = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
PULL = ("Pulling", "Pulled")
PROBE = ("Unhealthy",)
GONE_S = 120.0  # what should be gone for so long is stuck
RECENT_S = 3600.0  # a restart before this is history
FULL = 0.9  # of its limit: the next request may be its last
GIB = 2**30


def pods(seen: Snapshot) -> Iterator[Finding]:
    """All findings about pods."""
    for pod in seen.of("Pod"):
        yield from _pod(seen, pod)


def _pod(seen: Snapshot, pod: Object) -> Iterator[Finding]:
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        yield from _stuck(seen, pod)
    elif status.get("phase") == "Succeeded":
        return
    elif status.get("phase") == "Failed":
        yield from _failed(pod)
    elif (scheduled := condition(pod, "PodScheduled")) and scheduled.get("status") == "False":
        yield from _unscheduled(seen, pod, words(scheduled.get("message")))
    else:
        yield from _running(seen, pod)


def _stuck(seen: Snapshot, pod: Object) -> Iterator[Finding]:
    metadata = pod["metadata"]
    late = seen.age(metadata["deletionTimestamp"])
    if late < GONE_S:
        return
    held = ", ".join(metadata.get("finalizers") or []) or "its node has not confirmed its end"
    fix = f"{kubectl(pod, 'describe pod')}, then its node"
    why = f"should be gone for {span(late)}: {held}"
    yield Finding(f"pod {name_of(pod)}", why, fix, "risk")


def _failed(pod: Object) -> Iterator[Finding]:
    status = pod["status"]
    if status.get("reason") != "Evicted":  # its owner says what follows from a failed pod
        return
    why = f"evicted: {words(status.get('message'))}"
    fix = "give its node more room, or the pod a limit that it keeps to"
    yield Finding(f"pod {name_of(pod)}", why, fix, "risk")


# --- scheduling ---


def _unscheduled(seen: Snapshot, pod: Object, why: str) -> Iterator[Finding]:
    if "PersistentVolumeClaim" in why and _claim_explains(seen, pod):
        return
    cause = why.split(". ")[0]  # what follows is of preemption and of resource claims
    yield Finding(f"pod {name_of(pod)}", f"no node takes it: {cause}", _room(seen, pod, cause))


def _claim_explains(seen: Snapshot, pod: Object) -> bool:
    namespace = pod["metadata"]["namespace"]
    claims = seen.of("PersistentVolumeClaim")
    own = [claim for claim in claims if claim["metadata"]["namespace"] == namespace]
    return any(claim.get("status", {}).get("phase") != "Bound" for claim in own)


def _room(seen: Snapshot, pod: Object, why: str) -> str:
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


def _describe(pod: Object, what: str) -> str:
    return f"{kubectl(pod, 'describe pod')} shows {what}"


def _selector(pod: Object) -> str:
    wanted = pod["spec"].get("nodeSelector") or {}
    label = ",".join(f"{key}={value}" for key, value in wanted.items()) or "the labels it asks for"
    return f"add a node with {label}, or label one: `kubectl label node NODE {label}`"


def _more_room(seen: Snapshot, pod: Object) -> str:
    cpu, memory = _asked(pod, "cpu"), _asked(pod, "memory") / GIB
    asks = f"it asks for {cpu:g} CPU and {memory:.3g} GiB"
    sizes = [one.get("status", {}).get("allocatable", {}) for one in seen.of("Node")]
    if sizes:
        most = max(quantity(one.get("cpu")) for one in sizes)
        largest = max(quantity(one.get("memory")) for one in sizes) / GIB
        asks += f", the largest node has {most:g} CPU and {largest:.3g} GiB in all"
    return f"add a node, or make the pod smaller with {setting(pod, 'Cpu', 'MemoryGib')} ({asks})"


def _asked(pod: Object, kind: str) -> float:
    specs = (pod.get("spec") or {}).get("containers") or []
    requests = [one.get("resources", {}).get("requests") or {} for one in specs]
    return sum(quantity(one.get(kind)) for one in requests)


def setting(pod: Object, *parts: str) -> str:
    """The keys of the stack that size a pod; of one whose size is fixed, what it has to be."""
    labels = labels_of(pod)
    groups = {"serve": "worker", "train": "train", "headgroup": "head"}
    prefix = groups.get(labels.get("ray.io/group", ""))
    if prefix is None:
        return "the resources in its manifest"
    return " or ".join(f"`pulumi config set vigil:{prefix}{part} N`" for part in parts)


# --- containers ---


def _running(seen: Snapshot, pod: Object) -> Iterator[Finding]:
    found: list[Finding] = []
    for status in statuses_of(pod):
        found.extend(_container(seen, pod, status))
    if not found:
        found.extend(_not_ready(seen, pod))
    yield from found
    yield from _memory(seen, pod)


def _container(seen: Snapshot, pod: Object, status: Object) -> Iterator[Finding]:
    state = status.get("state") or {}
    reason = (state.get("waiting") or {}).get("reason", "")
    if reason in IMAGE:
        yield _image(seen, pod, status)
    elif reason in CONFIG:
        yield _config(pod, status)
    elif reason == "CrashLoopBackOff":
        yield _crashing(seen, pod, status)
    elif (ended := state.get("terminated")) and ended.get("exitCode") != 0:
        yield from _ended(seen, pod, status, ended)
    else:
        yield from _was_killed(seen, pod, status)


def _image(seen: Snapshot, pod: Object, status: Object) -> Finding:
    waiting = status["state"]["waiting"]
    metadata = pod["metadata"]
    said = words(waiting.get("message"), 1000)
    key = metadata["namespace"], metadata["name"]
    events = seen.events("Pod", *key, ("Failed", "ErrImageNeverPull"))
    messages = [words(one.get("message"), 1000) for one in events]
    told = [message for message in messages if "pull" in message.lower()]
    detailed = [one for one in told if len(one) > len(said)]
    image = status.get("image") or "its image"
    cause = _of_registry((detailed or [said])[0])
    why = f"image {image} cannot be had ({waiting['reason']}): {cause}"
    if waiting["reason"] == "InvalidImageName":
        return Finding(f"pod {name_of(pod)}", why, "correct vigil:image (REGISTRY/NAME:TAG)")
    load = f"`kind load docker-image {image}`"
    fix = f"push it, or give it to the node ({load}), or set vigil:image to one that exists"
    return Finding(f"pod {name_of(pod)}", why, fix)


def _of_registry(message: str) -> str:
    """What the registry said, without the sentences that lead up to it."""
    marks = ("failed to do request: ", "failed to resolve reference ", "ErrImagePull: ")
    found = next((mark for mark in marks if mark in message), None)
    return words(message.split(found, 1)[1] if found else message)


def _config(pod: Object, status: Object) -> Finding:
    waiting = status["state"]["waiting"]
    said = words(waiting.get("message"))
    why = f"container {status['name']} cannot be made ({waiting['reason']}): {said}"
    fix = "`pulumi up --refresh` makes Secrets and ConfigMaps of the platform that are missing"
    return Finding(f"pod {name_of(pod)}", why, fix)


def _log(seen: Snapshot, pod: Object, container: str, *, previous: bool) -> str:
    metadata = pod["metadata"]
    key = ContainerLog(metadata["namespace"], metadata["name"], container, previous)
    said = tail(seen.logs.get(key, ""))
    return f", its last words: {said}" if said else ""


def _read(pod: Object, container: str, *, previous: bool) -> str:
    more = f" -c {container}{' --previous' if previous else ''}"
    return f"read {kubectl(pod, 'logs', more)}"


def _crashing(seen: Snapshot, pod: Object, status: Object) -> Finding:
    ended = (status.get("lastState") or {}).get("terminated") or {}
    name = status["name"]
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(pod, name, "failure")
    log = _log(seen, pod, name, previous=True)
    count = f"exit code {ended.get('exitCode', '?')}, {status.get('restartCount', 0)} restarts"
    why = f"container {name} ends again and again ({count}){log}"
    return Finding(f"pod {name_of(pod)}", why, _read(pod, name, previous=True))


def _ended(seen: Snapshot, pod: Object, status: Object, ended: Object) -> Iterator[Finding]:
    name = status["name"]
    if ended.get("reason") == "OOMKilled":
        yield _out_of_memory(pod, name, "failure")
        return
    log = _log(seen, pod, name, previous=False)
    if name == "autoscaler":
        code = f"exit code {ended.get('exitCode')}"
        why = f"its autoscaler has ended ({code}), so no worker is added{log}"
        fix = f"mend the cause, then {kubectl(pod, 'delete pod')}"
        yield Finding(f"pod {name_of(pod)}", why, fix)
        return
    why = f"container {name} has ended with exit code {ended.get('exitCode')}{log}"
    yield Finding(f"pod {name_of(pod)}", why, _read(pod, name, previous=False))


def _out_of_memory(pod: Object, container: str, grade: Grade) -> Finding:
    specs = [one for one in containers_of(pod) if one["name"] == container]
    limits = specs[0].get("resources", {}).get("limits") or {} if specs else {}
    limit = limits.get("memory", "the node")
    why = f"container {container} was killed at its memory limit of {limit} (OOMKilled)"
    fix = f"give it more memory: {setting(pod, 'MemoryGib')}"
    return Finding(f"pod {name_of(pod)}", why, fix, grade)


def _was_killed(seen: Snapshot, pod: Object, status: Object) -> Iterator[Finding]:
    """A container that runs, and did not end well the last time."""
    ended = (status.get("lastState") or {}).get("terminated")
    if not ended or seen.age(ended.get("finishedAt")) > RECENT_S:
        return
    name = status["name"]
    if ended.get("reason") == "OOMKilled":
        yield _out_of_memory(pod, name, "risk")
    elif ended.get("exitCode") != 0:
        log = _log(seen, pod, name, previous=True)
        count, code = status.get("restartCount", 1), ended.get("exitCode")
        why = f"container {name} was restarted {count} times, last after exit code {code}{log}"
        yield Finding(f"pod {name_of(pod)}", why, _read(pod, name, previous=True), "risk")


def _not_ready(seen: Snapshot, pod: Object) -> Iterator[Finding]:
    metadata = pod["metadata"]
    ready = condition(pod, "Ready")
    if ready is None or ready.get("status") == "True":
        return
    key = metadata["namespace"], metadata["name"]
    if mounts := seen.events("Pod", *key, MOUNT):
        why = f"cannot start: {words(mounts[0]['message'])}"
        yield Finding(f"pod {name_of(pod)}", why, _describe(pod, "its volumes"))
        return
    if (pulls := seen.events("Pod", *key, PULL)) and pulls[0]["reason"] == "Pulling":
        why = f"still pulls its image: {words(pulls[0].get('message'))}"
        yield Finding(f"pod {name_of(pod)}", why, "wait, or put the image nearer", "note")
        return
    since = seen.age(ready.get("lastTransitionTime") or metadata.get("creationTimestamp"))
    if since < STARTING_S:
        return
    probes = seen.events("Pod", *key, PROBE)
    fresh = [one["message"] for one in probes if seen.age(event_time(one)) < STARTING_S]
    said = words((fresh or [ready.get("message")])[0])
    why = f"is not ready for {span(since)}: {said}"
    yield Finding(f"pod {name_of(pod)}", why, _describe(pod, "its probes and events"))


def _memory(seen: Snapshot, pod: Object) -> Iterator[Finding]:
    metadata = pod["metadata"]
    for one in containers_of(pod):
        limit = quantity((one.get("resources", {}).get("limits") or {}).get("memory"))
        used = seen.usage.get((metadata["namespace"], metadata["name"], one["name"]), 0)
        if limit and used >= FULL * limit:
            why = f"container {one['name']} uses {used / GIB:.2f} of {limit / GIB:.2f} GiB"
            fix = f"give it more memory before it is killed: {setting(pod, 'MemoryGib')}"
            yield Finding(f"pod {name_of(pod)}", why, fix, "risk")


def wanted_logs(seen: Snapshot) -> list[ContainerLog]:
    """Whose last words the findings would quote."""
    found = []
    for pod in seen.of("Pod"):
        metadata = pod["metadata"]
        for status in statuses_of(pod):
            if (previous := _worth_reading(status)) is not None:
                key = metadata["namespace"], metadata["name"], status["name"]
                found.append(ContainerLog(*key, previous))
    return found


def _worth_reading(status: Object) -> bool | None:
    """Whether it is the log of the container before; None: neither."""
    state = status.get("state") or {}
    if (state.get("terminated") or {}).get("exitCode", 0) != 0:
        return False
    last = (status.get("lastState") or {}).get("terminated") or {}
    return True if last.get("exitCode", 0) != 0 else None
