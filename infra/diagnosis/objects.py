"""Objects of a cluster as the API server gives them, read through the words of its API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vigil.json_types import Fields

RawObject = dict[str, Any]

# What people call a kind, where that is not its name.
_KIND_WORDS = {
    "Namespace": "namespace",
    "Node": "node",
    "PersistentVolumeClaim": "claim",
    "Pod": "pod",
}
_QUANTITY_POWERS = ("", "K", "M", "G", "T", "P")


def nested(raw: Fields, path: str) -> Any:
    """Return the value at a dotted path; None where a part is missing."""
    *parents, last = path.split(".")
    for key in parents:
        raw = raw.get(key) or {}
    return raw.get(last)


def parse_quantity(text: str | int | float | None) -> float:
    """Return a Kubernetes quantity as a number: `250m` is 0.25, `2Gi` is 2**31 (bytes)."""
    value = str(text or 0)
    digits = value.rstrip("imKMGTPkgtp")
    return float(digits) * _unit_factor(value.removeprefix(digits))


def _unit_factor(unit: str) -> float:
    if unit == "m":
        return 0.001
    base = 1024 if unit.endswith("i") else 1000
    return base ** _QUANTITY_POWERS.index(unit[:1].upper())


@dataclass(frozen=True)
class Condition:
    """A condition in an object's status; `status` is empty where there is none of its type."""

    status: str = ""
    reason: str = ""
    message: str = ""
    changed_at: str | None = None

    @classmethod
    def parse(cls, raw: RawObject) -> Condition:
        """Read a condition."""
        return cls(
            status=raw.get("status") or "",
            reason=raw.get("reason") or "",
            message=raw.get("message") or "",
            changed_at=raw.get("lastTransitionTime"),
        )

    @property
    def is_stated(self) -> bool:
        """Whether the object has it."""
        return bool(self.status)

    @property
    def is_true(self) -> bool:
        """Whether it holds."""
        return self.status == "True"


@dataclass(frozen=True)
class KubeObject:
    """An object of a kind."""

    kind: str
    raw: RawObject

    @property
    def metadata(self) -> RawObject:
        """Its metadata."""
        return self.raw["metadata"]

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata["name"]

    @property
    def namespace(self) -> str:
        """Its namespace; empty where it has none."""
        return self.metadata.get("namespace") or ""

    @property
    def qualified_name(self) -> str:
        """namespace/name, or the name of an object without a namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.metadata.get("labels") or {}

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        """Return whether it bears all of these labels."""
        return labels.items() <= self.labels.items()

    @property
    def created_at(self) -> str | None:
        """When it was made."""
        return self.metadata.get("creationTimestamp")

    @property
    def deleted_at(self) -> str | None:
        """When it was asked to go; None where it was not."""
        return self.metadata.get("deletionTimestamp")

    @property
    def status(self) -> RawObject:
        """Its status."""
        return self.raw.get("status") or {}

    @property
    def phase(self) -> str:
        """The phase of its status."""
        return self.status.get("phase") or ""

    def __str__(self) -> str:
        return f"{_KIND_WORDS.get(self.kind, self.kind)} {self.qualified_name}"

    def value(self, path: str) -> Any:
        """Return the value at a dotted path; None where a part is missing."""
        return nested(self.raw, path)

    def items(self, path: str) -> list[RawObject]:
        """Return the list at a dotted path; an empty one where a part is missing."""
        return nested(self.raw, path) or []

    def condition(self, type_: str) -> Condition:
        """Return the condition of a type in its status."""
        for raw in self.items("status.conditions"):
            if raw.get("type") == type_:
                return Condition.parse(raw)
        return Condition()

    def is_true(self, type_: str) -> bool:
        """Return whether the condition of a type holds."""
        return self.condition(type_).is_true

    def kubectl(self, verb: str, more: str = "") -> str:
        """Return a command about the object, as one types it."""
        return f"`kubectl -n {self.namespace} {verb} {self.name}{more}`"


@dataclass(frozen=True)
class KubeEvent:
    """What somebody told the API server of an object."""

    reason: str
    message: str
    time: str | None

    @classmethod
    def parse(cls, raw: RawObject) -> KubeEvent:
        """Read an event; the newer events API keeps its last time in `series`."""
        reason = raw.get("reason") or ""
        return cls(reason, raw.get("message") or "", _event_time(raw))


def _event_time(raw: RawObject) -> str | None:
    last = nested(raw, "series.lastObservedTime") or raw.get("lastTimestamp")
    return last or raw.get("eventTime")


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    reason: str
    exit_code: int | None
    finished_at: str | None

    @classmethod
    def parse(cls, raw: RawObject | None) -> Termination | None:
        """Read the state of a container that has ended; None of another."""
        if not raw:
            return None
        return cls(raw.get("reason") or "", raw.get("exitCode"), raw.get("finishedAt"))

    @property
    def is_out_of_memory(self) -> bool:
        """Whether it was killed at its memory limit."""
        return self.reason == "OOMKilled"

    @property
    def is_failure(self) -> bool:
        """Whether it did not end well."""
        return self.exit_code != 0


@dataclass(frozen=True)
class ContainerStatus:
    """The status of one container of a pod."""

    raw: RawObject

    @property
    def name(self) -> str:
        """Its name."""
        return self.raw["name"]

    @property
    def image(self) -> str:
        """Its image; empty where the kubelet does not know it yet."""
        return self.raw.get("image") or ""

    @property
    def restarts(self) -> int | None:
        """How often it was restarted; None where nobody counted."""
        return self.raw.get("restartCount")

    @property
    def waiting_reason(self) -> str:
        """Why it waits; empty where it does not."""
        return nested(self.raw, "state.waiting.reason") or ""

    @property
    def waiting_message(self) -> str:
        """What is said of its waiting."""
        return nested(self.raw, "state.waiting.message") or ""

    @property
    def ended(self) -> Termination | None:
        """How it has ended; None while it runs or waits."""
        return Termination.parse(nested(self.raw, "state.terminated"))

    @property
    def ended_before(self) -> Termination | None:
        """How the container before it ended; None where there was none."""
        return Termination.parse(nested(self.raw, "lastState.terminated"))


def containers_of(pod: KubeObject) -> list[RawObject]:
    """Return the specs of all containers, those that run first among them."""
    first = pod.items("spec.initContainers")
    return [*first, *pod.items("spec.containers")]


def statuses_of(pod: KubeObject) -> Iterator[ContainerStatus]:
    """Yield the statuses of all containers, those that run first among them."""
    for key in ("initContainerStatuses", "containerStatuses"):
        yield from map(ContainerStatus, pod.items(f"status.{key}"))
