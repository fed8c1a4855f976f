"""The metrics that Vigil exposes, read from the code that counts them: a renamed metric cannot leave a dashboard behind."""

from __future__ import annotations

from functools import cache

from serve.metrics import DriftMetrics, ServeMetrics


@cache
def exposed() -> frozenset[str]:
    """Every sample name of `/metrics`, as Prometheus sees it."""
    found: set[str] = set()
    for registry in (ServeMetrics().registry, DriftMetrics().registry):
        for metric in registry.collect():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
            found |= {metric.name + suffix for suffix in suffixes}
    return frozenset(found)


def metric(name: str) -> str:
    """`name`, if the code exposes it; raises LookupError otherwise."""
    if name not in exposed():
        raise LookupError(f"{name} is no metric of Vigil: {', '.join(sorted(exposed()))}")
    return name
