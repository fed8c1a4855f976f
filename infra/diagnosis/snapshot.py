"""The objects of a platform at one time, as a diagnosis reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from infra.diagnosis.objects import KubeEvent, KubeObject, RawObject
from infra.diagnosis.report import format_duration

STARTUP_GRACE_S = 180.0  # what is not ready yet is not called broken before
_MAX_EVENT_AGE_S = 900.0  # an event that has not come again for so long is history


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

    @property
    def is_without_model(self) -> bool:
        """Whether the service runs and nothing has been promoted yet."""
        return self.status == 503 and self.error == "NoModel"


@dataclass(frozen=True)
class ClusterSnapshot:
    """The objects of a platform at one time, as the API server gives them.

    `objects`: by kind; a kind that is absent could not be read, and nothing is said about it.
    `usage`: bytes of memory that a container (namespace, pod, container) uses.
    """

    now: datetime
    objects: Mapping[str, Sequence[RawObject]]
    logs: Mapping[ContainerLog, str] = field(default_factory=dict)
    usage: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    readiness: Readiness | None = None

    def has(self, kind: str) -> bool:
        """Return whether the objects of a kind could be read."""
        return kind in self.objects

    def of(self, kind: str) -> list[SeenObject]:
        """Return all objects of a kind; none where it could not be read."""
        return [SeenObject(kind, raw, self) for raw in self.raw(kind)]

    def raw(self, kind: str) -> Sequence[RawObject]:
        """Return all objects of a kind as the API server gives them."""
        return self.objects.get(kind, ())

    def by_name(self, kind: str) -> dict[str, SeenObject]:
        """Return all objects of a kind by their names."""
        return {each.name: each for each in self.of(kind)}

    def age(self, stamp: str | None) -> float:
        """Return the seconds since a time stamp of the API server; 0 where there is none."""
        if not stamp:
            return 0.0
        passed = self.now - datetime.fromisoformat(stamp)
        return passed.total_seconds()


@dataclass(frozen=True)
class SeenObject(KubeObject):
    """An object of a snapshot, with what was seen around it."""

    snapshot: ClusterSnapshot = field(repr=False, compare=False)

    def neighbours(self, kind: str) -> list[SeenObject]:
        """Return the objects of a kind in its namespace."""
        everywhere = self.snapshot.of(kind)
        return [each for each in everywhere if each.namespace == self.namespace]

    def age(self, stamp: str | None) -> float:
        """Return the seconds since a time stamp of it; 0 where there is none."""
        return self.snapshot.age(stamp)

    def duration_since(self, stamp: str | None) -> str:
        """Return the time since a time stamp of it, as one says it."""
        return format_duration(self.age(stamp))

    def is_starting(self, stamp: str | None) -> bool:
        """Return whether what began then is not called broken yet."""
        return self.age(stamp) < STARTUP_GRACE_S

    def events(self, reasons: Sequence[str]) -> list[KubeEvent]:
        """Return its fresh events with one of these reasons, the newest first."""
        fresh = filter(self._is_fresh, self._events(reasons))
        return sorted(fresh, key=_time_of, reverse=True)

    def newest_event(self, reasons: Sequence[str]) -> KubeEvent | None:
        """Return its newest fresh event with one of these reasons."""
        events = self.events(reasons)
        return events[0] if events else None

    def _events(self, reasons: Sequence[str]) -> Iterator[KubeEvent]:
        for raw in filter(self._is_named_by, self.snapshot.raw("Event")):
            if raw.get("reason") in reasons:
                yield KubeEvent.parse(raw)

    def _is_named_by(self, event: RawObject) -> bool:
        about = event.get("involvedObject") or {}
        named = (about.get("kind"), about.get("namespace", ""), about.get("name"))
        return named == (self.kind, self.namespace, self.name)

    def _is_fresh(self, event: KubeEvent) -> bool:
        return self.age(event.time) < _MAX_EVENT_AGE_S


def _time_of(event: KubeEvent) -> str:
    return event.time or ""
