"""The stream consumer as an application on the Ray cluster: it scores through the service's handle, Serve keeps it alive.

Each replica is one consumer; they share shards by their leases.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from contextlib import suppress
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingContext
from ray.serve.exceptions import BackPressureError, RayServeException

from serve.applications import SCORING_APPLICATION
from serve.model.handles import Application
from serve.model.report import ConsumerReport
from serve.model.reporting import CountedMetrics, MonitorClient
from serve.settings import ServeSettings
from serve.stream.cli import build_consumer
from serve.stream.consumer import Consumer
from serve.stream.scorer import Busy, Refused, ScoredRows
from vigil.arrays import Floats
from vigil.errors import VigilError
from vigil.home import Home

TIMEOUT_S = 60.0
CPUS = 0.1
REPORT_S = 1.0
LAG = "lag"
CALM = 0.25  # of the bound: below it a consumer is one too many


class HandleScorer:
    """The service by its handle. Used in a thread, which waits."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._service, self._timeout_s = Application(SCORING_APPLICATION), timeout_s

    def names(self) -> tuple[str, ...]:
        return tuple(self._ask("features"))

    def score(self, X: Floats) -> ScoredRows:
        scores, predictions, version = self._ask("score_rows", X)
        return ScoredRows(scores, predictions, version)

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            return self._service.wait_for(self._timeout_s, method, *args)
        except (BackPressureError, RayServeException, TimeoutError) as error:
            raise Busy(f"the service does not answer: {error or type(error).__name__}") from error
        except Exception as error:
            said = getattr(error, "cause", None)
            if isinstance(said, VigilError) and said.status in (400, 413, 422):
                raise Refused(said.message) from error
            raise Busy(f"the service does not answer: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """A handle holds nothing."""


class StreamConsumer:
    """One consumer in a thread; Serve restarts it when the thread has ended."""

    async def __init__(self, args: dict[str, Any]) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        """Serve awaits it: the loop is also that of Ray's own part of the replica, and sinks,
        sources and leases may be far away."""
        settings = ServeSettings.from_values(**args)
        self._consumer = await asyncio.to_thread(_consumer, settings)
        self._thread = threading.Thread(target=self._consumer.run, daemon=True)
        self._thread.start()
        name = f"stream-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._reports = asyncio.create_task(self._report_loop(name))

    async def _report_loop(self, name: str) -> None:
        """Report what was counted to Ray and the monitor; one that is away gets the sum next time."""
        counted = CountedMetrics(self._consumer.metrics.registry)
        monitor = MonitorClient()
        while True:
            await asyncio.sleep(REPORT_S)
            counted.sample()
            report = ConsumerReport(name, counted.counts, counted.delivered)
            with suppress(VigilError):
                await monitor.ask("count", *report.to_wire())
                counted.mark_delivered()

    def reconfigure(self, config: dict[str, Any]) -> None:
        """How many consumers there are is for Serve's autoscaler: what runs goes on."""

    def record_autoscaling_stats(self) -> dict[str, float]:
        """How far behind the worst of this consumer's shards is; Serve collects it."""
        samples = [
            sample.value
            for metric in self._consumer.metrics.lag.collect()
            for sample in metric.samples
        ]
        return {LAG: max(samples, default=0.0)}

    def check_health(self) -> None:
        """Serve asks; a consumer never ends by itself."""
        if not self._thread.is_alive() or self._reports.done():
            raise RuntimeError("the stream consumer has ended: the log of this replica says why")

    async def counts(self) -> dict[str, int]:
        """Records by outcome since the start."""
        return self._consumer.counts

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self._consumer.stop()
            self._thread.join(10)


def _consumer(settings: ServeSettings) -> Consumer:
    return build_consumer(
        settings.stream_source,
        settings.stream_sinks.split(","),
        settings.stream_dead_letters,
        leases=settings.stream_leases or None,
        scorer=HandleScorer(),
        home=Home(settings.home),
        settings=settings,
    )


def by_lag(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """How many consumers there should be: one more while a shard is further behind than the bound, one fewer once none is
    anywhere near it. Serve applies bounds and delays (ray.serve.autoscaling_policy)."""
    now, lags = context.current_num_replicas, (context.aggregated_metrics or {}).get(LAG, {})
    if context.config is None or not lags:
        return now, {}  # nobody has told yet
    worst, bound = max(lags.values()), context.config.target_ongoing_requests
    return now + (1 if worst > bound else -1 if worst < CALM * bound else 0), {}


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application `stream`; `args` are ServeSettings."""
    deployment: Any = serve.deployment(
        StreamConsumer, ray_actor_options={"num_cpus": CPUS}, health_check_period_s=5
    )
    return deployment.bind(args)
