"""VUS-PR against the figures of TSB-AD 1.5 for the same labels and scores."""

import numpy as np
import pytest

from tests.bench.vus import DEFAULT_WINDOW, period_of, vus_pr


def series(rows: int, seed: int, anomalies: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros(rows, np.int64)
    for first, end in anomalies:
        labels[first:end] = 1
    noise = np.random.default_rng(seed).normal(size=rows)
    return labels, np.round(noise + labels, 1)  # many scores are equal


@pytest.mark.parametrize(
    ("rows", "anomalies", "window", "expected"),
    [
        (300, [(50, 60), (150, 190)], 20, 0.4245250508808991),
        (400, [(0, 10), (20, 25), (380, 400)], 15, 0.35957814309742603),
        (260, [(100, 130)], 0, 0.3497577454704514),
    ],
)
def test_the_volume_is_that_of_its_authors_library(
    rows: int, anomalies: list[tuple[int, int]], window: int, expected: float
) -> None:
    seed = {300: 0, 400: 1, 260: 2}[rows]
    labels, scores = series(rows, seed, anomalies)
    assert vus_pr(labels, scores, window) == pytest.approx(expected, abs=1e-12)


def test_scores_that_are_the_labels_have_all_the_volume_there_is() -> None:
    labels, _ = series(300, 0, [(50, 60)])
    assert vus_pr(labels, labels.astype(float), 0) == 1.0


def test_the_period_is_that_of_the_series() -> None:
    rows = np.arange(2000)
    assert period_of(np.sin(2 * np.pi * rows / 50)) == 50
    assert period_of(np.ones(2000)) == DEFAULT_WINDOW
