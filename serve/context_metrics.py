"""Metrics of whoever keeps the context of entities: a shard, or a stream consumer."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

_CONTEXT_COUNTERS = {
    "evicted": "Entities that were forgotten for others, as there were more than the bound",
    "repeated": "Rows that came before, with the same time and values",
    "late": "Rows that were sorted in behind their time",
    "too_late": "Rows that were older than the bound, and are kept nowhere",
    "restarted": "Entities whose clock went back: their context began anew",
}


class ContextFigures:
    """What happens to the context of entities, in the registry of whoever keeps it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.entities = Gauge(
            "vigil_context_entities",
            "Entities of which the last rows are kept",
            registry=registry,
        )
        self._counters = {
            name: Counter(f"vigil_context_{name}", documentation, registry=registry)
            for name, documentation in _CONTEXT_COUNTERS.items()
        }

    def add(self, counts: Mapping[str, int]) -> None:
        """Count on what happened, by the names of ContextCounts."""
        for name, counter in self._counters.items():
            counter.inc(counts[name])


class ContextMetrics:
    """What one shard of the context counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.context = ContextFigures(self.registry)
