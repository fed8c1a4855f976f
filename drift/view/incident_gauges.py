"""Gauges and counters of incidents and of the messages about them."""

from __future__ import annotations

import threading

from drift.incidents.desk import IncidentDesk
from drift.incidents.sender import ChannelStatus
from serve.metrics import DriftMetrics


class IncidentGauges:
    """Thread-safe. Counters go on from what a former leader has counted: what is new is added."""

    def __init__(self, metrics: DriftMetrics, desk: IncidentDesk) -> None:
        self._metrics = metrics
        self._desk = desk
        self._lock = threading.Lock()
        self._suppressed: dict[str, int] | None = None
        self._failures: dict[str, int] = {}

    def update(self, now: float) -> None:
        """Bring all up to `now` (Unix seconds)."""
        channels = self._desk.channels()
        with self._lock:
            self._update_incidents()
            for channel in channels:
                self._update_channel(channel, now)

    def _update_incidents(self) -> None:
        metrics = self._metrics
        board = self._desk.board
        metrics.incidents_open.set(board.open)
        metrics.incidents_held.set(board.held)
        suppressed = dict(self._desk.suppressed())
        former = suppressed if self._suppressed is None else self._suppressed
        for why, rows in suppressed.items():
            new = _increase(former.get(why, 0), rows)
            metrics.incident_rows.labels(why).inc(new)
        self._suppressed = suppressed

    def _update_channel(self, channel: ChannelStatus, now: float) -> None:
        metrics = self._metrics
        name = channel.channel
        oldest = now if channel.oldest is None else channel.oldest
        metrics.notify_waiting.labels(name).set(channel.waiting)
        metrics.notify_oldest.labels(name).set(_increase(oldest, now))
        failures = self._failures.get(name, 0)
        new = _increase(failures, channel.failures)
        metrics.notify_failures.labels(name).inc(new)
        self._failures[name] = channel.failures


def _increase(former: float, present: float) -> float:
    """By how much a count or a clock has gone up; 0 if it began anew."""
    return max(0, present - former)
