"""A small real model, and a watch of it without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drift.settings import DriftSettings
from drift.state import StateStore
from drift.view.display import Display
from drift.watch import Watch
from serve.exposition import collect_metrics
from serve.metrics import ServeMetrics
from serve.model.report import CapturedRows, ReplicaReport, ServedModel
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.registry.versions import Version

NAMES = tuple("abcdef")
WINDOW = 100


def _live(rows: int, shift: float = 0.0, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(10 + shift, 1, (rows, len(NAMES)))


@pytest.fixture(scope="session")
def live() -> Callable[..., np.ndarray[Any, Any]]:
    """live(rows, shift=0, seed=1): i.i.d. rows [rows, 6] of a world.

    It is the world that the model was trained on, or a shifted one.
    """
    return _live


@pytest.fixture(scope="session")
def bundle() -> ModelBundle:
    """A forest of 20 trees on six features, whose drift windows are 100 rows."""
    X = _live(4000, seed=0)
    forest = CompiledForest.compile(fit_part(X, trees=20, max_samples=64, max_features=1.0, seed=0))
    scores = forest.score(X)
    ref = reference.build_reference(X, NAMES, scores, window_rows=WINDOW)
    return ModelBundle(NAMES, forest, threshold.to_alert_rate(scores, 0.01), ref, X[:8], {})


@pytest.fixture(scope="session")
def version() -> Callable[[str], Version]:
    """version("2") as the registry would name it."""
    return lambda number: Version(number, f"run-{number}", f"digest-{number}", 0.0)


class ShownWatch(Watch):
    """A watch, and what is shown of it."""

    def __init__(
        self,
        settings: DriftSettings,
        store: StateStore | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings, store, seconds)
        self.display = Display(self)


@pytest.fixture
def watch(
    tmp_path: Path, bundle: ModelBundle, version: Callable[[str], Version]
) -> Iterator[Callable[..., ShownWatch]]:
    """watch(store=None, seconds=time.monotonic, **settings): a watch that follows version 1.

    It lives in the test's own home. A second call is a restarted one.
    """
    watches: list[ShownWatch] = []

    def make(
        store: StateStore | None = None,
        seconds: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> ShownWatch:
        for former in watches:
            former.close()
        chosen = DriftSettings(home=tmp_path, retrain_rows=300, **settings)
        present = ShownWatch(chosen, store, seconds)
        watches.append(present)
        present.follow(version("1"), bundle, 0.0)
        return present

    yield make
    for former in watches:
        former.close()


@pytest.fixture(scope="session")
def report() -> Callable[..., ReplicaReport]:
    """report(rows, version="1", replica="r1", scored=0, since=0.0, **more): what a replica sends.

    `more` are fields of the report.
    """

    def make(
        rows: np.ndarray[Any, Any],
        /,
        version: str = "1",
        replica: str = "r1",
        scored: int = 0,
        since: float = 0.0,
        **more: Any,
    ) -> ReplicaReport:
        metrics = ServeMetrics()
        metrics.rows.inc(scored)
        served = ServedModel(
            replica=replica, pid=1, version=version, digest=f"digest-{version}", since=since
        )
        batch = CapturedRows(version, rows, np.full(len(rows), 0.5), ["r"] * len(rows))
        fields: dict[str, Any] = {
            "counts": collect_metrics(metrics.registry),
            "rows": [batch] if len(rows) else [],
        }
        return ReplicaReport(served=served, **(fields | more))

    return make
