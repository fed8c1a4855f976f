"""From rows that alert to incidents: a pure state machine over batches of scored rows and time.

An entity has an incident when `incident_alerts` of its last `incident_window_rows` rows alert; rows
without entities are those of one entity without a name. Many entities have one together when at
least half of the last rows of all of them alert. Entities whose alerts begin within the quiet time
share an incident. It is over when nothing of it has alerted for the quiet time: by the times of the
rows of its entities, or by the clock where no rows come.

Clocks are passed in, and the state goes through JSON: the same batches give the same incidents,
whatever was restarted in between. All that is remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from drift.incidents.alerts import PlacedAlert, RowAlert, Screen, evidence_of, leading_features
from drift.incidents.book import IncidentBook, TouchedIncident
from drift.incidents.deviation import Describe, DeviationLimits
from drift.incidents.doubles import Doubles
from drift.incidents.fleet import Fleet
from drift.incidents.incident import (
    Incident,
    IncidentChange,
    IncidentVerdict,
    ScoredRows,
)
from drift.incidents.places import PassedRows
from drift.incidents.rules import DismissalRule, Rules
from drift.incidents.silences import Silences
from drift.incidents.streams import (
    EntityStream,
    EntityStreams,
    IncidentCriterion,
    PendingAlert,
)
from drift.incidents.trace import RecentRows, extend_trace, follow_features
from drift.incidents.tracked import TrackedIncident
from drift.incidents.windows import BrokenWindow, DriftEpisode
from drift.settings import DriftSettings
from vigil.json_types import Fields, JsonObject

STATE_FORMAT = 1


class TrackerBounds(NamedTuple):
    """How much is remembered: entities, incidents that are open, and that are closed."""

    streams: int = 5_000
    open: int = 1_000
    closed: int = 64


DEFAULT_BOUNDS = TrackerBounds()


class IncidentTracker:
    """Opens, extends and closes incidents; one thread at a time may use it.

    touched: after each step, the incidents that are to be stored; rows_seen: in all
    """

    def __init__(
        self,
        settings: DriftSettings,
        bounds: TrackerBounds = DEFAULT_BOUNDS,
    ) -> None:
        self.silences = Silences()
        self.rules = Rules()
        self.touched: list[TouchedIncident] = []
        self.rows_seen = 0
        self._recent = RecentRows()
        self._doubles = Doubles()
        self._streams = EntityStreams(bounds.streams)
        self._fleet = Fleet()
        self._book = IncidentBook(settings, bounds.open, bounds.closed)
        self.follow_settings(settings)

    def follow_settings(self, settings: DriftSettings) -> None:
        """Go on with other settings; what is open stays open."""
        self._book.settings = settings
        self._criterion = IncidentCriterion.of(settings)
        self._screen = self._new_screen(settings)

    def _new_screen(self, settings: DriftSettings) -> Screen:
        return Screen(
            DeviationLimits(settings),
            self.silences,
            self.rules,
            self._doubles,
        )

    def observe(self, rows: ScoredRows, describe: Describe) -> list[IncidentChange]:
        """Take in a batch of one version; return what has changed, in its order.

        describe: gives the deviations of the rows that alert
        """
        batch = self._screen.screen(rows, describe)
        self.rows_seen += len(rows.scores)
        self._book.suppressed.update(batch.suppressed)
        for alert in batch.alerts:
            self._take(alert, batch.rows)
        self._pass_rows(batch.passed, batch.rows)
        self._recent.add(batch.rows)
        return self._finish_step(rows.arrived)

    def tick(self, now: float) -> list[IncidentChange]:
        """Do what time alone brings: close what is quiet, release what no rule holds any more.

        At infinity everything closes but the episodes of drift: so a backtest ends.
        """
        return self._finish_step(now)

    def follow_rules(
        self,
        rules: Sequence[DismissalRule],
        now: float,
    ) -> list[IncidentChange]:
        """Take other dismissal rules; open incidents that none of them holds are released."""
        self.rules.follow(rules)
        return self._finish_step(now)

    def begin_episode(self, episode: DriftEpisode, now: float) -> list[IncidentChange]:
        """Open the incident of an episode of drift.

        Rows that alert during it are a part of it. One that is open already changes nothing.
        """
        self._book.begin_episode(episode, now)
        return self._finish_step(now)

    def end_episode(self, episode: str, now: float) -> list[IncidentChange]:
        """Close the incident of an episode; one that has none changes nothing."""
        self._book.end_episode(episode, now)
        return self._finish_step(now)

    def see_window(self, broken: BrokenWindow | None, now: float) -> list[IncidentChange]:
        """Open the incident of a data break with its first window; close it with a whole one."""
        if broken is None:
            self._book.end_break(now)
        else:
            self._book.extend_break(broken, now)
        return self._finish_step(now)

    def set_verdict(self, incident_id: str, verdict: IncidentVerdict | None) -> None:
        """Note a person's word on an incident, which a later change of it then has, too."""
        incident = self._book.find(incident_id)
        if incident is not None:
            incident.verdict = verdict

    @property
    def suppressed(self) -> Mapping[str, int]:
        """Rows that alerted and count for nothing, by why.

        double, silence, deviation; late: long before the incident of their entity; rule and
        length: of incidents that were held back, or too short
        """
        return self._book.suppressed

    def open_incidents(self) -> list[Incident]:
        """Return the open incidents that people were told of, the oldest first."""
        return _snapshots(self._book.announced())

    def held_incidents(self) -> list[Incident]:
        """Return the open incidents that a dismissal rule holds back, the oldest first."""
        return _snapshots(self._book.held())

    def to_json(self) -> JsonObject:
        """Return what is stored."""
        return {
            "format": STATE_FORMAT,
            "streams": self._streams.to_json(),
            "fleet": msgspec.to_builtins(self._fleet),
            "incidents": self._book.to_json(),
            "rows_seen": self.rows_seen,
            "silences": self.silences.to_json(),
            "rules": self.rules.to_json(),
            "doubles": self._doubles.to_json(),
        }

    @classmethod
    def from_json(
        cls,
        stored: Fields,
        settings: DriftSettings,
        bounds: TrackerBounds = DEFAULT_BOUNDS,
    ) -> IncidentTracker:
        """Return the tracker that was stored.

        Raises ValueError, TypeError or LookupError for something else, or a newer Vigil's.
        """
        if int(stored["format"]) > STATE_FORMAT:
            raise ValueError(f"format {stored['format']} is of a newer Vigil")
        tracker = cls(settings, bounds)
        tracker._load(stored)
        return tracker

    def _load(self, stored: Fields) -> None:
        self.rows_seen = int(stored["rows_seen"])
        self._streams.load(stored["streams"])
        self._fleet = msgspec.convert(stored.get("fleet", {}), Fleet)
        self._book.load(stored["incidents"])
        self.silences.load(stored["silences"])
        self.rules.load(stored["rules"])
        self._doubles.load(stored["doubles"])

    def _take(self, placed: PlacedAlert, rows: ScoredRows) -> None:
        """Take in one alert, which arrived with these rows."""
        incident = self._incident_with(placed, rows)
        if incident is None:
            return
        alert = placed.alert
        if incident.wants(alert.score):
            evidence = evidence_of(placed, rows)
            incident.keep(evidence, rows.names)
        self._book.touch(incident)
        self._book.announce(incident, alert.at)

    def _incident_with(
        self,
        placed: PlacedAlert,
        rows: ScoredRows,
    ) -> TrackedIncident | None:
        """The incident of which an alert is a part now."""
        alert = placed.alert
        stream = self._streams.alerting(alert.entity)
        pending = PendingAlert(stream.position + placed.place, alert)
        incident = self._incident_at(stream, alert)
        if incident is not None:
            return self._extend(incident, stream, pending, arrived=rows.arrived)
        if stream.add(pending, self._criterion):
            return self._incident_of(stream, rows.arrived)
        if rows.entities is not None and alert.rule is None:
            return self._incident_of_many(placed, rows.arrived)
        return None

    def _incident_at(self, stream: EntityStream, alert: RowAlert) -> TrackedIncident | None:
        """The incident of which a row is a part by its time: it is open, or the row is late."""
        incident = self._book.find(stream.incident)
        if incident is None or not incident.sees(alert):
            return None
        at = alert.at
        if incident.end is not None:
            return incident if at <= incident.end else None
        if not incident.is_over_at(at):
            return incident
        self._book.close(incident, incident.quiet_from)
        return None

    def _extend(
        self,
        incident: TrackedIncident,
        stream: EntityStream,
        pending: PendingAlert,
        *,
        arrived: float,
    ) -> TrackedIncident | None:
        """Add a row to an incident of its entity, unless it was long before that.

        Too many rows that no rule holds release it.
        """
        alert = pending.alert
        if incident.is_too_old(alert.at):
            self._book.suppressed["late"] += 1
            return None
        incident.add(alert, arrived)
        is_unmatched = incident.held_by is not None and alert.rule is None
        if is_unmatched and stream.add(pending, self._criterion):
            stream.pending = []
            incident.held_by = None
        return incident

    def _incident_of(self, stream: EntityStream, arrived: float) -> TrackedIncident:
        """The incident that the pending alerts of an entity join, or open."""
        held_by = stream.holding_rule(self._criterion)
        unmatched = stream.unmatched
        incident = self._incident_for(stream, arrived, held_by)
        self._join(incident, stream, arrived)
        if held_by is not None:
            stream.pending = unmatched
        return incident

    def _incident_of_many(
        self,
        placed: PlacedAlert,
        arrived: float,
    ) -> TrackedIncident | None:
        """The incident of all entities that alert, where most of their rows do."""
        alert = placed.alert
        self._fleet.add(placed.row, alert.entity, alert.at)
        streams = self._streams_together()
        if not streams:
            return None
        earliest = min(streams, key=_onset_of)
        incident = self._incident_for(earliest, arrived, held_by=None)
        for stream in streams:
            self._join(incident, stream, arrived)
        return incident

    def _streams_together(self) -> list[EntityStream]:
        """The streams of entities that have an incident together.

        Of very many entities some may be forgotten, and too few be left.
        """
        entities = self._fleet.entities(self._criterion)
        streams = map(self._streams.get, entities)
        alerting = [stream for stream in streams if stream and stream.pending]
        alerts = sum(len(stream.pending) for stream in alerting)
        return alerting if alerts >= self._criterion.alerts else []

    def _incident_for(
        self,
        stream: EntityStream,
        arrived: float,
        held_by: str | None,
    ) -> TrackedIncident:
        """An open incident for the pending alerts of an entity, or a new one."""
        latest = stream.pending[-1].alert
        incident = self._book.to_join(
            stream.onset,
            latest.at,
            held_by,
            leading_features(stream.alerts),
        )
        return incident or self._book.create(
            stream.onset,
            stream.quiet_s(self._criterion),
            arrived,
            held_by=held_by,
        )

    def _join(
        self,
        incident: TrackedIncident,
        stream: EntityStream,
        arrived: float,
    ) -> None:
        """Make the pending alerts of an entity a part of an incident."""
        entity = stream.pending[-1].alert.entity
        quiet_s = stream.quiet_s(self._criterion)
        incident.join(entity, stream.onset, quiet_s)
        for alert in stream.alerts:
            incident.add(alert, arrived)
        if not incident.trace.points:
            self._begin_trace(incident, entity, stream.onset)
        stream.incident = incident.id
        stream.pending = []
        self._fleet.forget_entity(entity)

    def _begin_trace(
        self,
        incident: TrackedIncident,
        entity: str,
        onset: float,
    ) -> None:
        """Begin the course of an incident with the rows before it."""
        follow_features(incident.trace, incident.leading_names)
        since = onset - incident.quiet_s
        for rows, places in self._recent.of_entity(entity, since):
            extend_trace(incident.trace, rows, places)

    def _pass_rows(self, passed: Sequence[PassedRows], rows: ScoredRows) -> None:
        """Count the rows of entities, and note how late it is for those that have alerted."""
        self._fleet.position += sum(of_entity.rows for of_entity in passed)
        for of_entity, stream in self._streams.passed(passed):
            stream.pass_rows(of_entity.rows, self._criterion)
            self._pass_time(of_entity, stream, rows)

    def _pass_time(
        self,
        passed: PassedRows,
        stream: EntityStream,
        rows: ScoredRows,
    ) -> None:
        incident = self._book.find(stream.incident)
        if incident is not None:
            incident.watermark = max(incident.watermark, passed.latest)
            if incident.end is None:
                follow_features(incident.trace, incident.leading_names)
                extend_trace(incident.trace, rows, passed.places)
        elif not stream.pending:
            self._streams.forget(passed.entity)

    def _finish_step(self, now: float) -> list[IncidentChange]:
        self._book.close_quiet(now)
        self._book.release(self.rules, now)
        self.touched = self._book.take_touched()
        return self._book.take_changes()


def _onset_of(stream: EntityStream) -> float:
    return stream.onset


def _snapshots(incidents: Iterable[TrackedIncident]) -> list[Incident]:
    return [incident.snapshot() for incident in incidents]
