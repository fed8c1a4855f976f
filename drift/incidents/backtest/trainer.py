"""Models that are fitted to history, in this process."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drift.incidents.backtest.history import History
from drift.incidents.backtest.threshold_rules import ThresholdRule
from train.model.bundle import ModelBundle
from train.model.distances import robust_spread
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.model.reference import Reference, build_reference
from train.model.threshold import Threshold, to_alert_rate
from train.settings import TrainSettings
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Floats
from vigil.errors import DataError

MIN_HISTORY_ROWS = 50  # to learn from


@dataclass(frozen=True)
class HistoryTrainer:
    """Fits models to the first rows of a history, with the forest of the settings.

    X: rows of the model [n, d]; is_complete [n]: rows that have all the earlier ones that they
    need, only these are learnt from; rule: that makes the threshold, None: the alert budget of the
    settings
    """

    history: History
    X: Floats
    is_complete: NDArray[np.bool_]
    names: tuple[str, ...]
    transform: FeatureTransform | None
    settings: TrainSettings
    rule: ThresholdRule | None = None

    def fit_first(self, end: int) -> ModelBundle:
        """Return the model of the rows before `end`. Raises DataError when they are too few."""
        self._check_learnable(end)
        forest = self._fit_forest(end)
        return ModelBundle(
            names=self.names,
            forest=forest,
            threshold=self._calibrate(forest, end),
            reference=self._reference(forest, end),
            golden=self.X[:0],
            info={},
            transform=self.transform,
        )

    def refit(self, former: ModelBundle, end: int) -> ModelBundle:
        """Return the model of the rows before `end`; floors of drift stay those of `former`."""
        forest = self._fit_forest(end)
        rows = self.X[self._latest(end, self.settings.sample_rows)]
        return replace(
            former,
            forest=forest,
            threshold=self._calibrate(forest, end),
            reference=_recentred(former.reference, rows),
        )

    def _fit_forest(self, end: int) -> CompiledForest:
        settings = self.settings
        rows = self.X[self._sample(end)]
        fitted = fit_part(
            rows,
            trees=settings.n_estimators,
            max_samples=min(settings.max_samples, len(rows)),
            max_features=settings.max_features,
            seed=settings.seed,
            names=self.names,
        )
        return CompiledForest.compile(fitted)

    def _check_learnable(self, end: int) -> None:
        rows = len(self._complete(end))
        if rows < MIN_HISTORY_ROWS:
            raise DataError(
                f"{self.history.name}: {rows} rows of the first {end} can be learnt from, at least "
                f"{MIN_HISTORY_ROWS} are needed: give more rows, or a larger --probation"
            )

    def _complete(self, end: int) -> NDArray[np.intp]:
        return np.flatnonzero(self.is_complete[:end])

    def _sample(self, end: int) -> NDArray[np.intp]:
        """At most `sample_rows` of the rows before `end`, in their order."""
        places = self._complete(end)
        most = self.settings.sample_rows
        if len(places) <= most:
            return places
        rng = np.random.default_rng(self.settings.seed)
        return np.sort(rng.choice(places, most, replace=False))

    def _latest(self, end: int, most: int) -> NDArray[np.intp]:
        """The latest rows before `end`, without gaps."""
        return self._complete(end)[-most:]

    def _calibrate(self, forest: CompiledForest, end: int) -> Threshold:
        """The threshold that the rule makes of the latest rows."""
        places = self._latest(end, self.settings.sample_rows)
        scores = forest.score(self.X[places])
        if self.rule is None:
            return to_alert_rate(scores, self.settings.budget)
        history = self.history.take(places)
        return self.rule.calibrate(scores, history.table, history.times)

    def _reference(self, forest: CompiledForest, end: int) -> Reference:
        """What the latest of the rows looked like: it says what is expected of a feature."""
        rows = self.X[self._latest(end, self.settings.reference_rows)]
        return build_reference(
            rows,
            self.names,
            forest.score(rows),
            window_rows=self.settings.window_rows,
        )


def _recentred(reference: Reference, rows: Floats) -> Reference:
    """The reference with the centre and spread of other rows."""
    return replace(
        reference,
        median=np.median(rows, axis=0),
        scale=robust_spread(rows),
    )
