"""What is wrong with the containers of a pod: images, configuration, crashes, memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.diagnosis.objects import (
    ContainerStatus,
    KubeEvent,
    KubeObject,
    RawObject,
    Termination,
    containers_of,
    nested,
    parse_quantity,
    statuses_of,
)
from infra.diagnosis.report import Diagnoses, Diagnosis, failure, last_words, quote, risk
from infra.diagnosis.snapshot import ClusterSnapshot, ContainerLog, SeenObject

GIB = 2**30
_IMAGE_ERRORS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_CONFIG_ERRORS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_PULL_FAILURES = ("Failed", "ErrImageNeverPull")
_REGISTRY_PREFIXES = (
    "failed to do request: ",
    "failed to resolve reference ",
    "ErrImagePull: ",
)
_MAX_PULL_CHARACTERS = 1000
_MAX_RESTART_AGE_S = 3600.0  # a restart before this is history
_MAX_MEMORY_SHARE = 0.9  # of its limit: the next request may be its last
# Prefix of the settings that size a group of Ray's pods.
_GROUP_PREFIXES = {"serve": "worker", "train": "train", "headgroup": "head"}


@dataclass(frozen=True)
class PodContainer:
    """A container of a pod, with its spec and its log."""

    pod: SeenObject
    status: ContainerStatus

    def __str__(self) -> str:
        return f"container {self.status.name}"

    @property
    def name(self) -> str:
        """Its name."""
        return self.status.name

    @property
    def spec(self) -> RawObject:
        """Its spec."""
        for spec in containers_of(self.pod):
            if spec["name"] == self.name:
                return spec
        return {}

    @property
    def memory_limit(self) -> str:
        """Its memory limit, as its spec states it."""
        return nested(self.spec, "resources.limits.memory") or "the node"

    @property
    def waits_for(self) -> str:
        """Why it waits, as the end of a sentence."""
        return f"({self.status.waiting_reason}): {quote(self.status.waiting_message)}"

    def log_key(self, *, previous: bool) -> ContainerLog:
        """Return whose log is its own, or that of the container before it."""
        return ContainerLog(
            self.pod.namespace,
            self.pod.name,
            self.name,
            previous=previous,
        )

    def last_words(self, *, previous: bool = False) -> str:
        """Return the end of its log as the end of a sentence."""
        logs = self.pod.snapshot.logs
        return last_words(logs.get(self.log_key(previous=previous), ""))

    def read_logs(self, *, previous: bool = False) -> str:
        """Return the command that reads its log."""
        which = " --previous" if previous else ""
        return f"read {self.pod.kubectl('logs', f' -c {self.name}{which}')}"


def _pod_containers(pod: SeenObject) -> Iterator[PodContainer]:
    for status in statuses_of(pod):
        yield PodContainer(pod, status)


def diagnose_containers(pod: SeenObject) -> Diagnoses:
    """Yield what keeps containers of a pod from running, or has ended them."""
    for container in _pod_containers(pod):
        yield from _container(container)


def _container(container: PodContainer) -> Diagnoses:
    reason = container.status.waiting_reason
    ended = container.status.ended
    if reason in _IMAGE_ERRORS:
        yield _image(container)
    elif reason in _CONFIG_ERRORS:
        yield _config(container)
    elif reason == "CrashLoopBackOff":
        yield _crashing(container)
    elif ended and ended.is_failure:
        yield _ended(container, ended)
    else:
        yield from _restarted(container)


# --- before it runs ---


def _image(container: PodContainer) -> Diagnosis:
    reason = container.status.waiting_reason
    image = container.status.image or "its image"
    cause = _registry_error(_pull_error(container))
    why = f"image {image} cannot be had ({reason}): {cause}"
    return failure(container.pod, why, _image_fix(image, reason))


def _image_fix(image: str, reason: str) -> str:
    if reason == "InvalidImageName":
        return "correct vigil:image (REGISTRY/NAME:TAG)"
    load = f"`kind load docker-image {image}`"
    return f"push it, or give it to the node ({load}), or set vigil:image to one that exists"


def _pull_error(container: PodContainer) -> str:
    """Return what was said of a pull at the greatest length: later messages say less."""
    message = quote(container.status.waiting_message, _MAX_PULL_CHARACTERS)
    details = map(_pull_detail, container.pod.events(_PULL_FAILURES))
    longer = (detail for detail in details if len(detail) > len(message))
    return next(filter(_is_of_a_pull, longer), message)


def _pull_detail(event: KubeEvent) -> str:
    return quote(event.message, _MAX_PULL_CHARACTERS)


def _is_of_a_pull(detail: str) -> bool:
    return "pull" in detail.lower()


def _registry_error(message: str) -> str:
    """Return what the registry said, without the sentences that lead up to it."""
    for prefix in _REGISTRY_PREFIXES:
        if prefix in message:
            return quote(message.split(prefix, 1)[1])
    return quote(message)


def _config(container: PodContainer) -> Diagnosis:
    fix = "`pulumi up --refresh` makes Secrets and ConfigMaps of the platform that are missing"
    return failure(container.pod, f"{container} cannot be made {container.waits_for}", fix)


# --- how it ended ---


def _crashing(container: PodContainer) -> Diagnosis:
    ended = container.status.ended_before
    if ended and ended.is_out_of_memory:
        return _out_of_memory(container)
    log = container.last_words(previous=True)
    why = f"{container} ends again and again ({_count_of_ends(container.status)}){log}"
    return failure(container.pod, why, container.read_logs(previous=True))


def _count_of_ends(status: ContainerStatus) -> str:
    return f"exit code {_exit_code(status.ended_before)}, {status.restarts or 0} restarts"


def _exit_code(ended: Termination | None) -> int | str:
    return "?" if ended is None or ended.exit_code is None else ended.exit_code


def _ended(container: PodContainer, ended: Termination) -> Diagnosis:
    pod = container.pod
    code = f"exit code {ended.exit_code}"
    log = container.last_words()
    if ended.is_out_of_memory:
        return _out_of_memory(container)
    if container.name == "autoscaler":
        return _without_autoscaler(pod, f"({code}), so no worker is added{log}")
    return failure(pod, f"{container} has ended with {code}{log}", container.read_logs())


def _without_autoscaler(pod: KubeObject, what_follows: str) -> Diagnosis:
    fix = f"mend the cause, then {pod.kubectl('delete pod')}"
    return failure(pod, f"its autoscaler has ended {what_follows}", fix)


def _restarted(container: PodContainer) -> Diagnoses:
    """Yield a container that runs, and did not end well the last time."""
    ended = container.status.ended_before
    if ended is None or container.pod.age(ended.finished_at) > _MAX_RESTART_AGE_S:
        return
    if ended.is_out_of_memory:
        killed = _out_of_memory(container)
        yield replace(killed, grade="risk")
    elif ended.is_failure:
        yield _restarted_after(container, ended)


def _restarted_after(container: PodContainer, ended: Termination) -> Diagnosis:
    log = container.last_words(previous=True)
    last = f"last after exit code {ended.exit_code}{log}"
    why = f"{container} was restarted {_restarts_of(container)} times, {last}"
    return risk(container.pod, why, container.read_logs(previous=True))


def _restarts_of(container: PodContainer) -> int:
    restarts = container.status.restarts
    return 1 if restarts is None else restarts


# --- memory ---


def _out_of_memory(container: PodContainer) -> Diagnosis:
    why = f"{container} was killed at its memory limit of {container.memory_limit} (OOMKilled)"
    return failure(container.pod, why, _more_memory(container.pod))


def _more_memory(pod: KubeObject, when: str = "") -> str:
    return f"give it more memory{when}: {size_setting(pod, 'MemoryGib')}"


def size_setting(pod: KubeObject, *parts: str) -> str:
    """Return the keys of the stack that size a pod, or where its fixed size is written."""
    prefix = _GROUP_PREFIXES.get(pod.labels.get("ray.io/group", ""))
    if prefix is None:
        return "the resources in its manifest"
    return " or ".join(_size_command(f"{prefix}{part}") for part in parts)


def _size_command(key: str) -> str:
    return f"`pulumi config set vigil:{key} N`"


def diagnose_memory(pod: SeenObject) -> Diagnoses:
    """Yield containers that will soon be killed at their memory limit."""
    for spec in containers_of(pod):
        used = _memory_used(pod, spec["name"])
        limit = parse_quantity(nested(spec, "resources.limits.memory"))
        if limit and used >= _MAX_MEMORY_SHARE * limit:
            yield _nearly_full(
                pod,
                spec["name"],
                used / GIB,
                limit_gib=limit / GIB,
            )


def _memory_used(pod: SeenObject, container: str) -> int:
    key = (pod.namespace, pod.name, container)
    return pod.snapshot.usage.get(key, 0)


def _nearly_full(
    pod: SeenObject,
    container: str,
    used_gib: float,
    *,
    limit_gib: float,
) -> Diagnosis:
    why = f"container {container} uses {used_gib:.2f} of {limit_gib:.2f} GiB"
    return risk(pod, why, _more_memory(pod, " before it is killed"))


# --- logs that a diagnosis quotes ---


def logs_to_read(snapshot: ClusterSnapshot) -> list[ContainerLog]:
    """Return whose last words a diagnosis would quote."""
    return [log for pod in snapshot.of("Pod") for log in _logs_of(pod)]


def _logs_of(pod: SeenObject) -> Iterator[ContainerLog]:
    for container in _pod_containers(pod):
        status = container.status
        if _has_exit_code(status.ended):
            yield container.log_key(previous=False)
        elif _has_exit_code(status.ended_before):
            yield container.log_key(previous=True)


def _has_exit_code(ended: Termination | None) -> bool:
    """Return whether a container ended with an error."""
    return bool(ended and ended.exit_code)
