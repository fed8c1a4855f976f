"""What a replica is doing, sampled into its metrics about once a second.

A request pays for none of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

from serve.metrics import ServeMetrics
from serve.model.canary import RunningCanary
from serve.model.report import CapturedRows, ShadowReport


class Vitals:
    """Processor time, memory, the requests of a canary's arms, and the scores of captured rows."""

    def __init__(self, metrics: ServeMetrics) -> None:
        self._metrics = metrics
        self._cpu_s = 0.0
        self._canary: RunningCanary | None = None
        self._answered: dict[str, int] = {}
        metrics.memory.set_function(lambda: psutil.Process().memory_info().rss)

    def sample(self, canary: RunningCanary | None, shadow: ShadowReport | None) -> None:
        """Count what has happened since the last call.

        By the canary that runs now, and in the shadow by its report.
        """
        if shadow is not None:
            self._count_shadow(shadow)
        self._count_cpu()
        if self._canary is not None:
            self._count(self._canary)  # also what came to one that has ended since
        if canary is not self._canary:
            self._begin(canary)

    def _count_shadow(self, shadow: ShadowReport) -> None:
        if shadow.scores is not None:
            self._metrics.shadow_rows.inc(shadow.scores.shape[1])
        self._metrics.shadow_errors.inc(shadow.errors)

    def _count_cpu(self) -> None:
        used = time.process_time()
        self._metrics.cpu.inc(used - self._cpu_s)
        self._cpu_s = used

    def _begin(self, canary: RunningCanary | None) -> None:
        self._canary = canary
        self._answered = {}
        if canary is not None:
            self._count(canary)

    def delivered(self, batches: Iterable[CapturedRows]) -> None:
        """The monitor has these rows."""
        for batch in batches:
            self._metrics.scores.observe(batch.scores)

    def _count(self, canary: RunningCanary) -> None:
        for arm, requests in canary.requests.items():
            counter = self._metrics.canary_requests.labels(arm)
            counter.inc(requests - self._answered.get(arm, 0))
            self._answered[arm] = requests
