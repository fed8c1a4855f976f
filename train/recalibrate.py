"""A threshold as its own change: the champion's forest with a threshold that fits the alert budget on recent rows."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from train.model import forest, threshold
from train.model.gate import Check, GateVerdict
from train.registry.candidate import Candidate
from train.registry.versions import Registry, Version
from train.table.captured import read_captured
from vigil.errors import DataError, RegistryError
from vigil.home import Home

MIN_ROWS = 500


def recalibrate(
    registry: Registry,
    home: Home,
    since: float,
    alert_rate: float | None,
    captured: str | None = None,
) -> Version:
    """Register a version with the forest of the champion and a threshold at which `alert_rate` (default: its own budget) of the
    rows captured since `since` (Unix seconds) alert; it becomes the challenger. `captured`: where they are, if not in the home.

    Raises RegistryError when there is no champion, DataError when too few rows were captured.
    """
    champion = registry.champion()
    if champion is None:
        raise RegistryError("there is no champion to recalibrate; `vigil promote V` names one")
    bundle = registry.fetch(champion, home.cache)
    rows = read_captured(captured or home.captured, since)
    if rows is None or rows.names != bundle.names or len(rows) < MIN_ROWS:
        found = 0 if rows is None else len(rows)
        raise DataError(
            f"{found} captured rows of the champion's features since {since:.0f}; {MIN_ROWS} are needed"
        )
    scores = bundle.forest.score(rows.X)
    limit = threshold.to_alert_rate(scores, alert_rate or bundle.threshold.budget)
    before = float(np.mean(scores > bundle.threshold.value))
    fitted = registry.forest(champion)
    forest.set_threshold(fitted, limit.value)
    info = bundle.info | {"recalibrated": time.time(), "recalibrated_from": champion.version}
    made = replace(bundle, threshold=limit, info=info)
    sentence = (
        f"alert rate {limit.expected_rate:.4f} on {len(rows)} captured rows, {before:.4f} before"
    )
    verdict = GateVerdict((Check("alert_rate", limit.expected_rate, limit.budget, True, sentence),))
    tags = {
        "trigger": "recalibrate",
        "job": f"recalibrate-{time.time_ns()}",
        "verdict": "passed",
        "data_fingerprint": champion.tags.get("data_fingerprint", ""),
    }
    metrics = {
        "alert_rate": limit.expected_rate,
        "champion_alert_rate": before,
        "rows": float(len(rows)),
    }
    return registry.register(
        Candidate(fitted, made, {"threshold": limit.value}, metrics, tags, verdict.to_json())
    )
