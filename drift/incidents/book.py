"""The incidents that are open, the latest that are closed, and what people are told of them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from drift.incidents.incident import (
    ChangeKind,
    Incident,
    IncidentChange,
    IncidentEvidence,
    IncidentKind,
    incident_id,
)
from drift.incidents.rules import Rules
from drift.incidents.tracked import TrackedIncident
from drift.incidents.windows import MAX_FEATURES_OF_WINDOW, BrokenWindow, DriftEpisode
from drift.settings import DriftSettings

MAX_WINDOWS_OF_BREAK = 20
MAX_BROKEN_FEATURES = 1000


class TouchedIncident(NamedTuple):
    """An incident whose figures have changed, and the worst of its rows.

    evidence: without rows where the stored ones are still the worst
    """

    incident: Incident
    evidence: IncidentEvidence


class IncidentBook:
    """Opens, announces and closes incidents; holds at most so many that are open, or closed.

    settings may be replaced; suppressed: rows by why nobody was told of them
    """

    def __init__(
        self,
        settings: DriftSettings,
        max_open: int,
        max_closed: int,
    ) -> None:
        self.settings = settings
        self.suppressed: Counter[str] = Counter()
        self.open: dict[str, TrackedIncident] = {}
        self.closed: OrderedDict[str, TrackedIncident] = OrderedDict()
        self._max_open = max_open
        self._max_closed = max_closed
        self._count = 0
        self._episodes = 0
        self._touched_ids: dict[str, None] = {}
        self._changes: list[IncidentChange] = []

    def to_json(self) -> dict[str, Any]:
        return {
            "open": msgspec.to_builtins(list(self.open.values())),
            "closed": msgspec.to_builtins(list(self.closed.values())),
            "count": self._count,
            "episodes": self._episodes,
            "suppressed": dict(self.suppressed),
        }

    def load(self, stored: Mapping[str, Any]) -> None:
        """Take over what was stored. Raises ValueError, TypeError or LookupError."""
        self.open = _by_id(stored["open"])
        self.closed = OrderedDict(_by_id(stored["closed"]))
        self._count = int(stored["count"])
        self._episodes = int(stored["episodes"])
        self.suppressed = Counter(msgspec.convert(stored["suppressed"], dict[str, int]))

    def to_join(
        self,
        onset: float,
        at: float,
        held_by: str | None,
        leading: Collection[str] = (),
    ) -> TrackedIncident | None:
        """Return the open incident of which alerts from `onset` to `at` are a part; or None.

        It is that of a drift episode, that of a data break in their `leading` features, or one
        that entities have joined lately. Where no more may be open, it is any.
        """
        alike = [incident for incident in self.open.values() if incident.held_by == held_by]
        explaining = [incident for incident in alike if incident.explains(leading)]
        rows = [incident for incident in alike if incident.kind != "data break"]
        near = [incident for incident in rows if incident.is_near(onset, at)]
        candidates = explaining or near
        if len(self.open) >= self._max_open:
            candidates = candidates or alike or list(self.open.values())
        return max(candidates, key=_joined_at, default=None)

    def create(
        self,
        onset: float,
        quiet_s: float,
        arrived: float,
        *,
        held_by: str | None,
    ) -> TrackedIncident:
        """Open an incident, of which nobody hears before it is announced."""
        incident = TrackedIncident(
            id=incident_id(onset, self._next_number()),
            kind="rows",
            onset=onset,
            last_seen=onset,
            arrived=arrived,
            quiet_s=quiet_s,
            joined_at=onset,
            watermark=onset,
            held_by=held_by,
        )
        self.open[incident.id] = incident
        return incident

    def _next_number(self) -> int:
        self._count += 1
        return self._count

    def announce(
        self,
        incident: TrackedIncident,
        at: float,
    ) -> None:
        """Say that an incident is there, or has become graver by a step."""
        announced = incident.announced_grade
        if incident.end is not None or incident.held_by is not None:
            return
        if announced is None and self._is_long_enough(incident):
            self._change("opened", incident, at)
        elif announced is not None and incident.grade >= announced + self._grade_step:
            self._change("updated", incident, at)

    @property
    def _grade_step(self) -> float:
        return self.settings.incident_grade_step

    def _is_long_enough(self, incident: TrackedIncident) -> bool:
        length_s = incident.last_seen - incident.onset
        return incident.kind != "rows" or length_s >= self.settings.incident_min_length_s

    def _change(
        self,
        kind: ChangeKind,
        incident: TrackedIncident,
        at: float,
    ) -> None:
        incident.announced_grade = incident.grade
        self.touch(incident)
        self._changes.append(IncidentChange(kind, incident.snapshot(), at))

    def touch(self, incident: TrackedIncident) -> None:
        """Note that its figures have changed."""
        self._touched_ids[incident.id] = None

    def announced(self) -> Iterator[TrackedIncident]:
        """Yield the open incidents that people were told of, the oldest first."""
        return (incident for incident in self.open.values() if incident.is_announced)

    def held(self) -> Iterator[TrackedIncident]:
        """Yield the open incidents that a dismissal rule holds back, the oldest first."""
        return (incident for incident in self.open.values() if incident.held_by)

    def find(self, id: str | None) -> TrackedIncident | None:
        """Return an incident that is remembered, None without one."""
        if id is None:
            return None
        return self.open.get(id) or self.closed.get(id)

    def release(
        self,
        rules: Rules,
        now: float,
    ) -> None:
        """Announce what a rule has held back that does not hold any more."""
        for incident in self.open.values():
            if incident.held_by and not rules.is_active(incident.held_by, now):
                incident.held_by = None
                self.announce(incident, now)

    def close_quiet(self, now: float) -> None:
        """Close what has not alerted for its quiet time, by its own rows or by the clock."""
        for incident in list(self.open.values()):
            if incident.is_over_at(incident.watermark):
                self.close(incident, incident.quiet_from)
            elif incident.is_forgotten_at(now):
                self.close(incident, incident.forgotten_from)

    def close(
        self,
        incident: TrackedIncident,
        at: float,
    ) -> None:
        """Close an incident; what was too short for anybody to hear of it is forgotten."""
        del self.open[incident.id]
        incident.end_at(at)
        if incident.is_announced:
            self._change("closed", incident, at)
        else:
            self._count_suppressed(incident)
        self.closed[incident.id] = incident
        self.touch(incident)

    def _count_suppressed(self, incident: TrackedIncident) -> None:
        why = "rule" if incident.held_by else "length"
        self.suppressed[why] += incident.rows

    def take_changes(self) -> list[IncidentChange]:
        """Hand out what people are to be told, once."""
        changes = self._changes
        self._changes = []
        return changes

    def take_touched(self) -> list[TouchedIncident]:
        """Hand out what is to be stored, once; closed incidents need their worst rows no more."""
        touched = [self.find(id) for id in self._touched_ids]
        self._touched_ids = {}
        visible = [incident for incident in touched if incident and incident.is_visible]
        taken = [TouchedIncident(seen.snapshot(), seen.evidence_rows()) for seen in visible]
        for incident in self.closed.values():
            incident.forget_rows()
        while len(self.closed) > self._max_closed:
            self.closed.popitem(last=False)
        return taken

    def begin_episode(
        self,
        episode: DriftEpisode,
        now: float,
    ) -> None:
        """Open the incident of an episode; one that is open already changes nothing."""
        if self._of_episode(episode.id) is not None:
            return
        self._episodes += 1
        onset = min(episode.since, now)
        drift = self._create_of_window(
            episode,
            "drift",
            onset,
            now=now,
        )
        drift.title = f"many features moved: drift episode {self._episodes}"
        self._link(episode.id, onset)
        self.announce(drift, now)

    def _create_of_window(
        self,
        cause: DriftEpisode | BrokenWindow,
        kind: IncidentKind,
        onset: float,
        *,
        now: float,
    ) -> TrackedIncident:
        incident = self.create(
            onset,
            0.0,
            now,
            held_by=None,
        )
        incident.kind = kind
        incident.version = cause.version
        incident.moved = cause.features[:MAX_FEATURES_OF_WINDOW]
        incident.grade = cause.grade
        incident.episode = cause.id
        return incident

    def _link(
        self,
        episode: str,
        onset: float,
    ) -> None:
        """Link what has opened since the drift began to its episode."""
        for incident in self.open.values():
            if incident.onset >= onset:
                self._put_into(incident, episode)

    def end_episode(
        self,
        episode: str,
        now: float,
    ) -> None:
        """Close the incident of an episode; one that has none changes nothing."""
        incident = self._of_episode(episode)
        if incident is not None:
            self.close(incident, now)

    def _of_episode(self, episode: str) -> TrackedIncident | None:
        for incident in self.open.values():
            if incident.kind == "drift" and incident.episode == episode:
                return incident
        return None

    def extend_break(
        self,
        window: BrokenWindow,
        now: float,
    ) -> None:
        """Open the incident of a data break, or add a window to the one that is open."""
        onset = min(window.since, now)
        opened = self._open_break()
        incident = opened or self._create_of_window(
            window,
            "data break",
            onset,
            now=now,
        )
        incident.title = window.title
        incident.broken = _with_new(incident.broken, window)
        incident.moved = window.features[:MAX_FEATURES_OF_WINDOW] or incident.moved
        incident.windows = (*incident.windows, onset)[-MAX_WINDOWS_OF_BREAK:]
        incident.last_seen = max(incident.last_seen, now)
        self.touch(incident)
        if opened is None:
            self._link_explained(incident)
            self.announce(incident, now)

    def _link_explained(self, data_break: TrackedIncident) -> None:
        """Link what has opened since the data broke, for what is broken, to the data break."""
        for incident in self.open.values():
            if incident.onset >= data_break.onset and data_break.explains(incident.leading):
                self._put_into(incident, data_break.episode)

    def _put_into(self, incident: TrackedIncident, episode: str | None) -> None:
        incident.episode = episode
        self.touch(incident)

    def end_break(self, now: float) -> None:
        """Close the incident of a data break; without one nothing changes."""
        incident = self._open_break()
        if incident is not None:
            self.close(incident, now)

    def _open_break(self) -> TrackedIncident | None:
        for incident in self.open.values():
            if incident.kind == "data break":
                return incident
        return None


def _with_new(broken: tuple[str, ...], window: BrokenWindow) -> tuple[str, ...]:
    names = (*broken, *(one.feature for one in window.broken))
    return tuple(dict.fromkeys(names))[:MAX_BROKEN_FEATURES]


def _joined_at(incident: TrackedIncident) -> float:
    return incident.joined_at


def _by_id(stored: Any) -> dict[str, TrackedIncident]:
    incidents = msgspec.convert(stored, list[TrackedIncident])
    return {incident.id: incident for incident in incidents}
