"""A recalibration against a local MLflow database: the champion's forest, a new threshold."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import IsolationForest

from train.judged import JudgedRows, read_judged
from train.model.bundle import ModelBundle
from train.recalibrate import MIN_ROWS, recalibrate
from train.registry.candidate import Candidate
from train.registry.promotion import promote_version
from train.registry.versions import Registry
from train.table.captured import window_name
from vigil.errors import DataError, RegistryError
from vigil.home import Home

Models = Callable[[int], tuple[IsolationForest, ModelBundle]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("mlflow")
    return Registry(
        f"sqlite:///{folder}/mlflow.db", f"vigil-{uuid.uuid4().hex}", folder / "artifacts"
    )


def capture(home: Home, rows: np.ndarray, names: tuple[str, ...], at: float) -> None:
    file = home.captured / window_name(at)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: rows[:, j] for j, name in enumerate(names)}), file)


def test_the_new_version_has_the_same_forest_and_alerts_as_often_as_asked(
    registry: Registry, model: Models, tmp_path: Path
) -> None:
    home, (forest, bundle) = Home(tmp_path), model(0)
    with pytest.raises(RegistryError, match="no champion"):
        recalibrate(registry, home, 0.0)
    champion = registry.register(
        Candidate(forest, bundle, {}, {}, {"job": "a", "trigger": "manual"}, {"passed": True})
    )
    promote_version(registry, champion.version, reason="", actor="")
    world = np.random.default_rng(5).normal(scale=1.5, size=(4 * MIN_ROWS, len(bundle.names)))
    capture(home, world[: MIN_ROWS - 1], bundle.names, 1000.0)
    with pytest.raises(DataError, match=f"{MIN_ROWS - 1} captured rows"):
        recalibrate(registry, home, 0.0)
    capture(home, world, bundle.names, 2000.0)

    made = recalibrate(registry, home, since=1500.0, alert_rate=0.02)

    fresh = registry.fetch(made, home.cache)
    scores = fresh.forest.score(world)
    rate = float(np.mean(scores > fresh.threshold.value))
    lower = scores[scores < fresh.threshold.value].max()  # few trees give many rows one score
    assert rate <= 0.02 < np.mean(scores > lower)
    assert np.mean(bundle.forest.score(world) > bundle.threshold.value) > 0.1
    assert made.tags["forest_digest"] == champion.tags["forest_digest"]
    assert made.digest != champion.digest
    assert registry.aliases() == {"champion": champion.version, "challenger": made.version}
    # Whoever loads the scikit-learn flavour gets the new threshold too.
    labels = registry.forest(made).predict(pd.DataFrame(world, columns=list(bundle.names)))
    assert float(np.mean(labels == -1)) == pytest.approx(rate, abs=1e-9)


def judged(
    bundle: ModelBundle, rows: np.ndarray, confirmed: bool, names: tuple[str, ...]
) -> list[JudgedRows]:
    """An incident of each row; its features are those of the model, in the order of `names`."""
    columns = [bundle.names.index(name) for name in names]
    return [
        JudgedRows(f"i{place}", confirmed, names, (tuple(row[columns]),))
        for place, row in enumerate(rows)
    ]


def test_verdicts_on_incidents_decide_the_threshold(
    registry: Registry, model: Models, tmp_path: Path
) -> None:
    home, (forest, bundle) = Home(tmp_path), model(0)
    champion = registry.register(
        Candidate(forest, bundle, {}, {}, {"job": "b", "trigger": "manual"}, {"passed": True})
    )
    promote_version(registry, champion.version, reason="", actor="", new_schema=True)
    rng = np.random.default_rng(6)
    world = rng.normal(size=(2 * MIN_ROWS, len(bundle.names)))
    capture(home, world, bundle.names, 1000.0)
    turned = tuple(reversed(bundle.names))
    serious = judged(bundle, rng.normal(9.0, 0.1, (6, len(turned))), True, turned)
    harmless = judged(bundle, rng.normal(1.5, 0.1, (6, len(turned))), False, turned)
    elsewhere = [JudgedRows("i9", True, ("other",), ((1.0,),))]
    with pytest.raises(DataError, match="6 confirmed and 0 dismissed incidents"):
        recalibrate(registry, home, 0.0, judged=[*serious, *elsewhere])

    made = recalibrate(registry, home, 0.0, alert_rate=0.1, judged=[*serious, *harmless])

    assert (made.metrics["confirmed_alerts"], made.metrics["dismissed_alerts"]) == (1.0, 0.0)
    fresh = registry.fetch(made, home.cache)
    assert fresh.threshold.policy == "verdicts"
    # At the budget alone the harmless ones would alert.
    alone = recalibrate(registry, home, 0.0, alert_rate=0.1)
    assert registry.fetch(alone, home.cache).threshold.value < fresh.threshold.value


def test_an_answer_without_judged_incidents_is_refused() -> None:
    assert read_judged({"incidents": []}) == []
    for answer in ({}, {"incidents": [{"incident": "i1"}]}):
        with pytest.raises(DataError, match="no judged incidents"):
            read_judged(answer)
