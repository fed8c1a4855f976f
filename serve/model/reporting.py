"""What a replica asks of the drift monitor, and what it tells it about once a second. Scoring depends on neither."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry

from serve.applications import MONITOR_APPLICATION
from serve.metrics import MetricFamilies, RayMirror, ServeMetrics, collect_metrics
from serve.model.capture import Capture
from serve.model.handles import Application
from serve.model.vitals import Vitals
from serve.model.watch import ModelWatch
from vigil.errors import VigilError

MONITOR_TIMEOUT_S = 5.0


class NoMonitor(VigilError):
    """The drift monitor cannot be asked now."""

    status = 503


class MonitorClient:
    """The drift monitor, as whoever tells it something or asks it sees it."""

    def __init__(self, patience_s: float = MONITOR_TIMEOUT_S) -> None:
        self._application = Application(MONITOR_APPLICATION)
        self._patience_s = patience_s

    async def ask(self, method: str, *args: Any) -> Any:
        """What a method of the monitor answers.

        Raises NoMonitor when there is no answer within the patience, and what the method raised.
        """
        try:
            return await asyncio.wait_for(self._application.ask(method, *args), self._patience_s)
        except Exception as error:  # absent, restarting or slow
            if isinstance(said := getattr(error, "cause", None), VigilError):
                raise said from error
            raise NoMonitor(
                f"the drift monitor does not answer ({type(error).__name__}); scoring goes on without it"
            ) from error


class CountedMetrics:
    """What a process has counted, on its way to Ray and to the monitor."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry, self._mirror = registry, RayMirror()
        self.counts: MetricFamilies = []
        self.told: MetricFamilies = []  # those that a monitor took last

    def sample(self) -> None:
        """Count up to now, and tell Ray."""
        self.counts = collect_metrics(self._registry)
        self._mirror.update(self.counts)

    def taken(self) -> None:
        """The monitor has the counts of the last sample."""
        self.told = self.counts


class Reporter:
    """Hands captured rows, counts and what is served to the monitor, and the counts to Ray."""

    def __init__(
        self, watch: ModelWatch, capture: Capture, metrics: ServeMetrics, monitor: MonitorClient
    ) -> None:
        self._watch, self._capture, self._metrics = watch, capture, metrics
        self._monitor = monitor
        self._vitals, self._counted = Vitals(metrics), CountedMetrics(metrics.registry)
        self.drift_score = 0.0  # severity of the last window, as the monitor said it last

    async def send(self, served: dict[str, Any]) -> None:
        """Tell the monitor; while it is away the rows are kept for the next time."""
        trial, shadow, batches = self._watch.canary, self._watch.shadow, self._capture.take()
        self._metrics.capture_dropped.inc(self._capture.dropped)
        self._capture.dropped = 0
        sampled = shadow.take() if shadow else []
        found = await asyncio.to_thread(shadow.score, sampled) if shadow and sampled else None
        self._vitals.sample(trial, found)
        self._counted.sample()
        about = {
            "rows": batches,
            "counts": self._counted.counts,
            "told": self._counted.told,
            "shadow": found,
        }
        about["trial"] = trial.report() if trial else None
        try:
            answer = await self._monitor.ask("ingest", served | about)
        except VigilError:
            self._capture.put_back(batches)
            return
        self._counted.taken()
        self._vitals.delivered(batches)
        self._watch.confirm_guard(answer["stopped_canary"])
        self.drift_score = answer["drift_score"]
