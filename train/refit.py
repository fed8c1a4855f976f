"""The last fit of a version that has passed its gate: the same forest on all rows.

What is held out to judge a forest by is missing in it: of a table of 351 rows those are the 70
latest. The gate has judged the forest without them; the one with them is that forest and a few rows
more, and is registered in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sklearn.ensemble import IsolationForest

from train.challenger import TrainingSetup, assemble_challenger
from train.model.bundle import ModelBundle
from train.model.evaluate import score_agreement
from train.model.fit import fit_part
from train.table.table import concat


@dataclass(frozen=True)
class RefittedForest:
    """A forest of all rows, and its bundle."""

    forest: IsolationForest
    bundle: ModelBundle
    rows: int


def is_refitted(setup: TrainingSetup) -> bool:
    """Whether the settings ask for it: by default of small tables alone."""
    asked = setup.settings.refit
    return asked == "always" or (asked == "small" and _is_small(setup))


def _is_small(setup: TrainingSetup) -> bool:
    return len(setup.data.fit) < 2 * setup.settings.shard_rows


def refit(setup: TrainingSetup, champion: ModelBundle | None) -> RefittedForest:
    """Fit the forest of `setup` on its held-out rows too, with a threshold of its own."""
    data = setup.data
    rows = concat([data.fit, data.held_out])
    calibration = concat([data.calibration, data.held_out])
    whole = replace(setup, data=replace(data, fit=rows, calibration=calibration))
    settings = setup.settings
    forest = fit_part(
        rows.X,
        trees=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=settings.max_features,
        seed=settings.seed,
        names=rows.names,
    )
    bundle = assemble_challenger(forest, whole, champion)
    return RefittedForest(forest, bundle, len(rows))


def agreement_on_held_out(
    judged: ModelBundle, refitted: ModelBundle, setup: TrainingSetup
) -> float:
    """Return the rank correlation of two models' scores of the held-out rows."""
    rows = setup.data.held_out.X
    return score_agreement(judged.forest.score(rows), refitted.forest.score(rows))
