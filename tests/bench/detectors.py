"""What is compared on labelled telemetry: each detector learns from rows, and scores others."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from tests.bench.labelled import LabelledTelemetry
from tests.bench.table_forests import read_archived, vigil_part
from train.model.distances import robust_spread
from train.model.forest import CompiledForest
from train.settings import TrainSettings
from vigil.arrays import Floats

_COMPONENTS = 0.25  # of the variance; None: all
_LEAST_RATIO = 1e-12


class DetectorScores(NamedTuple):
    """Scores of the rows that were learnt from [n], and of those to test on [m]."""

    train: Floats
    test: Floats


Detector = Callable[[LabelledTelemetry, int], DetectorScores]  # given the seed


def vigil_forest(over_time: str | None) -> Detector:
    """Return what `vigil train` fits to rows with these features; None: its default."""

    def score(telemetry: LabelledTelemetry, seed: int) -> DetectorScores:
        train, test = features_of(telemetry, over_time)
        settings = TrainSettings()
        forest = CompiledForest.compile(vigil_part(train, settings, seed))
        return DetectorScores(forest.score(train), forest.score(test))

    return score


@lru_cache(maxsize=1)
def features_of(telemetry: LabelledTelemetry, over_time: str | None) -> tuple[Floats, Floats]:
    """Return the rows of the model to learn from and to test on, as tables are read."""
    train, test = read_archived(
        telemetry.train,
        telemetry.test,
        telemetry.labels,
        over_time=over_time,
    )
    return train.X, test.X


def plain_forest(telemetry: LabelledTelemetry, seed: int) -> DetectorScores:
    """scikit-learn's isolation forest with its defaults."""
    estimator: Any = IsolationForest
    forest = estimator(random_state=seed).fit(telemetry.train)
    return DetectorScores(
        -forest.score_samples(telemetry.train), -forest.score_samples(telemetry.test)
    )


def weighted_pca(telemetry: LabelledTelemetry, seed: int) -> DetectorScores:
    """PCA as TSB-AD and PyOD have it: distances to the components, by their share of the variance.

    Shyu et al., A Novel Anomaly Detection Scheme Based on Principal Component Classifier, 2003.
    With the parameter that TSB-AD uses for tables of several features.
    """
    centre = telemetry.train.mean(axis=0)
    deviation = telemetry.train.std(axis=0)
    spread = np.where(deviation > 0, deviation, 1.0)
    standard = (telemetry.train - centre) / spread
    pca = PCA(_COMPONENTS if standard.shape[1] > 1 else None, svd_solver="full").fit(standard)
    weights = np.maximum(pca.explained_variance_ratio_, _LEAST_RATIO)

    def score(X: Floats) -> Floats:
        distances = cdist((X - centre) / spread, np.asarray(pca.components_))
        return (distances / weights).sum(axis=1)

    return DetectorScores(score(telemetry.train), score(telemetry.test))


def robust_z(telemetry: LabelledTelemetry, seed: int) -> DetectorScores:
    """The largest distance of a feature from its median, in robust standard deviations."""
    centre = np.median(telemetry.train, axis=0)
    spread = robust_spread(telemetry.train)

    def score(X: Floats) -> Floats:
        return np.abs((X - centre) / spread).max(axis=1)

    return DetectorScores(score(telemetry.train), score(telemetry.test))
