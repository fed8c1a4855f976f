"""What a diagnosis reads and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

KubeObject = dict[str, Any]
Grade = Literal["failure", "risk", "note"]
_GRADES: tuple[Grade, ...] = ("failure", "risk", "note")
_MAX_QUOTED_CHARACTERS = 300  # characters of somebody else's sentence that are shown
STARTUP_GRACE_S = 180.0  # what is not ready yet is not called broken before
_EVENT_MAX_AGE_S = 900.0  # an event that has not come again for so long is history


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong: which object, the cause in its own words, what helps.

    `failure`: something does not work; `risk`: it works, and will not for long or when it counts;
    `note`: nothing is wrong, and something is left to be done.
    """

    what: str
    why: str
    fix: str
    grade: Grade = "failure"

    def __str__(self) -> str:
        return f"{self.what}: {self.why}. {self.fix[:1].upper()}{self.fix[1:]}"

    def to_json(self) -> dict[str, str]:
        return {"grade": self.grade, "what": self.what, "why": self.why, "fix": self.fix}


@dataclass(frozen=True)
class ContainerLog:
    """Whose log: `previous` means that of the container that ran before."""

    namespace: str
    pod: str
    container: str
    previous: bool = False


@dataclass(frozen=True)
class Readiness:
    """What `/readyz` of the service answered; `error` is the type that its body names.

    `reached` is false where it was not the service that answered, but the API server for it.
    """

    status: int
    error: str = ""
    reached: bool = True


@dataclass(frozen=True)
class ClusterSnapshot:
    """The objects of a platform at one time, as the API server gives them.

    `objects`: by kind; a kind that is absent could not be read, and nothing is said about it.
    `usage`: bytes of memory that a container (namespace, pod, container) uses.
    """

    now: datetime
    objects: Mapping[str, Sequence[KubeObject]]
    logs: Mapping[ContainerLog, str] = field(default_factory=dict)
    usage: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    readiness: Readiness | None = None

    def of(self, kind: str) -> Sequence[KubeObject]:
        """All objects of a kind; none where it could not be read."""
        return self.objects.get(kind, ())

    def age(self, stamp: str | None) -> float:
        """Seconds since a time stamp of the API server; 0 where there is none."""
        if not stamp:
            return 0.0
        return (self.now - datetime.fromisoformat(stamp)).total_seconds()

    def events(
        self, kind: str, namespace: str, name: str, reasons: Sequence[str]
    ) -> list[KubeObject]:
        """Fresh events of an object with one of these reasons, the newest first."""
        found = [
            event
            for event in self.of("Event")
            if event.get("reason") in reasons
            and _about(event) == (kind, namespace, name)
            and self.age(time_of_event(event)) < _EVENT_MAX_AGE_S
        ]
        return sorted(found, key=lambda event: time_of_event(event) or "", reverse=True)


def _about(event: KubeObject) -> tuple[str, str, str]:
    about = event.get("involvedObject") or {}
    return about.get("kind", ""), about.get("namespace", ""), about.get("name", "")


def time_of_event(event: KubeObject) -> str | None:
    """When an event came last; the newer events API keeps it in `series`."""
    series = event.get("series") or {}
    stamps = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((stamp for stamp in stamps if stamp), None)


def qualified_name(one: KubeObject) -> str:
    """namespace/name, or the name of an object without a namespace."""
    metadata = one["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else metadata["name"]


def kubectl_command(one: KubeObject, verb: str, more: str = "") -> str:
    """A command about an object, as one types it."""
    metadata = one["metadata"]
    return f"`kubectl -n {metadata['namespace']} {verb} {metadata['name']}{more}`"


def labels_of(one: KubeObject) -> dict[str, str]:
    return one["metadata"].get("labels") or {}


def get_condition(one: KubeObject, kind: str) -> KubeObject | None:
    """The condition of a type in an object's status."""
    conditions = (one.get("status") or {}).get("conditions") or []
    return next((found for found in conditions if found.get("type") == kind), None)


def is_true(one: KubeObject, kind: str) -> bool:
    found = get_condition(one, kind)
    return found is not None and found.get("status") == "True"


def quote(text: str | None, most: int = _MAX_QUOTED_CHARACTERS) -> str:
    """Somebody else's sentence on one line, at most `most` characters, without its full stop."""
    line = " ".join((text or "").split()).rstrip(".")
    return line if len(line) <= most else f"{line[: most - 3]}..."


def format_duration(seconds: float) -> str:
    """A time that has passed, as one says it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 3 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def last_lines(log: str, lines: int = 3) -> str:
    """The last lines of a log that say something."""
    said = [line.strip() for line in log.splitlines() if line.strip()]
    return quote(" | ".join(said[-lines:]))


def merge_diagnoses(found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Findings that differ in their object alone are one, which names the objects."""
    same: dict[tuple[Grade, str, str], list[str]] = {}
    for one in found:
        names = same.setdefault((one.grade, one.why, one.fix), [])
        if one.what not in names:
            names.append(one.what)
    return [Diagnosis(_names(names), why, fix, grade) for (grade, why, fix), names in same.items()]


def _names(names: list[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} more"


def worst_first(found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """By grade; within one as they were found, causes before what follows from them."""
    return sorted(merge_diagnoses(found), key=lambda one: _GRADES.index(one.grade))


def parse_quantity(text: str | int | float | None) -> float:
    """A Kubernetes quantity as a number: `250m` is 0.25, `2Gi` is 2**31 (bytes)."""
    value = str(text or 0)
    powers = ("K", "M", "G", "T", "P")
    if value.endswith("i") and value[-2:-1] in powers:
        return float(value[:-2]) * 1024 ** (powers.index(value[-2]) + 1)
    if value.endswith("m"):
        return float(value[:-1]) / 1000
    if value.upper().endswith(powers):
        return float(value[:-1]) * 1000 ** (powers.index(value[-1].upper()) + 1)
    return float(value)


def containers_of(pod: KubeObject) -> Iterator[KubeObject]:
    """Specs of all containers, those that run first among them."""
    spec = pod.get("spec") or {}
    yield from spec.get("initContainers") or []
    yield from spec.get("containers") or []


def statuses_of(pod: KubeObject) -> Iterator[KubeObject]:
    """Statuses of all containers, those that run first among them."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []
