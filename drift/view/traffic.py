"""Requests, rows and latencies of the last ten minutes, from what replicas count. Bounded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter

from serve.exposition import MetricFamilies
from vigil.json_types import JsonObject
from vigil.statistics import histogram_quantile

SPAN_S = 600.0
STEP_S = 2.0
MAX_GAP_S = 30.0  # of a replica's reports; what came in a longer one is not spread over it
MAX_REFUSALS = 10  # kinds of refusals that are shown
_REQUESTS = "vigil_requests_total"
_ROWS = "vigil_rows_scored_total"
_ANOMALIES = "vigil_anomalies_total"
_LATENCY = "vigil_request_seconds_bucket"
_FAMILIES = ("vigil_requests", "vigil_rows_scored", "vigil_anomalies", "vigil_request_seconds")
_COUNTED = {_REQUESTS: "ok", _ROWS: "rows", _ANOMALIES: "anomalies"}
_Sums = defaultdict[str, float]
_Sample = tuple[str, str]  # name, and the value of its one label
_Samples = dict[_Sample, float]


@dataclass
class TrafficStep:
    """Sums of STEP_S seconds.

    counts: by name; refused: by error; latency: requests by upper bound of their seconds
    """

    counts: _Sums = field(default_factory=lambda: defaultdict(float))
    refused: _Sums = field(default_factory=lambda: defaultdict(float))
    latency: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, increases: Mapping[_Sample, float], share: float) -> None:
        """Add this share of what counters have increased by."""
        for sample, increase in increases.items():
            self._count(*sample, increase * share)
        self._add_latency(increases, share)

    def _count(
        self,
        name: str,
        label: str,
        increase: float,
    ) -> None:
        if name == _REQUESTS and label != "ok":
            self.refused[label] += increase
        elif name in _COUNTED:
            self.counts[_COUNTED[name]] += increase

    def _add_latency(self, increases: Mapping[_Sample, float], share: float) -> None:
        below = 0.0
        for bound, increase in _latency_buckets(increases):
            inside = increase - below
            self.latency[bound] += inside * share
            below = increase

    @property
    def refusals(self) -> float:
        return sum(self.refused.values())


@dataclass(frozen=True)
class _Reported:
    """Samples of a replica's last report."""

    at: float
    samples: _Samples


class Traffic:
    """Requests, rows and latencies by step, from the differences of what replicas count."""

    def __init__(self) -> None:
        # By when they begin (Unix seconds); without traffic there is none.
        self._steps: dict[float, TrafficStep] = {}
        self._reported: dict[str, _Reported] = {}

    def ingest(
        self,
        replica: str,
        counts: MetricFamilies,
        now: float,
    ) -> float:
        """Take in what a replica has counted until `now`; return since when that is new.

        A first report only says where its counters stand.
        """
        reported = _Reported(now, _samples(counts))
        former = self._reported.get(replica, reported)
        self._reported[replica] = reported
        self._forget_silent(now)
        since = _begin_of_report(former.at, now)
        self._add(_increases(former.samples, reported.samples), since, now)
        return since

    def _forget_silent(self, now: float) -> None:
        self._reported = {
            name: reported
            for name, reported in self._reported.items()
            if now - reported.at < SPAN_S
        }

    def _add(
        self,
        increases: _Samples,
        since: float,
        now: float,
    ) -> None:
        if any(increase > 0 for increase in increases.values()):
            for at, share in _shares(since, now):
                step = self._steps.setdefault(at, TrafficStep())
                step.add(increases, share)
        recent = self._between(now - SPAN_S, now)
        self._steps = dict(recent)

    def _between(self, begin: float, end: float) -> list[tuple[float, TrafficStep]]:
        """The steps that begin in this time, in order."""
        steps = sorted(self._steps.items(), key=itemgetter(0))
        return [(at, step) for at, step in steps if begin <= at <= end]

    def columns(self, now: float) -> JsonObject:
        """Return the steps as columns, in order; rates are per second.

        Steps of which some replicas have not reported yet are left out.
        """
        complete = self._between(now - SPAN_S, now - 2 * STEP_S)
        steps = [step for _, step in complete]
        return {
            "step_s": STEP_S,
            "at": [at for at, _ in complete],
            "ok": _rates(steps, "ok"),
            "refused": [_rate(step.refusals) for step in steps],
            "rows": _rates(steps, "rows"),
            "anomalies": _rates(steps, "anomalies"),
            "p50_ms": _quantiles_ms(steps, 0.5),
            "p99_ms": _quantiles_ms(steps, 0.99),
            "refused_by": _refused_by(steps),
        }

    def totals(self, now: float) -> dict[str, int]:
        """Return sums over the last ten minutes."""
        recent = self._between(now - SPAN_S, now)
        steps = [step for _, step in recent]
        refused = sum(step.refusals for step in steps)
        return {
            "ok": _total(steps, "ok"),
            "rows": _total(steps, "rows"),
            "anomalies": _total(steps, "anomalies"),
            "refused": round(refused),
        }


