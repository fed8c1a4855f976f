"""A process that does what a monitor does about incidents, until it is killed at some moment."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

from drift.incidents.channels.channel import ChannelContext
from drift.incidents.incident import IncidentChange
from drift.incidents.notifier import Notifier
from drift.incidents.store import IncidentStore, open_incident_store
from drift.incidents.tracker import IncidentTracker
from drift.incidents.update import StoreUpdate
from tests.drift.incidents.scenes import alerts, batch, describe, settings
from tests.running import eventually
from vigil.home import write_json

ENTITIES = 50
ROWS_A_BATCH = 400
BATCHES = 25
SENT_AGAIN = 1  # batch whose answer was lost when the process died
QUIET_S = 60.0


class MortalMonitor:
    """Works through an outage, batch by batch, and goes on where the one before it died."""

    def __init__(self, home: Path, notify: str) -> None:
        self._acknowledged = home / "acknowledged"
        self._store = open_store(home)
        self._tracker = self._load()
        self._notifier = Notifier(self._store)
        self._notifier.follow(notify, ChannelContext(secret="s"))
        self._notifier.start()

    def _load(self) -> IncidentTracker:
        told = settings(incident_quiet_s=QUIET_S)
        state = self._store.tracker_state()
        return IncidentTracker(told) if state is None else IncidentTracker.from_json(state, told)

    def work(self) -> None:
        """See all batches, and the quiet after them; end when all was told."""
        for number in range(self._next_batch(), BATCHES):
            begin = float(number)
            times = [begin + row / ROWS_A_BATCH for row in range(ROWS_A_BATCH)]
            entities = [f"server-{row % ENTITIES}" for row in range(ROWS_A_BATCH)]
            requests = [f"r{number}"] * ROWS_A_BATCH
            rows = batch(alerts(ROWS_A_BATCH), times, entities, requests=requests)
            self._record(self._tracker.observe(rows, describe))
            write_json(self._acknowledged, number)
        self._record(self._tracker.tick(BATCHES + 2 * QUIET_S))
        eventually(self._is_all_told)
        self._notifier.stop()
        self._store.close()

    def _next_batch(self) -> int:
        if not self._acknowledged.exists():
            return 0
        done = json.loads(self._acknowledged.read_text()) + 1
        return done - SENT_AGAIN

    def _record(self, changes: list[IncidentChange]) -> None:
        touched = self._tracker.touched
        update = StoreUpdate(
            tracker=self._tracker.to_json(),
            changes=changes,
            amended=[one.incident for one in touched],
            evidence=[one.evidence for one in touched if one.evidence.rows],
        )
        self._store.record(update, self._notifier.channels)
        self._notifier.wake()

    def _is_all_told(self) -> bool:
        return all(status.waiting == 0 for status in self._notifier.statuses())


def open_store(home: Path) -> IncidentStore:
    store = open_incident_store("", home, keep=100)
    store.begin_epoch()
    return store


def live(home: Path, notify: str, seconds: float | None) -> None:
    """Work; be killed after so long, unless it is None."""
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    MortalMonitor(home, notify).work()
