"""Client of the drift monitor, and what a replica reports to it about once a second.

Scoring depends on neither.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry

from serve.applications import MONITOR_APPLICATION
from serve.exposition import MetricFamilies, RayMirror, collect_metrics
from serve.metrics import ServeMetrics
from serve.model.capture import Capture
from serve.model.handles import Application
from serve.model.report import (
    CapturedRows,
    MonitorAnswer,
    ReplicaReport,
    ServedModel,
    ShadowReport,
)
from serve.model.vitals import Vitals
from serve.model.watch import ModelWatch
from vigil.errors import VigilError

MONITOR_TIMEOUT_S = 5.0


class NoMonitor(VigilError):
    """The drift monitor cannot be asked now."""

    status = 503


class MonitorClient:
    """Calls methods of the drift monitor."""

    def __init__(self, timeout_s: float = MONITOR_TIMEOUT_S) -> None:
        self._application = Application(MONITOR_APPLICATION)
        self._timeout_s = timeout_s

    async def ask(self, method: str, *args: Any) -> Any:
        """Return the answer of a method of the monitor.

        Raises NoMonitor when there is none within the timeout, and the error that the method
        raised.
        """
        call = self._application.ask(method, *args)
        try:
            return await asyncio.wait_for(call, self._timeout_s)
        except Exception as error:  # absent, restarting or slow
            cause = getattr(error, "cause", error)
            if isinstance(cause, VigilError):
                raise cause from error
            name = type(error).__name__
            raise NoMonitor(
                f"the drift monitor does not answer ({name}); scoring goes on without it"
            ) from error


class CountedMetrics:
    """Metrics of a process on their way to Ray and to the monitor.

    counts: those of the last sample; delivered: those that a monitor took last
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._mirror = RayMirror()
        self.counts: MetricFamilies = []
        self.delivered: MetricFamilies = []

    def sample(self) -> None:
        """Collect the metrics, and pass them to Ray."""
        self.counts = collect_metrics(self._registry)
        self._mirror.update(self.counts)

    def mark_delivered(self) -> None:
        """Note that the monitor has the counts of the last sample."""
        self.delivered = self.counts


class Reporter:
    """Reports of one replica: captured rows, metrics, what it serves; `drift_score` answers."""

    def __init__(
        self,
        watch: ModelWatch,
        capture: Capture,
        metrics: ServeMetrics,
        monitor: MonitorClient,
    ) -> None:
        self._watch = watch
        self._capture = capture
        self._metrics = metrics
        self._monitor = monitor
        self._vitals = Vitals(metrics)
        self._counted = CountedMetrics(metrics.registry)
        self.drift_score = 0.0  # severity of the last window

    async def send(self, served: ServedModel) -> None:
        """Report to the monitor; while it is away the rows are kept for the next time."""
        report = await self._report(served)
        try:
            answer = await self._monitor.ask("ingest", report.to_wire())
        except VigilError:
            self._capture.put_back(report.rows)
            return
        self._counted.mark_delivered()
        self._vitals.delivered(report.rows)
        self._take(MonitorAnswer.from_wire(answer))

    async def _report(self, served: ServedModel) -> ReplicaReport:
        canary = self._watch.canary
        rows = self._captured()
        shadow = await self._shadow()
        self._vitals.sample(canary, shadow)
        self._counted.sample()
        return ReplicaReport(
            served=served,
            counts=self._counted.counts,
            delivered=self._counted.delivered,
            rows=rows,
            canary=canary.report() if canary else None,
            shadow=shadow,
        )

    def _captured(self) -> list[CapturedRows]:
        rows = self._capture.take()
        self._metrics.capture_dropped.inc(self._capture.dropped)
        self._capture.dropped = 0
        return rows

    async def _shadow(self) -> ShadowReport | None:
        """Score what waits for the challenger, in a thread."""
        shadow = self._watch.shadow
        waiting = shadow.take() if shadow else []
        if shadow is None or not waiting:
            return None
        return await asyncio.to_thread(shadow.score, waiting)

    def _take(self, answer: MonitorAnswer) -> None:
        self._watch.confirm_guard(answer.stopped_canary)
        self.drift_score = answer.drift_score