def _total(steps: list[TrafficStep], name: str) -> int:
    counts = [step.counts[name] for step in steps]
    return round(sum(counts))


def _rates(steps: list[TrafficStep], name: str) -> list[float]:
    return [_rate(step.counts[name]) for step in steps]


def _rate(count: float) -> float:
    return round(count / STEP_S, 2)


def _quantiles_ms(steps: list[TrafficStep], q: float) -> list[float | None]:
    return [_quantile_ms(step.latency, q) for step in steps]


def _begin_of_report(former: float, now: float) -> float:
    """When what a report counts began: after the former one, if that was lately."""
    is_late = 0 < now - former < MAX_GAP_S
    return former if is_late else now - 1.0


def _refused_by(steps: list[TrafficStep]) -> dict[str, int]:
    """Refusals by error, the most frequent ones first."""
    shown = _sum_refused(steps).most_common(MAX_REFUSALS)
    return {error: round(count) for error, count in shown}


def _sum_refused(steps: list[TrafficStep]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for step in steps:
        sums.update(step.refused)  # pyright: ignore[reportArgumentType]
    return sums


def _samples(counts: MetricFamilies) -> _Samples:
    """The samples that traffic is made of."""
    samples: _Samples = {}
    for family, _, _, family_samples in counts:
        if family in _FAMILIES:
            for name, labels, value in family_samples:
                samples[name, _label(labels)] = value
    return samples


def _label(labels: Sequence[tuple[str, str]]) -> str:
    """The value of the one label; empty without one."""
    return labels[0][1] if labels else ""


def _increases(former: _Samples, samples: _Samples) -> _Samples:
    names = samples.keys()
    return {name: samples[name] - former.get(name, 0.0) for name in names}


def _shares(since: float, now: float) -> Iterator[tuple[float, float]]:
    """The steps that a report covers, each with its part of it.

    Replicas report about as often as there are steps.
    """
    seconds = now - since
    first = int(since // STEP_S)
    last = int(now // STEP_S)
    for number in range(first, last + 1):
        begin = number * STEP_S
        overlap = _overlap(begin, since, now)
        if overlap > 0:
            yield begin, overlap / seconds


def _overlap(
    begin: float,
    since: float,
    now: float,
) -> float:
    """Seconds of a step that a report covers."""
    covered_from = max(since, begin)
    covered_to = min(now, begin + STEP_S)
    return covered_to - covered_from


def _latency_buckets(increases: Mapping[_Sample, float]) -> list[tuple[float, float]]:
    """Increases of the cumulative buckets of latency, by their upper bounds in order."""
    of_latency = [sample for sample in increases if sample[0] == _LATENCY]
    return sorted((float(label), increases[name, label]) for name, label in of_latency)


def _quantile_ms(latency: Mapping[float, float], q: float) -> float | None:
    """The quantile of a histogram of seconds, in milliseconds."""
    bounds = sorted(latency)
    counts = accumulate(latency[bound] for bound in bounds)
    cumulative = dict(zip(bounds, counts, strict=True))
    seconds = histogram_quantile(q, cumulative)
    return None if seconds is None else round(1e3 * seconds, 3)
