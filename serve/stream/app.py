"""The stream consumer as an application on the Ray cluster: it scores through the service's handle,
and Serve keeps it alive.

Each replica is one consumer; they share shards by their leases.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from ray import serve
from ray.serve.config import AutoscalingContext
from ray.serve.exceptions import BackPressureError, RayServeException

from serve.applications import SCORING_APPLICATION
from serve.model.handles import Application
from serve.model.report import ConsumerReport, RowContext
from serve.model.reporting import CountedMetrics, MonitorClient
from serve.model.row_format import MadeRows, RowFormat
from serve.settings import ServeSettings
from serve.stream.cli import build_consumer
from serve.stream.consumer import Consumer
from serve.stream.scorer import BatchScores, Busy, Refused
from vigil.arrays import Floats
from vigil.errors import VigilError
from vigil.home import Home

SCORE_TIMEOUT_S = 60.0
CONSUMER_CPUS = 0.1
REPORT_INTERVAL_S = 1.0
HEALTH_INTERVAL_S = 5.0
_STOP_TIMEOUT_S = 10.0
LAG_METRIC = "lag"
IDLE_SHARE = 0.25  # of the lag bound: below it a consumer is one too many
_REFUSED = (400, 413, 422)


class HandleScorer:
    """The service by its handle. Used in a thread, which waits."""

    def __init__(self, timeout_s: float = SCORE_TIMEOUT_S) -> None:
        self._service = Application(SCORING_APPLICATION)
        self._timeout_s = timeout_s

    def row_format(self) -> RowFormat:
        return RowFormat.from_wire(self._ask("row_format"))

    def score(
        self,
        X: Floats,
        context: RowContext | None = None,
        made: MadeRows | None = None,
    ) -> BatchScores:
        wire = msgspec.to_builtins(context)
        how = None if made is None else (made.key, made.is_warming)
        scores, predictions, version = self._ask("score_rows", X, wire, how)
        return BatchScores(scores, predictions, version)

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            return self._service.wait_for(self._timeout_s, method, *args)
        except (BackPressureError, RayServeException, TimeoutError) as error:
            raise Busy(f"the service does not answer: {error or type(error).__name__}") from error
        except Exception as error:
            raise _failure_of(error) from error

    def close(self) -> None:
        """A handle holds nothing."""


def _failure_of(error: Exception) -> VigilError:
    """What the service says: that it refuses the rows, or nothing that can be relied on."""
    cause = getattr(error, "cause", error)
    if isinstance(cause, VigilError) and cause.status in _REFUSED:
        return Refused(cause.message)
    return Busy(f"the service does not answer: {type(error).__name__}: {error}")


def consumer_by_settings(settings: ServeSettings) -> Consumer:
    """The consumer of the settings' stream, which scores through the service's handle. Blocks."""
    return build_consumer(
        settings.stream_source,
        settings.stream_sinks.split(","),
        settings.stream_dead_letters,
        leases=settings.stream_leases or None,
        scorer=HandleScorer(),
        home=Home(settings.home),
        settings=settings,
    )


class StreamConsumer:
    """One consumer in a thread; Serve restarts it when the thread has ended."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues]
        self,
        args: dict[str, Any],
        make_consumer: Callable[[ServeSettings], Consumer] = consumer_by_settings,
    ) -> None:
        """Serve awaits it: the loop is also that of Ray's own part of the replica, and sinks,
        sources and leases may be far away."""
        settings = ServeSettings.from_values(**args)
        self._consumer = await asyncio.to_thread(make_consumer, settings)
        run = self._consumer.run
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        metrics = self._consumer.metrics
        self._counted = CountedMetrics(metrics.registry)
        loop = self._report_loop(_consumer_name())
        self._reports = asyncio.create_task(loop)

    async def _report_loop(self, name: str) -> None:
        """Report what was counted to Ray and the monitor; one that is away gets the sum next
        time."""
        monitor = MonitorClient()
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            with suppress(VigilError):
                await self._report(monitor, name)

    async def _report(self, monitor: MonitorClient, name: str) -> None:
        counted = self._counted
        counted.sample()
        report = ConsumerReport(name, counted.counts, counted.delivered)
        wire = report.to_wire()
        await monitor.ask("count", *wire)
        counted.mark_delivered()

    def reconfigure(self, config: dict[str, Any]) -> None:
        """How many consumers there are is for Serve's autoscaler: what runs goes on."""

    def record_autoscaling_stats(self) -> dict[str, float]:
        """How far behind the worst of this consumer's shards is; Serve collects it."""
        metrics = self._consumer.metrics
        return {LAG_METRIC: metrics.worst_lag()}

    def check_health(self) -> None:
        """Serve asks; a consumer never ends by itself."""
        is_running = self._thread.is_alive()
        if not is_running or self._reports.done():
            raise RuntimeError("the stream consumer has ended: the log of this replica says why")

    async def counts(self) -> dict[str, int]:
        """Records by outcome since the start."""
        return self._consumer.counts

    async def close(self) -> None:
        """Save the checkpoints and end the thread and the reports."""
        self._reports.cancel()
        self._consumer.stop()
        await asyncio.to_thread(self._thread.join)

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self._consumer.stop()
            self._thread.join(_STOP_TIMEOUT_S)


def _consumer_name() -> str:
    """A name that no other consumer has."""
    number = uuid.uuid4().hex[:6]
    return f"stream-{os.getpid()}-{number}"


def by_lag(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """How many consumers there should be (a policy of ray.serve.autoscaling_policy).

    One more while a shard is further behind than the bound, one fewer once none is anywhere near
    it. Serve applies bounds and delays.
    """
    consumers = context.current_num_replicas
    reported = context.aggregated_metrics or {}
    lags = reported.get(LAG_METRIC, {})
    if context.config is None or not lags:
        return consumers, {}  # nobody has reported yet
    bound = context.config.target_ongoing_requests
    worst = max(lags.values())
    change = _change_by_lag(worst, bound)
    return consumers + change, {}


def _change_by_lag(worst: float, bound: float) -> int:
    if worst > bound:
        return 1
    return -1 if worst < IDLE_SHARE * bound else 0


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application `stream`; `args` are ServeSettings."""
    deployment: Any = serve.deployment(
        StreamConsumer,
        ray_actor_options={"num_cpus": CONSUMER_CPUS},
        health_check_period_s=HEALTH_INTERVAL_S,
    )
    return deployment.bind(args)
