"""From rows that alert to incidents: a pure state machine over batches of scored rows and time.

An entity has an incident when `incident_alerts` of its last `incident_window_rows` rows alert; rows
without entities are those of one entity without a name. Entities whose alerts begin within the
quiet time share an incident. It is over when nothing of it has alerted for the quiet time: by the
times of the rows of its entities, or by the clock where no rows come.

Clocks are passed in, and the state goes through JSON: the same batches give the same incidents,
whatever was restarted in between. All that is remembered is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from drift.incidents.alerts import PlacedAlert, Screen
from drift.incidents.book import DriftEpisode, IncidentBook, TouchedIncident
from drift.incidents.deviation import Describe, DeviationLimits
from drift.incidents.doubles import Doubles
from drift.incidents.grouping import EntityStream, PendingAlert, TrackedIncident
from drift.incidents.incident import Incident, IncidentChange, IncidentVerdict, ScoredRows
from drift.incidents.places import PassedRows
from drift.incidents.rules import DismissalRule, Rules
from drift.incidents.silences import Silences
from drift.settings import DriftSettings

STATE_FORMAT = 1


class TrackerBounds(NamedTuple):
    """How much is remembered: entities, incidents that are open, and that are closed."""

    streams: int = 10_000
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
        self._max_streams = bounds.streams
        self._doubles = Doubles()
        self._streams: OrderedDict[str, EntityStream] = OrderedDict()
        self._book = IncidentBook(settings, bounds.open, bounds.closed)
        self.follow_settings(settings)

    def follow_settings(self, settings: DriftSettings) -> None:
        """Go on with other settings; what is open stays open."""
        self._settings = settings
        self._book.settings = settings
        limits = DeviationLimits(settings)
        self._screen = Screen(limits, self.silences, self.rules, self._doubles)

    def observe(
        self,
        rows: ScoredRows,
        describe: Describe,
    ) -> list[IncidentChange]:
        """Take in a batch of one version; return what has changed, in its order.

        describe: gives the deviations of the rows that alert
        """
        batch = self._screen.screen(rows, describe)
        self.rows_seen += len(rows.scores)
        self._book.suppressed.update(batch.suppressed)
        for alert in batch.alerts:
            self._take(alert, rows)
        self._pass_rows(batch.passed)
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

    def begin_episode(
        self,
        episode: DriftEpisode,
        now: float,
    ) -> list[IncidentChange]:
        """Open the incident of an episode of drift.

        Rows that alert during it are a part of it. One that is open already changes nothing.
        """
        self._book.begin_episode(episode, now)
        return self._finish_step(now)

    def end_episode(
        self,
        episode: str,
        now: float,
    ) -> list[IncidentChange]:
        """Close the incident of an episode; one that has none changes nothing."""
        self._book.end_episode(episode, now)
        return self._finish_step(now)

    def set_verdict(
        self,
        id: str,
        verdict: IncidentVerdict | None,
    ) -> None:
        """Note a person's word on an incident, which a later change of it then has, too."""
        incident = self._book.find(id)
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
        incidents = self._book.open.values()
        return [incident.snapshot() for incident in incidents if incident.is_announced]

    def held_incidents(self) -> list[Incident]:
        """Return the open incidents that a dismissal rule holds back, the oldest first."""
        incidents = self._book.open.values()
        return [incident.snapshot() for incident in incidents if incident.held_by]

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        streams = list(self._streams.items())
        return {
            "format": STATE_FORMAT,
            "streams": msgspec.to_builtins(streams),
            "incidents": self._book.to_json(),
            "rows_seen": self.rows_seen,
            "silences": self.silences.to_json(),
            "rules": self.rules.to_json(),
            "doubles": self._doubles.to_json(),
        }

    @classmethod
    def from_json(
        cls,
        stored: Mapping[str, Any],
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

    def _load(self, stored: Mapping[str, Any]) -> None:
        streams = msgspec.convert(stored["streams"], list[tuple[str, EntityStream]])
        self._streams = OrderedDict(streams)
        self._book.load(stored["incidents"])
        self.rows_seen = int(stored["rows_seen"])
        self.silences.load(stored["silences"])
        self.rules.load(stored["rules"])
        self._doubles.load(stored["doubles"])

    def _take(
        self,
        placed: PlacedAlert,
        rows: ScoredRows,
    ) -> None:
        """Take in one alert, which arrived with these rows."""
        alert = placed.alert
        stream = self._stream(alert.entity)
        pending = PendingAlert(stream.position + placed.place, alert)
        incident = self._incident_at(stream, alert.at)
        if incident is None:
            incident = self._collect(stream, pending, rows.arrived)
        else:
            incident = self._extend(incident, stream, pending, rows.arrived)
        if incident is not None:
            incident.keep(placed.evidence, rows.names)
            self._book.touch(incident)
            self._book.announce(incident, alert.at)

    def _stream(self, entity: str) -> EntityStream:
        """The stream of an entity; that which has not alerted for longest makes room for it."""
        stream = self._streams.setdefault(entity, EntityStream())
        self._streams.move_to_end(entity)
        if len(self._streams) > self._max_streams:
            self._streams.popitem(last=False)
        return stream

    def _incident_at(
        self,
        stream: EntityStream,
        at: float,
    ) -> TrackedIncident | None:
        """The incident of which a row of this time is a part: it is open, or the row is late."""
        incident = self._book.find(stream.incident)
        if incident is None:
            return None
        if incident.end is not None:
            return incident if at <= incident.end else None
        if incident.is_over_at(at):
            self._book.close(incident, incident.quiet_from)
            return None
        return incident

    def _extend(
        self,
        incident: TrackedIncident,
        stream: EntityStream,
        alert: PendingAlert,
        arrived: float,
    ) -> TrackedIncident | None:
        """Add a row to an incident of its entity, unless it was long before that.

        Too many rows that no rule holds release it.
        """
        if incident.is_too_old(alert.alert.at):
            self._book.suppressed["late"] += 1
            return None
        incident.add(alert.alert, arrived)
        is_unmatched = incident.held_by is not None and alert.alert.rule is None
        if is_unmatched and self._remember(stream, alert):
            stream.pending = []
            incident.held_by = None
        return incident

    def _remember(
        self,
        stream: EntityStream,
        alert: PendingAlert,
    ) -> bool:
        """Whether there are enough alerts now for an incident."""
        settings = self._settings
        stream.add(alert, settings.incident_window_rows, settings.incident_quiet_s)
        return len(stream.pending) >= settings.incident_alerts

    def _collect(
        self,
        stream: EntityStream,
        alert: PendingAlert,
        arrived: float,
    ) -> TrackedIncident | None:
        """Remember an alert; with enough of them the entity has an incident."""
        if not self._remember(stream, alert):
            return None
        alerts = [pending.alert for pending in stream.pending]
        incident = self._incident_of(stream, arrived)
        for pending in alerts:
            incident.add(pending, arrived)
        stream.incident = incident.id
        stream.pending = stream.unmatched if incident.held_by else []
        return incident

    def _incident_of(
        self,
        stream: EntityStream,
        arrived: float,
    ) -> TrackedIncident:
        """The incident that the pending alerts of an entity join, or open."""
        settings = self._settings
        latest = stream.pending[-1].alert
        first = min(pending.alert.at for pending in stream.pending)
        quiet_s = stream.quiet_s(
            settings.incident_window_rows,
            settings.incident_quiet_s,
        )
        held_by = self._holding_rule(stream)
        incident = self._book.to_join(first, latest.at, held_by)
        if incident is None:
            incident = self._book.create(
                first,
                quiet_s,
                arrived,
                held_by=held_by,
            )
        incident.join(latest.entity, first, quiet_s)
        return incident

    def _holding_rule(self, stream: EntityStream) -> str | None:
        """The rule without whose rows too few alerts are left; None without one."""
        if len(stream.unmatched) >= self._settings.incident_alerts:
            return None
        matched = [pending.alert for pending in stream.pending if pending.alert.rule]
        return max(matched, key=lambda alert: alert.score).rule

    def _pass_rows(self, passed: Sequence[PassedRows]) -> None:
        """Count the rows of entities that have alerted, and note how late it is for them."""
        for rows in passed:
            stream = self._streams.get(rows.entity)
            if stream is not None:
                stream.position += rows.rows
                stream.forget(stream.position - self._settings.incident_window_rows)
                self._pass_time(rows.entity, stream, rows.latest)

    def _pass_time(
        self,
        entity: str,
        stream: EntityStream,
        latest: float,
    ) -> None:
        incident = self._book.find(stream.incident)
        if incident is not None:
            incident.watermark = max(incident.watermark, latest)
        elif not stream.pending:
            del self._streams[entity]

    def _finish_step(self, now: float) -> list[IncidentChange]:
        self._book.release(self.rules, now)
        self._book.close_quiet(now)
        self.touched = self._book.take_touched()
        return self._book.take_changes()
