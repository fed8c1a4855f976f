"""What `vigil top` and `vigil status` show, out of `/drift` and two scrapes of `/metrics`: pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from vigil.json_types import Fields, JsonObject
from vigil.statistics import histogram_quantile

_Series = dict[tuple[str, ...], float]  # values by label values
Scrape = dict[str, _Series]  # by sample name
_MAX_EVENTS = 6


def parse_scrape(text: str) -> Scrape:
    """The samples of a Prometheus exposition."""
    scrape: Scrape = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            scrape[sample.name][labels] = sample.value
    return scrape


@dataclass(frozen=True)
class ScrapedTraffic:
    """What was counted between two scrapes, `seconds` apart."""

    before: Scrape
    after: Scrape
    seconds: float

    def view(self) -> JsonObject:
        anomalies = self.after.get("vigil_anomalies_total", {})
        return {
            **self._outcomes(),
            "rows_per_s": self._rate("vigil_rows_scored_total"),
            "anomalies_per_s": self._rate("vigil_anomalies_total"),
            "anomalies": sum(anomalies.values()),
            **self._latency(),
        }

    def _outcomes(self) -> dict[str, float]:
        by_outcome = self._increases("vigil_requests_total")
        answered = by_outcome.pop(("ok",), 0.0)
        refused = sum(by_outcome.values())
        return {
            "requests_per_s": self._per_second(answered),
            "refused_per_s": self._per_second(refused),
        }

    def _latency(self) -> dict[str, float | None]:
        buckets = self._buckets("vigil_request_seconds_bucket")
        return {
            "p50_ms": _milliseconds(histogram_quantile(0.5, buckets)),
            "p99_ms": _milliseconds(histogram_quantile(0.99, buckets)),
        }

    def _increases(self, name: str) -> _Series:
        former = self.before.get(name, {})
        series = self.after.get(name, {})
        return {labels: value - former.get(labels, 0.0) for labels, value in series.items()}

    def _buckets(self, name: str) -> dict[float, float]:
        return {float(bound): count for (bound,), count in self._increases(name).items()}

    def _rate(self, name: str) -> float:
        increases = self._increases(name)
        return self._per_second(sum(increases.values()))

    def _per_second(self, increase: float) -> float:
        return max(0.0, increase) / self.seconds


def top_view(status: Fields, traffic: ScrapedTraffic) -> JsonObject:
    """Traffic and latency, and the state (`/drift`) as of now; all of it JSON."""
    return {
        **traffic.view(),
        **_model_view(status),
        **_drift_view(status),
        **_fleet_view(status),
    }


def _model_view(status: Fields) -> JsonObject:
    scores = status.get("scores") or {}
    return {
        "alert_rate": scores.get("alert_rate"),
        "alert_budget": status.get("alert_budget"),
        "model_version": status.get("model_version"),
    }


def _drift_view(status: Fields) -> JsonObject:
    verdict = status.get("verdict") or {}
    governor = status.get("governor") or {}
    furthest = _furthest(status)
    return {
        "verdict": verdict.get("sentence"),
        "features": _each(furthest, ("feature", "ks", "floor")),
        "governor": _pick(governor, ("mode", "phase", "reason", "retrains_left")),
    }


def _fleet_view(status: Fields) -> JsonObject:
    replicas = status.get("replicas") or []
    events = status.get("timeline") or []
    latest = events[-_MAX_EVENTS:]
    return {
        "replicas": _each(replicas, ("replica", "version", "source", "canary")),
        "lagging": status.get("lagging") or [],
        "events": _each(latest, ("at", "phase", "reason")),
    }


def _each(objects: list[JsonObject], keys: tuple[str, ...]) -> list[JsonObject]:
    return [_pick(each, keys) for each in objects]


def _pick(values: Fields, keys: tuple[str, ...]) -> JsonObject:
    return {key: values.get(key) for key in keys}


def _furthest(status: Fields) -> list[JsonObject]:
    """The features, the one that is furthest over its floor first."""
    return sorted(status.get("features") or [], key=_room)


def _room(feature: Fields) -> float:
    """How far the statistic of a feature is below its floor, as a multiple of it."""
    return feature["floor"] / max(feature["ks"], 1e-12)


def _milliseconds(seconds: float | None) -> float | None:
    if seconds is None:
        return None
    return seconds * 1000


def status_lines(state: Fields) -> Iterator[str]:
    """`vigil status` in words; of `state` is None what a part that is away did not answer."""
    yield _version_line(state)
    yield from _refusal_lines(state)
    if canary := state["canary"]:
        yield f"canary {canary['version']} answers {canary['share']:.0%} of the requests"
    yield _verdict_line(state["verdict"])
    if scores := state["scores"]:
        yield _alert_line(scores["alert_rate"], state["alert_budget"])
    if governor := state["governor"]:
        yield _governor_line(governor)
    if last := state["last_retraining"]:
        yield _retraining_line(last)


def _verdict_line(verdict: Fields | None) -> str:
    return f"drift: {verdict['sentence'] if verdict else 'no full window yet'}"


def _alert_line(rate: float | None, budget: float | None) -> str:
    return f"alerts: {percent(rate)} of the last window's rows; the budget is {percent(budget)}"


def _governor_line(governor: Fields) -> str:
    return (
        f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}; "
        f"{governor['retrains_left']} retrainings left today"
    )


def _retraining_line(last: Fields) -> str:
    at = timestamp(last["at"])
    outcome = f"{last['outcome']} at {at}: {last['reason']}"
    return f"last retraining: {outcome}; its cause: {last['cause']}"


def _version_line(state: Fields) -> str:
    desired = state["desired_version"] or "none"
    lagging = ", ".join(state["lagging"] or []) or "none"
    return f"desired version {desired}; lagging: {lagging}"


def _refusal_lines(state: Fields) -> Iterator[str]:
    for replica in state["replicas"] or []:
        refused = replica["refused"] or {}
        for version, reason in refused.items():
            yield f"{replica['replica']} refuses version {version}: {reason}"


def percent(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2%}"


def timestamp(at: float | None) -> str:
    """A Unix time in words, empty for none."""
    if at is None:
        return ""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
