"""Scored rows of the last ten minutes that people see one by one. Bounded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drift.view.traffic import SPAN_S
from serve.model.report import CapturedRows
from train.model.bundle import ModelBundle
from train.model.reasons import explain_rows
from vigil.arrays import Flags, Floats, Positions
from vigil.json_types import Fields, JsonObject
from vigil.latest import LatestDict

MAX_NORMAL_POINTS = 300
MAX_ANOMALY_POINTS = 300
LATEST_ANOMALIES = 30  # are all kept
NORMAL_A_REPORT = 8
ANOMALIES_A_REPORT = 50
EXPLAINED_A_REPORT = 20
MAX_REASONS = 3
_MAX_MODELS = 2  # a replica that lags a little still sends rows of the former one


@dataclass(frozen=True)
class Point:
    """One scored row; `reasons` are those of an anomaly that was explained."""

    at: float
    score: float
    threshold: float
    version: str
    request: str = ""
    reasons: Sequence[Fields] = ()

    def status(self) -> JsonObject:
        """Return an anomaly as the console shows it."""
        return {
            "at": self.at,
            "score": _shown(self.score),
            "threshold": _shown(self.threshold),
            "version": self.version,
            "request_id": self.request,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class _Drawn:
    """A point with its lot: of too many, those with the largest go, so the rest is even in time."""

    lot: float
    point: Point


@dataclass(frozen=True)
class _ScoredBatch:
    """Captured rows of one version whose model is known, with the time at which each came."""

    rows: CapturedRows
    bundle: ModelBundle
    at: Floats

    def threshold_of(self, i: Any) -> float:
        """The score over which a row alerts."""
        limits = self.rows.limits
        return float(self.bundle.threshold.value if limits is None else limits[i])

    def point(self, i: Any, **more: Any) -> Point:
        score = self.rows.scores[i]
        return Point(
            float(self.at[i]),
            float(score),
            self.threshold_of(i),
            self.rows.version,
            **more,
        )

    def anomalies(self) -> list[Point]:
        """Its furthest anomalies; the latest of them are explained, as people look at those."""
        where = self._furthest().tolist()
        explained = where[-EXPLAINED_A_REPORT:]
        reasons = self._reasons(explained)
        return [self._anomaly(i, reasons.get(i, ())) for i in where]

    def _anomaly(self, i: int, reasons: Sequence[Any]) -> Point:
        request = self.rows.requests[i]
        return self.point(i, request=request, reasons=reasons)

    def _furthest(self) -> Positions:
        """Numbers of the rows over the threshold with the highest scores, in order of time."""
        where = np.flatnonzero(self._is_over())
        scores = self.rows.scores[where]
        by_score = np.argsort(-scores)
        furthest = where[by_score[:ANOMALIES_A_REPORT]]
        return np.sort(furthest)

    def _is_over(self) -> Flags:
        return self.rows.alerts(self.bundle.threshold.value)

    def _reasons(self, where: list[int]) -> dict[int, Any]:
        """The reasons of rows, by their numbers."""
        rows = self.rows.rows[where].astype(np.float64)
        reasons = explain_rows(self.bundle, rows, MAX_REASONS)
        return dict(zip(where, reasons, strict=True))

    def normal(self) -> list[Point]:
        """A sample of its other rows."""
        others = ~self._is_over()
        where = np.flatnonzero(others).tolist()
        count = min(NORMAL_A_REPORT, len(where))
        sample = sorted(random.sample(where, count))
        return list(map(self.point, sample))


class Points:
    """The anomalies of the last ten minutes, and a sample of the other rows.

    A flood of anomalies becomes a sample too.
    """

    def __init__(self) -> None:
        self._anomalies: list[_Drawn] = []
        self._normal: list[_Drawn] = []
        self._models: LatestDict[str, ModelBundle] = LatestDict(_MAX_MODELS)

    def follow(self, version: str, bundle: ModelBundle) -> None:
        """Know this version's rows from now on."""
        self._models.put(version, bundle)

    def ingest(
        self,
        batches: Sequence[CapturedRows],
        since: float,
        now: float,
    ) -> None:
        """Take in captured rows, which came between `since` and `now`."""
        for rows in batches:
            at = _arrivals(len(rows.rows), since, now)
            self._take(rows, at)
        self._normal = _kept(self._normal, MAX_NORMAL_POINTS, now)
        self._forget_anomalies(now)

    def _take(self, rows: CapturedRows, at: Floats) -> None:
        bundle = self._models.get(rows.version)
        if bundle is None or not _fits(rows, bundle):
            return
        batch = _ScoredBatch(rows, bundle, at)
        self._anomalies += _draw(batch.anomalies())
        self._normal += _draw(batch.normal())

    def _forget_anomalies(self, now: float) -> None:
        in_order = sorted(self._anomalies, key=_time_of)
        latest = in_order[-LATEST_ANOMALIES:]
        earlier = in_order[:-LATEST_ANOMALIES]
        sample = _kept(earlier, MAX_ANOMALY_POINTS - LATEST_ANOMALIES, now)
        self._anomalies = sample + _kept(latest, LATEST_ANOMALIES, now)

    def columns(self) -> JsonObject:
        """Return the normal points as columns in order of time, the anomalies as objects.

        The latest anomaly comes first.
        """
        return {
            **_columns(_in_order(self._normal)),
            "anomalies": [point.status() for point in reversed(_in_order(self._anomalies))],
        }


def _columns(points: Sequence[Point]) -> dict[str, list[Any]]:
    return {
        "at": [point.at for point in points],
        "score": [_shown(point.score) for point in points],
        "threshold": [_shown(point.threshold) for point in points],
        "version": [point.version for point in points],
    }


def _shown(score: float) -> float:
    return round(score, 4)


def _time_of(drawn: _Drawn) -> float:
    return drawn.point.at


def _fits(rows: CapturedRows, bundle: ModelBundle) -> bool:
    _, features = rows.rows.shape
    return features == len(bundle.names)


def _arrivals(
    count: int,
    since: float,
    now: float,
) -> Floats:
    """When each of `count` rows came, evenly spread up to `now`."""
    steps = np.linspace(since, now, count + 1)
    return np.round(steps[1:], 2)


def _draw(points: Sequence[Point]) -> list[_Drawn]:
    return [_Drawn(random.random(), point) for point in points]


def _kept(
    drawn: Sequence[_Drawn],
    count: int,
    now: float,
) -> list[_Drawn]:
    """The points of the last ten minutes, at most so many."""
    since = now - SPAN_S
    recent = [one for one in drawn if _time_of(one) >= since]
    if len(recent) <= count:
        return recent
    return _smallest_lots(recent, count)


def _smallest_lots(drawn: Sequence[_Drawn], count: int) -> list[_Drawn]:
    lots = sorted(one.lot for one in drawn)
    highest = lots[count - 1]
    return [one for one in drawn if one.lot <= highest]


def _in_order(drawn: Sequence[_Drawn]) -> list[Point]:
    points = [one.point for one in drawn]
    return sorted(points, key=lambda point: point.at)
