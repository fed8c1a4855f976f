"""What a person asks of a running platform, out of `/drift` and two looks at `/metrics`: pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Scrape = dict[str, dict[tuple[str, ...], float]]  # by name and label values
_MAX_EVENTS = 6


def parse_scrape(text: str) -> Scrape:
    """The samples of a Prometheus exposition."""
    found: Scrape = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def histogram_quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """The q-quantile of a histogram, cumulative counts by upper bound, as Prometheus' histogram_quantile gives it."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank, below, low = q * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            inside = buckets[bound] - below
            return (
                low
                if math.isinf(bound)
                else low + (bound - low) * ((rank - below) / inside if inside else 1.0)
            )
        below, low = buckets[bound], bound
    return low


def top_view(
    status: Mapping[str, Any], now: Scrape, before: Scrape, seconds: float
) -> dict[str, Any]:
    """Traffic and latency over the `seconds` between both looks, and the state as of now; all of it JSON."""
    gone = {
        name: {key: v - before.get(name, {}).get(key, 0.0) for key, v in found.items()}
        for name, found in now.items()
    }
    outcomes = gone.get("vigil_requests_total", {})
    buckets = {
        float(le): count for (le,), count in gone.get("vigil_request_seconds_bucket", {}).items()
    }
    scores = status.get("scores") or {}
    return {
        "requests_per_s": max(0.0, outcomes.get(("ok",), 0.0)) / seconds,
        "refused_per_s": max(
            0.0, sum(count for outcome, count in outcomes.items() if outcome != ("ok",))
        )
        / seconds,
        "rows_per_s": max(0.0, _sum(gone, "vigil_rows_scored_total")) / seconds,
        "anomalies_per_s": max(0.0, _sum(gone, "vigil_anomalies_total")) / seconds,
        "anomalies": _sum(now, "vigil_anomalies_total"),
        "p50_ms": _ms(histogram_quantile(0.5, buckets)),
        "p99_ms": _ms(histogram_quantile(0.99, buckets)),
        "alert_rate": scores.get("alert_rate"),
        "alert_budget": status.get("alert_budget"),
        "model_version": status.get("model_version"),
        "verdict": (status.get("verdict") or {}).get("sentence"),
        "features": [
            {key: f[key] for key in ("feature", "ks", "floor")} for f in _furthest(status)
        ],
        "governor": {
            key: (status.get("governor") or {}).get(key)
            for key in ("mode", "phase", "reason", "retrains_left")
        },
        "replicas": [
            {key: r.get(key) for key in ("replica", "version", "source", "canary")}
            for r in status.get("replicas") or []
        ],
        "lagging": status.get("lagging") or [],
        "events": [
            {key: e.get(key) for key in ("at", "phase", "reason")}
            for e in (status.get("timeline") or [])[-_MAX_EVENTS:]
        ],
    }


def _sum(found: Scrape, name: str) -> float:
    return sum(found.get(name, {}).values())


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _furthest(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(status.get("features") or [], key=lambda f: f["floor"] / max(f["ks"], 1e-12))


def status_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `vigil status` says in words; `found` is what the parts answered, None where one is away."""
    yield f"desired version {found['desired_version'] or 'none'}; lagging: {', '.join(found['lagging'] or []) or 'none'}"
    for replica in found["replicas"] or []:
        for version, reason in (replica["refused"] or {}).items():
            yield f"{replica['replica']} refuses version {version}: {reason}"
    if canary := found["canary"]:
        yield f"canary {canary['version']} answers {canary['share']:.0%} of the requests"
    yield f"drift: {found['verdict']['sentence'] if found['verdict'] else 'no full window yet'}"
    if found["scores"]:
        rate, budget = percent(found["scores"]["alert_rate"]), percent(found["alert_budget"])
        yield f"alerts: {rate} of the last window's rows; the budget is {budget}"
    if governor := found["governor"]:
        left = f"{governor['retrains_left']} retrainings left today"
        yield f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}; {left}"
    if last := found["last_retraining"]:
        yield f"last retraining: {last['outcome']} at {timestamp(last['at'])}: {last['reason']}; its cause: {last['cause']}"


def percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2%}"


def timestamp(at: float | None) -> str:
    """A Unix time in words, empty for none."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
