"""What `vigil top` and `vigil status` show, out of `/drift` and two scrapes of `/metrics`: pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from vigil.statistics import histogram_quantile

Scrape = dict[str, dict[tuple[str, ...], float]]  # values by sample name and label values
_MAX_EVENTS = 6


def parse_scrape(text: str) -> Scrape:
    """The samples of a Prometheus exposition."""
    scrape: Scrape = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = scrape.setdefault(sample.name, {})
            series[tuple(sample.labels.values())] = sample.value
    return scrape


@dataclass(frozen=True)
class ScrapedTraffic:
    """What was counted between two scrapes, `seconds` apart."""

    before: Scrape
    after: Scrape
    seconds: float

    def view(self) -> dict[str, Any]:
        outcomes = self._increases("vigil_requests_total")
        answered = outcomes.pop(("ok",), 0.0)
        buckets = self._buckets("vigil_request_seconds_bucket")
        return {
            "requests_per_s": self._per_second(answered),
            "refused_per_s": self._per_second(sum(outcomes.values())),
            "rows_per_s": self._rate("vigil_rows_scored_total"),
            "anomalies_per_s": self._rate("vigil_anomalies_total"),
            "anomalies": sum(self.after.get("vigil_anomalies_total", {}).values()),
            "p50_ms": _milliseconds(histogram_quantile(0.5, buckets)),
            "p99_ms": _milliseconds(histogram_quantile(0.99, buckets)),
        }

    def _increases(self, name: str) -> dict[tuple[str, ...], float]:
        former = self.before.get(name, {})
        series = self.after.get(name, {})
        return {labels: value - former.get(labels, 0.0) for labels, value in series.items()}

    def _buckets(self, name: str) -> dict[float, float]:
        return {float(bound): count for (bound,), count in self._increases(name).items()}

    def _rate(self, name: str) -> float:
        return self._per_second(sum(self._increases(name).values()))

    def _per_second(self, increase: float) -> float:
        return max(0.0, increase) / self.seconds


def top_view(status: Mapping[str, Any], traffic: ScrapedTraffic) -> dict[str, Any]:
    """ScrapedTraffic and latency, and the state (`/drift`) as of now; all of it JSON."""
    scores = status.get("scores") or {}
    verdict = status.get("verdict") or {}
    events = status.get("timeline") or []
    governor = ("mode", "phase", "reason", "retrains_left")
    replica = ("replica", "version", "source", "canary")
    return {
        **traffic.view(),
        "alert_rate": scores.get("alert_rate"),
        "alert_budget": status.get("alert_budget"),
        "model_version": status.get("model_version"),
        "verdict": verdict.get("sentence"),
        "features": _each(_furthest(status), ("feature", "ks", "floor")),
        "governor": _pick(status.get("governor") or {}, governor),
        "replicas": _each(status.get("replicas") or [], replica),
        "lagging": status.get("lagging") or [],
        "events": _each(events[-_MAX_EVENTS:], ("at", "phase", "reason")),
    }


def _each(objects: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [_pick(each, keys) for each in objects]


def _pick(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: values.get(key) for key in keys}


def _furthest(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The features, the one that is furthest over its floor first."""
    features = status.get("features") or []
    return sorted(features, key=lambda feature: feature["floor"] / max(feature["ks"], 1e-12))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def status_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """`vigil status` in words; of `state` is None what a part that is away did not answer."""
    yield _version_line(state)
    yield from _refusal_lines(state)
    if canary := state["canary"]:
        yield f"canary {canary['version']} answers {canary['share']:.0%} of the requests"
    verdict = state["verdict"]
    yield f"drift: {verdict['sentence'] if verdict else 'no full window yet'}"
    if scores := state["scores"]:
        rate = percent(scores["alert_rate"])
        budget = percent(state["alert_budget"])
        yield f"alerts: {rate} of the last window's rows; the budget is {budget}"
    if governor := state["governor"]:
        left = f"{governor['retrains_left']} retrainings left today"
        yield f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}; {left}"
    if last := state["last_retraining"]:
        at = timestamp(last["at"])
        outcome = f"{last['outcome']} at {at}: {last['reason']}"
        yield f"last retraining: {outcome}; its cause: {last['cause']}"


def _version_line(state: Mapping[str, Any]) -> str:
    desired = state["desired_version"] or "none"
    lagging = ", ".join(state["lagging"] or []) or "none"
    return f"desired version {desired}; lagging: {lagging}"


def _refusal_lines(state: Mapping[str, Any]) -> Iterator[str]:
    for replica in state["replicas"] or []:
        for version, reason in (replica["refused"] or {}).items():
            yield f"{replica['replica']} refuses version {version}: {reason}"


def percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2%}"


def timestamp(at: float | None) -> str:
    """A Unix time in words, empty for none."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
