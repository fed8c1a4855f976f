"""The incident desk of a monitor: what it does about incidents while it leads.

It takes scored rows in, keeps what changes, and takes in what people say. One transaction has the
tracker's state, the incidents that changed and the messages about them: whatever dies, a message is
neither lost nor made twice. While the database is away all of it waits in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from drift.incidents.calendar import MaintenanceCalendar
from drift.incidents.deviation import Describe
from drift.incidents.errors import NotLeading
from drift.incidents.incident import (
    Incident,
    IncidentChange,
    ScoredRows,
)
from drift.incidents.labels import (
    NOTHING_JUDGED,
    IncidentPrecision,
    JudgedIncident,
    incident_precision,
)
from drift.incidents.notifier import Notifier
from drift.incidents.sender import ChannelStatus
from drift.incidents.silences import Silence
from drift.incidents.store import IncidentStore, open_incident_store
from drift.incidents.tracker import IncidentTracker
from drift.incidents.unsaved import UnsavedChanges
from drift.incidents.update import StoredRecord, StoreUpdate
from drift.incidents.verdicts import GivenVerdict, RuleEntry, latest_verdicts, rules_of
from drift.incidents.windows import BrokenWindow, DriftEpisode
from drift.settings import DriftSettings
from drift.state import LostLease
from serve.metrics import DriftMetrics
from vigil.errors import VigilError

log = logging.getLogger("ray.serve")
MAX_LISTED = 20
TrackerStep = Callable[[IncidentTracker], Sequence[IncidentChange]]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class IncidentBoard:
    """How many are open, and how many of these are held back; the open ones, then the latest."""

    open: int = 0
    held: int = 0
    listed: Sequence[Incident] = ()


class IncidentDesk:
    """Thread-safe; `folder` holds the database where the settings name none."""

    def __init__(
        self,
        settings: DriftSettings,
        folder: Path,
        metrics: DriftMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lock = threading.RLock()  # of the tracker, never held while the database is asked
        self._saving = threading.RLock()  # of the store
        self._settings = settings
        self._folder = folder
        self._metrics = metrics
        self._clock = clock
        self._store: IncidentStore | None = None
        self._notifier: Notifier | None = None
        self._tracker: IncidentTracker | None = None
        self._unsaved = UnsavedChanges()
        self._in_doubt: StoreUpdate | None = None  # the database has not said that it has it
        self._board = IncidentBoard()
        self._precision = NOTHING_JUDGED
        self.calendar = MaintenanceCalendar(settings.maintenance_calendar)

    # Leading.

    def follow_lease(self, is_leader: bool) -> None:
        """Go on where the former leader stopped, or let another monitor decide.

        While the database is away it is tried again with every call.
        """
        if not is_leader:
            self._stand_by()
            return
        with self._storing():
            if self._tracker is None:
                self._take_over()
            elif self._notifier is not None:
                self._notifier.follow_settings(self._settings)  # its secrets may be renewed

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """One at a time; what the database refuses is logged."""
        with self._saving:
            try:
                yield
            except LostLease as error:
                self._stand_by()
                log.warning("standing by: %s", error.message)
            except VigilError as error:
                self._metrics.incident_store_failures.inc()
                log.warning("incidents wait for their database: %s", error.message)

    def _take_over(self) -> None:
        if self._store is None:
            self._store = open_incident_store(
                self._settings.incidents_url, self._folder, keep=self._settings.keep_incidents
            )
        store = self._store
        store.begin_epoch()
        tracker = self._stored_tracker(store)
        self._follow_calendar(tracker)
        rules = rules_of(store.records("rule", RuleEntry))
        self._start_notifier(store)
        self._update_board(tracker, store)
        self._count_verdicts(store)
        # At last: what fails before it is all tried again.
        with self._lock:
            self._unsaved = UnsavedChanges()
            self._in_doubt = None
            self._tracker = tracker
            self._collect(tracker, tracker.follow_rules(rules, self._clock()))

    def _start_notifier(self, store: IncidentStore) -> None:
        if self._notifier is None:
            self._notifier = Notifier(store)
        self._notifier.stop()
        self._notifier.follow_settings(self._settings)
        self._notifier.start()

    def _channels(self) -> list[str]:
        return self._notifier.channels if self._notifier else []

    def _stored_tracker(self, store: IncidentStore) -> IncidentTracker:
        """The tracker as it was stored; a state of another form is begun anew."""
        stored = store.tracker_state()
        if stored is None:
            return IncidentTracker(self._settings)
        try:
            return IncidentTracker.from_json(stored, self._settings)
        except (ValueError, TypeError, LookupError) as error:
            log.warning("the state of incidents cannot be read, it starts anew: %s", error)
            return IncidentTracker(self._settings)

    def _follow_calendar(self, tracker: IncidentTracker) -> None:
        """Give a tracker the windows that were read while another monitor led."""
        if self.calendar.status.read_at is not None:
            tracker.silences.follow_calendar(self.calendar.windows)

    def _stand_by(self) -> None:
        with self._lock:
            self._tracker = None
        if self._notifier is not None:
            self._notifier.stop()

    def close(self) -> None:
        """Store what waits, and let go of the database."""
        self.save()
        self._stand_by()
        with self._saving:
            if self._store is not None:
                self._store.close()
                self._store = None
                self._notifier = None

    def follow_settings(self, settings: DriftSettings) -> None:
        """Go on with other values of what may change while the monitor runs."""
        with self._lock:
            self._settings = settings
            if settings.maintenance_calendar != self.calendar.status.source:
                self.calendar = MaintenanceCalendar(settings.maintenance_calendar)
            if self._tracker is not None:
                self._tracker.follow_settings(settings)

    def read_calendar(self, now: float) -> None:
        """Read the calendar of maintenance: it may be far away, and is read under no lock."""
        calendar = self.calendar
        if not calendar.status.source:
            windows: tuple[Silence, ...] = ()
        elif calendar.read(now):
            windows = calendar.windows
        else:
            log.warning("the calendar of maintenance %s", calendar.status.error)
            return
        with self._lock:
            if self._tracker is not None and calendar is self.calendar:
                self._tracker.silences.follow_calendar(windows)

    # Rows.

    def observe(self, rows: ScoredRows, describe: Describe) -> None:
        """Take in a batch; `save` stores what it has changed."""
        with self._lock:
            if self._tracker is None:
                return
            self._collect(self._tracker, self._tracker.observe(rows, describe))
            if rows.alerts.any():
                self._unsaved.has_state = True

    def silenced(self, rows: ScoredRows) -> NDArray[np.bool_]:
        """Return which of the rows [n] lie in a silence: they are to teach nothing."""
        with self._lock:
            if self._tracker is None:
                return np.zeros(len(rows.scores), bool)
            return self._tracker.silences.mask(rows.times, rows.entities)

    def tick(self, now: float) -> None:
        """Do what time alone brings."""
        self._step(lambda tracker: tracker.tick(now))
        self.save()

    def begin_episode(self, episode: DriftEpisode, now: float) -> None:
        """Open the incident of an episode of drift; `save` stores it."""
        self._step(lambda tracker: tracker.begin_episode(episode, now))

    def keep_episode(self, episode: str | None, now: float) -> None:
        """Close the incidents of all episodes but this one; `save` stores it."""
        with self._lock:
            if self._tracker is None:
                return
            for incident in self._tracker.open_incidents():
                ended = incident.episode if incident.kind == "drift" else None
                if ended is not None and ended != episode:
                    self._collect(self._tracker, self._tracker.end_episode(ended, now))

    def see_window(self, broken: BrokenWindow | None, now: float) -> None:
        """Open, extend or close the incident of a data break; None: the window was whole."""
        self._step(lambda tracker: tracker.see_window(broken, now))

    def _step(self, step: TrackerStep) -> None:
        """Take a step, as the leader; who stands by takes none."""
        with self._lock:
            if self._tracker is not None:
                self._collect(self._tracker, step(self._tracker))

    def _collect(self, tracker: IncidentTracker, changes: Sequence[IncidentChange]) -> None:
        """Keep what a step has changed for the next transaction, and count it."""
        self._unsaved.add(changes, tracker.touched)
        for change in changes:
            _count(self._metrics, change)

    # Reading.

    def read(self, question: Callable[[IncidentTracker], Answer]) -> Answer:
        """Return what the tracker answers. Raises NotLeading."""
        with self._lock:
            return question(self._leading_tracker())

    @property
    def store(self) -> IncidentStore:
        """What is stored, also while this monitor stands by. Raises NotLeading until it is open."""
        if self._store is None:
            raise NotLeading("the database of incidents is not open yet: try again in a moment")
        return self._store

    @property
    def board(self) -> IncidentBoard:
        """What the console shows, as it was stored last."""
        return self._board

    def judged_incidents(self) -> list[JudgedIncident]:
        """Return the incidents of rows that people have judged, with the worst of their rows.

        What was said of an episode of drift says nothing of its rows.
        """
        return [
            JudgedIncident(evidence, incident.verdict)
            for incident, evidence in self.store.judged()
            if incident.verdict is not None and incident.kind == "rows"
        ]

    @property
    def precision(self) -> IncidentPrecision:
        """How many incidents were confirmed, of those that people have judged."""
        return self._precision

    def suppressed(self) -> Mapping[str, int]:
        """Return rows that alerted and opened nothing, by why, since the state began."""
        with self._lock:
            return dict(self._tracker.suppressed) if self._tracker else {}

    def channels(self) -> list[ChannelStatus]:
        """Return how each channel is doing; none where the database is away."""
        with suppress(VigilError):
            return self._notifier.statuses() if self._notifier else []
        return []

    # Storing.

    def save(self) -> None:
        """Store what has changed, in one transaction. What the database refuses waits."""
        with self._storing():
            self._store_changes()

    def change(
        self,
        step: TrackerStep,
        records: Sequence[StoredRecord] = (),
        amended: Sequence[Incident] = (),
    ) -> None:
        """Take a step that a person has asked for, and store it with what was said.

        amended: incidents that it changes, which the tracker may not remember any more

        Raises NotLeading, LostLease, or IncidentStoreUnavailable: then it waits to be stored.
        """
        with self._saving:
            with self._lock:
                tracker = self._leading_tracker()
                self._collect(tracker, step(tracker))
                self._unsaved.amend(amended)
                self._unsaved.records.extend(records)
                self._unsaved.has_state = True
            self._store_changes()

    def _leading_tracker(self) -> IncidentTracker:
        if self._tracker is None:
            raise NotLeading("another monitor decides about incidents, or the database is away")
        return self._tracker

    def _store_changes(self) -> None:
        """Raises what the database raises; then the changes wait."""
        if self._tracker is None or self._store is None:
            return
        if self._in_doubt is not None:
            self._write(self._in_doubt, self._tracker, self._store)
        update = self._take_update()
        if update is not None:
            self._write(update, self._tracker, self._store)

    def _write(
        self,
        update: StoreUpdate,
        tracker: IncidentTracker,
        store: IncidentStore,
    ) -> None:
        # It goes as it is until the database says that it has it: merged with what has come
        # since, a commit that was done and not answered would be done twice.
        self._in_doubt = update
        store.record(update, self._channels())
        self._in_doubt = None
        self._update_board(tracker, store)
        if update.changes_verdicts:
            self._count_verdicts(store)
        if self._notifier is not None and update.changes:
            self._notifier.wake()

    def _count_verdicts(self, store: IncidentStore) -> None:
        latest = latest_verdicts(store.records("verdict", GivenVerdict))
        self._precision = incident_precision(given.verdict for given in latest.values())

    def _take_update(self) -> StoreUpdate | None:
        """What is to be stored now; None when nothing is."""
        with self._lock:
            if self._tracker is None or not self._unsaved:
                return None
            update = self._unsaved.update(self._tracker.to_json())
            self._unsaved = UnsavedChanges()
            return update

    def _update_board(self, tracker: IncidentTracker, store: IncidentStore) -> None:
        with self._lock:
            opened = len(tracker.open_incidents())
            held = len(tracker.held_incidents())
        self._board = IncidentBoard(opened, held, store.board(MAX_LISTED))


def _count(metrics: DriftMetrics, change: IncidentChange) -> None:
    incident = change.incident
    if change.kind == "opened":
        metrics.incidents_opened.labels(incident.kind).inc()
    elif change.kind == "closed":
        metrics.incidents_closed.labels(incident.verdict or "none").inc()
