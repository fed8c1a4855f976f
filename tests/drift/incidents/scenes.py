"""Batches of scored rows, of which a test says which ones alert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drift.incidents.deviation import Deviations, direction_of
from drift.incidents.incident import FeatureDeviation, IncidentChange, ScoredRows
from drift.incidents.tracker import IncidentTracker
from drift.settings import DriftSettings
from vigil.arrays import Floats

THRESHOLD = 0.6
HIGH = 0.8
NAMES = ("cpu", "disk")


def settings(**values: Any) -> DriftSettings:
    return DriftSettings.from_values(**values)


def batch(
    scores: Sequence[float],
    times: Sequence[float] | None = None,
    entities: Sequence[str] | None = None,
    *,
    begin: float = 0.0,
    cpu: float = 90.0,
    requests: Sequence[str] | None = None,
) -> ScoredRows:
    """Rows a second apart from `begin` on, unless `times` says otherwise."""
    at = np.array(times if times is not None else begin + np.arange(len(scores)), dtype=float)
    rows = np.column_stack([np.full(len(scores), cpu), at])
    return ScoredRows(
        version="1",
        threshold=THRESHOLD,
        names=NAMES,
        rows=rows,
        scores=np.array(scores, dtype=float),
        times=at,
        arrived=float(at.max(initial=begin)),
        entities=list(entities) if entities is not None else None,
        requests=list(requests) if requests is not None else None,
    )


def describe(rows: Floats) -> list[Deviations]:
    """The first feature is the reason; 50 is expected of it."""
    return [
        (FeatureDeviation("cpu", row[0], 50.0, direction_of(row[0], 50.0)),)
        for row in rows.tolist()
    ]


def alerts(count: int) -> list[float]:
    return [HIGH] * count


def quiet(count: int) -> list[float]:
    return [0.4] * count


def kinds(changes: Sequence[IncidentChange]) -> list[str]:
    return [change.kind for change in changes]


def watch(tracker: IncidentTracker, *batches: ScoredRows) -> list[IncidentChange]:
    """Let the tracker observe the batches, and time pass behind them."""
    changes: list[IncidentChange] = []
    for rows in batches:
        changes += tracker.observe(rows, describe)
    return changes
