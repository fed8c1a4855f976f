"""Scores as a histogram of Prometheus: a batch of them is counted in one step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from vigil.arrays import Floats


class ScoreHistogram(Collector):
    """A histogram that takes many values in one step.

    prometheus_client's own takes them one by one.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: tuple[float, ...],
        *,
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._buckets = buckets
        self._counts = np.zeros(len(buckets) + 1, np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: Floats) -> None:
        """Count the values [n]."""
        buckets = np.searchsorted(self._buckets, values)
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """Yield the metric, for prometheus_client."""
        bounds = [*map(str, self._buckets), "+Inf"]
        counts = map(float, self._counts.cumsum())
        yield HistogramMetricFamily(
            self._name,
            self._documentation,
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._sum,
        )
