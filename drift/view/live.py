"""What people see of the last ten minutes: traffic, latency, scored points. Bounded, without a clock of its own."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift.view.timeline import Observations
from serve.metrics import MetricFamilies
from train.model.bundle import ModelBundle
from train.model.reasons import explain_rows

SPAN_S, STEP_S = 600.0, 2.0
MAX_NORMAL_POINTS, MAX_ANOMALY_POINTS, LATEST_ANOMALIES = 300, 300, 30
NORMAL_A_REPORT, ANOMALIES_A_REPORT, EXPLAINED_A_REPORT, REASONS = 8, 50, 20, 3
LONGEST_GAP_S = 30.0  # of a replica's reports; what came in a longer one is not spread over it
_MAX_MODELS = 2  # a replica that lags a little still sends rows of the former one
FAMILIES = ("vigil_requests", "vigil_rows_scored", "vigil_anomalies", "vigil_request_seconds")
_REQUESTS = "vigil_requests_total"
COUNTED = {_REQUESTS: "ok", "vigil_rows_scored_total": "rows", "vigil_anomalies_total": "anomalies"}
_LATENCY = "vigil_request_seconds_bucket"
Sums = defaultdict[str, float]
Sample = tuple[str, str]  # name, and the value of its one label


@dataclass
class TrafficStep:
    """What happened in STEP_S seconds: sums by name, refusals by error, requests by upper bound of their seconds."""

    counts: Sums = field(default_factory=lambda: defaultdict(float))
    refused: Sums = field(default_factory=lambda: defaultdict(float))
    latency: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))


class Traffic:
    """Requests, rows and latencies by step, from the differences of what replicas count."""

    def __init__(self) -> None:
        self._steps: dict[
            float, TrafficStep
        ] = {}  # by when they begin (Unix seconds); without traffic there is none
        self._former: dict[str, tuple[float, dict[Sample, float]]] = {}

    def ingest(self, replica: str, counts: MetricFamilies, now: float) -> float:
        """Take in what a replica has counted until `now`; return since when that is new. A first report only says where its
        counts stand."""
        found = _samples(counts)
        since, former = self._former.get(replica, (now - 1.0, found))
        self._former[replica] = now, found
        self._former = {name: told for name, told in self._former.items() if now - told[0] < SPAN_S}
        news = {sample: value - former.get(sample, 0.0) for sample, value in found.items()}
        since = since if 0 < now - since < LONGEST_GAP_S else now - 1.0
        if any(value > 0 for value in news.values()):
            for at, share in _shares(since, now):
                _add(self._steps.setdefault(at, TrafficStep()), news, share)
        self._steps = {at: step for at, step in self._steps.items() if at >= now - SPAN_S}
        return since

    def columns(self, now: float) -> dict[str, Any]:
        """The steps as columns, in order, without those of which some replicas have not told yet; rates are per second."""
        steps = [
            (at, step)
            for at, step in sorted(self._steps.items())
            if now - SPAN_S <= at <= now - 2 * STEP_S
        ]
        refused: Sums = defaultdict(float)
        for _, step in steps:
            for name, count in step.refused.items():
                refused[name] += count

        def rate(name: str) -> list[float]:
            return [round(step.counts[name] / STEP_S, 2) for _, step in steps]

        return {
            "step_s": STEP_S,
            "at": [at for at, _ in steps],
            "ok": rate("ok"),
            "refused": [round(sum(step.refused.values()) / STEP_S, 2) for _, step in steps],
            "rows": rate("rows"),
            "anomalies": rate("anomalies"),
            "p50_ms": [_ms(step.latency, 0.5) for _, step in steps],
            "p99_ms": [_ms(step.latency, 0.99) for _, step in steps],
            "refused_by": {
                name: round(refused[name])
                for name in sorted(refused, key=lambda n: -refused[n])[:10]
            },
        }

    def totals(self, now: float) -> dict[str, int]:
        """Sums over the last ten minutes."""
        steps = [step for at, step in self._steps.items() if at >= now - SPAN_S]
        return {
            name: round(sum(step.counts[name] for step in steps))
            for name in ("ok", "rows", "anomalies")
        } | {"refused": round(sum(sum(step.refused.values()) for step in steps))}


def _shares(since: float, now: float) -> Iterator[tuple[float, float]]:
    """The steps that a report covers, each with its part: replicas report about as often as there are steps."""
    for k in range(int(since // STEP_S), int(now // STEP_S) + 1):
        overlap = min(now, (k + 1) * STEP_S) - max(since, k * STEP_S)
        if overlap > 0:
            yield k * STEP_S, overlap / (now - since)


def _samples(counts: MetricFamilies) -> dict[Sample, float]:
    wanted = (sample for name, _, _, samples in counts if name in FAMILIES for sample in samples)
    return {(name, labels[0][1] if labels else ""): value for name, labels, value in wanted}


def _add(step: TrafficStep, news: Mapping[Sample, float], share: float) -> None:
    below = 0.0
    for (name, label), value in news.items():
        if name == _REQUESTS and label != "ok":
            step.refused[label] += value * share
        elif name in COUNTED:
            step.counts[COUNTED[name]] += value * share
    for bound, value in sorted(
        (float(label), value) for (name, label), value in news.items() if name == _LATENCY
    ):
        step.latency[bound] += (value - below) * share
        below = value


def _ms(latency: Mapping[float, float], q: float) -> float | None:
    """The quantile of a histogram in milliseconds, linear within its bucket as in Prometheus; None of nothing."""
    total, seen, lower = sum(latency.values()), 0.0, 0.0
    for bound in sorted(latency):
        if latency[bound] and seen + latency[bound] >= q * total:
            upper = bound if bound != float("inf") else lower
            return round(1e3 * (lower + (upper - lower) * (q * total - seen) / latency[bound]), 3)
        seen, lower = seen + latency[bound], bound if bound != float("inf") else lower
    return None


@dataclass(frozen=True)
class Point:
    """One scored row; `reasons` are those of an anomaly that was explained."""

    at: float
    score: float
    threshold: float
    version: str
    request: str = ""
    reasons: Sequence[Mapping[str, Any]] = ()


Lots = list[
    tuple[float, Point]
]  # of too many points those with the largest lots go: what stays is even over time


class Points:
    """The anomalies of the last ten minutes, and a sample of the other rows; a flood of anomalies becomes a sample too."""

    def __init__(self) -> None:
        self._anomalies: Lots = []
        self._normal: Lots = []
        self._models: dict[str, ModelBundle] = {}

    def follow(self, version: str, bundle: ModelBundle) -> None:
        """Know this version's rows from now on."""
        self._models = dict(
            [*((v, b) for v, b in self._models.items() if v != version), (version, bundle)][
                -_MAX_MODELS:
            ]
        )

    def ingest(
        self,
        batches: Sequence[tuple[str, NDArray[Any], NDArray[Any], list[str]]],
        since: float,
        now: float,
    ) -> None:
        """Take in captured rows: (version, rows [n, d], scores [n], requests [n]), which came between `since` and `now`."""
        for version, rows, scores, requests in batches:
            bundle = self._models.get(version)
            if bundle is None or rows.shape[1] != len(bundle.names):
                continue
            at = np.round(now - (now - since) * (1 - (np.arange(len(rows)) + 1) / len(rows)), 2)
            over = scores > bundle.threshold.value
            limit = float(bundle.threshold.value)
            where = np.flatnonzero(over)
            if len(where) > ANOMALIES_A_REPORT:
                where = np.sort(where[np.argsort(-scores[where])[:ANOMALIES_A_REPORT]])
            # The latest are explained: they are what people look at.
            told = [()] * max(0, len(where) - EXPLAINED_A_REPORT)
            told += explain_rows(
                bundle, np.asarray(rows[where[-EXPLAINED_A_REPORT:]], np.float64), REASONS
            )
            for k, i in enumerate(where):
                anomaly = Point(
                    float(at[i]), float(scores[i]), limit, version, requests[i], told[k]
                )
                self._anomalies.append((random.random(), anomaly))
            normal = np.flatnonzero(~over)
            for i in sorted(random.sample(list(normal), min(NORMAL_A_REPORT, len(normal)))):
                self._normal.append(
                    (random.random(), Point(float(at[i]), float(scores[i]), limit, version))
                )
        self._normal = _kept(self._normal, MAX_NORMAL_POINTS, now)
        latest = sorted(self._anomalies, key=lambda lot: lot[1].at)
        some = _kept(latest[:-LATEST_ANOMALIES], MAX_ANOMALY_POINTS - LATEST_ANOMALIES, now)
        self._anomalies = some + _kept(latest[-LATEST_ANOMALIES:], LATEST_ANOMALIES, now)

    def columns(self) -> dict[str, Any]:
        """The normal points as columns in order of time, the anomalies as objects, latest first."""
        normal = sorted((point for _, point in self._normal), key=lambda p: p.at)
        anomalies = [
            {
                "at": p.at,
                "score": round(p.score, 4),
                "threshold": round(p.threshold, 4),
                "version": p.version,
                "request_id": p.request,
                "reasons": list(p.reasons),
            }
            for p in sorted((anomaly for _, anomaly in self._anomalies), key=lambda p: -p.at)
        ]
        return {
            "at": [p.at for p in normal],
            "score": [round(p.score, 4) for p in normal],
            "threshold": [round(p.threshold, 4) for p in normal],
            "version": [p.version for p in normal],
            "anomalies": anomalies,
        }


def _kept(lots: Lots, most: int, now: float) -> Lots:
    """The points of the last ten minutes, at most so many."""
    recent = [lot for lot in lots if lot[1].at >= now - SPAN_S]
    if len(recent) <= most:
        return recent
    largest = sorted(lot for lot, _ in recent)[most - 1]
    return [lot for lot in recent if lot[0] <= largest]


class Live:
    """All of it, of one monitor; `epoch` tells a page that another monitor answers. Its owner brings the lock."""

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex[:12]
        self.traffic, self.points, self.told = Traffic(), Points(), Observations()

    def ingest(self, report: Mapping[str, Any], now: float) -> None:
        """Take in one replica's report."""
        since = self.traffic.ingest(str(report["replica"]), report["counts"], now)
        self.points.ingest(report["rows"], since, now)
