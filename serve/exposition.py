"""Counts of several processes: as plain values, summed, and as one exposition."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

log = logging.getLogger("ray.serve")


MetricLabels = tuple[tuple[str, str], ...]  # name and value of each, sorted by name


class MetricSample(NamedTuple):
    """One value of a metric."""

    name: str
    labels: MetricLabels
    value: float


class MetricFamily(NamedTuple):
    """A metric with its samples, as plain values that travel between processes."""

    name: str
    kind: str
    documentation: str
    samples: list[MetricSample]


MetricFamilies = list[MetricFamily]


def collect_metrics(registry: CollectorRegistry) -> MetricFamilies:
    """Return the samples of a registry as plain values."""
    return [_family(metric) for metric in registry.collect()]


def _family(metric: Metric) -> MetricFamily:
    samples = [
        MetricSample(sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]
    return MetricFamily(metric.name, metric.type, metric.documentation, samples)


def label_metrics(families: MetricFamilies, **labels: str) -> MetricFamilies:
    """Return the same samples with further labels, as series of their own.

    In the series of the sum, a part of it would look like a counter that began anew.
    """
    more = tuple(labels.items())
    return [_labelled(family, more) for family in families]


def _labelled(family: MetricFamily, more: MetricLabels) -> MetricFamily:
    samples = [_with_labels(sample, more) for sample in family.samples]
    return family._replace(samples=samples)


def _with_labels(sample: MetricSample, more: MetricLabels) -> MetricSample:
    return sample._replace(labels=(*sample.labels, *more))


def sum_metrics(parts: Iterable[MetricFamilies]) -> MetricFamilies:
    """Return the sums over the parts, sample by sample."""
    sums: dict[str, _FamilySum] = {}
    for families in parts:
        for family in families:
            if family.name not in sums:
                sums[family.name] = _FamilySum(family)
            sums[family.name].add(family.samples)
    return [family_sum.family() for family_sum in sums.values()]


_Values = dict[tuple[str, MetricLabels], float]


class _FamilySum:
    """Sums of the samples of one metric."""

    def __init__(self, family: MetricFamily) -> None:
        self._family = family
        self._values: _Values = {}

    def add(self, samples: Iterable[MetricSample]) -> None:
        values = self._values
        for name, labels, value in samples:
            values[name, labels] = values.get((name, labels), 0.0) + value

    def family(self) -> MetricFamily:
        return self._family._replace(samples=self._samples())

    def _samples(self) -> list[MetricSample]:
        return [MetricSample(name, labels, value) for (name, labels), value in self._values.items()]


def render_exposition(parts: Iterable[MetricFamilies]) -> bytes:
    """Return Prometheus' text of the sums over the parts."""
    registry = CollectorRegistry()
    registry.register(_FamiliesCollector(sum_metrics(parts)))
    return generate_latest(registry)


class _FamiliesCollector(Collector):
    """Makes families metrics again."""

    def __init__(self, families: MetricFamilies) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric


class RayMirror:
    """Sets the same samples through Ray's metrics.

    The endpoint of each node has them as `ray_vigil_...`, with the worker's id. As gauges all of
    them, counts too: of a process that has ended Ray forgets a gauge, but keeps a counter for ever.
    """

    def __init__(self) -> None:
        from ray.util.metrics import Gauge as RayGauge  # here: who only names metrics needs no Ray

        self._gauge_type = RayGauge
        self._gauges = dict[str, RayGauge]()

    def update(self, families: MetricFamilies) -> None:
        """Set every sample; what is not a number is left out.

        Never raises: the counts go to the monitor as well.
        """
        try:
            for family in families:
                for sample in family.samples:
                    self._set(family, sample)
        except Exception:
            log.exception("Ray does not take these metrics")

    def _set(self, family: MetricFamily, sample: MetricSample) -> None:
        if sample.name not in self._gauges:
            labels = tuple(label for label, _ in sample.labels)
            gauge = self._gauge_type(sample.name, family.documentation, labels)
            self._gauges[sample.name] = gauge
        if not math.isnan(sample.value):
            self._gauges[sample.name].set(sample.value, dict(sample.labels))
