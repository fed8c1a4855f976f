"""Thresholds of entities: bounded, each by its own rows alone, and the same in parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.ensemble import IsolationForest

from train.model.entity_threshold import STATE_WIDTH, EntityThresholdRule
from train.model.forest import CompiledForest
from train.model.threshold import Threshold, to_alert_rate
from vigil.arrays import Floats

RULE = EntityThresholdRule(width=0.02, rate=0.01)
ENTITIES = 4
ROWS = 40
_MARGIN = st.floats(-1, 1)
_MARGINS = arrays.arrays(np.float64, ROWS, elements=_MARGIN)
_PLACES = arrays.arrays(np.int64, ROWS, elements=st.integers(0, ENTITIES - 1))
_LEARNS = arrays.arrays(bool, ROWS)


def new_state(entities: int = ENTITIES) -> Floats:
    return np.zeros((entities, STATE_WIDTH))


@given(_MARGINS, _PLACES, _LEARNS, st.integers(0, ROWS))
def test_rows_in_parts_have_the_thresholds_of_all_at_once(
    margins: Floats, places: np.ndarray, learns: np.ndarray, cut: int
) -> None:
    whole_state = new_state()
    whole = RULE.follow(margins, places, whole_state, learns)
    state = new_state()
    parts = [
        RULE.follow(margins[part], places[part], state, learns[part])
        for part in (slice(0, cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(state, whole_state)


@given(_MARGINS, _PLACES)
def test_an_entity_is_judged_by_its_own_rows_within_the_bound(
    margins: Floats, places: np.ndarray
) -> None:
    offsets = RULE.follow(margins, places, new_state())
    assert (np.abs(offsets) <= RULE.width).all()
    for entity in range(ENTITIES):
        own = places == entity
        alone = RULE.follow(margins[own], np.zeros(own.sum(), np.int64), new_state(1))
        np.testing.assert_array_equal(offsets[own], alone)
        assert (alone[:1] == 0).all()


def test_rows_that_teach_nothing_move_nothing() -> None:
    state = new_state(1)
    margins = np.ones(ROWS)
    offsets = RULE.follow(margins, np.zeros(ROWS, np.int64), state, np.zeros(ROWS, bool))
    assert not offsets.any()
    assert not state.any()


@pytest.mark.parametrize("spread", [0.002, 0.01])
def test_the_wanted_share_of_an_entity_comes_to_be_over_its_own_threshold(spread: float) -> None:
    """Of hosts of different noise: by one threshold they alert in all rows, or in none."""
    rule = EntityThresholdRule(width=0.05, rate=0.01)
    rng = np.random.default_rng(0)
    margins = rng.normal(0, spread, 40_000)
    offsets = rule.follow(margins, np.zeros(len(margins), np.int64), new_state(1))
    later = slice(10_000, None)
    assert 0.005 < (margins > offsets)[later].mean() < 0.02
    assert (margins > 0)[later].mean() > 0.4


def test_hosts_of_different_noise_alert_more_alike_and_more_odd_rows_are_found() -> None:
    """Twenty hosts of which the noisiest has four times the noise of the quietest, one forest."""
    rng = np.random.default_rng(0)
    noise = np.geomspace(0.5, 2.0, 20)
    known = np.concatenate([rng.normal(0, spread, (500, 3)) for spread in noise])
    fitted = IsolationForest(n_estimators=100, random_state=0).fit(known)
    forest = CompiledForest.compile(fitted)
    threshold = to_alert_rate(forest.score(known), 0.01)
    rates: dict[float, list[float]] = {0.0: [], 0.02: []}
    found = {0.0: 0, 0.02: 0}
    odd = np.arange(2500, 6000, 250)
    for spread in noise:
        X = rng.normal(0, spread, (6000, 3))
        X[odd] += 5 * spread
        margins = forest.score(X) - threshold.value
        for width in rates:
            rule = EntityThresholdRule(width, threshold.expected_rate)
            alerts = margins > rule.follow(margins, np.zeros(6000, np.int64), new_state(1))
            found[width] += int(alerts[odd].sum())
            rates[width].append(np.delete(alerts, odd)[2000:].mean())
    assert max(rates[0.02]) < 0.7 * max(rates[0.0])
    assert np.mean(rates[0.02]) < np.mean(rates[0.0])
    assert found[0.02] > found[0.0]


def test_an_anomaly_that_lasts_stays_over_the_bound() -> None:
    margins = np.full(20_000, 2 * RULE.width)
    offsets = RULE.follow(margins, np.zeros(len(margins), np.int64), new_state(1))
    assert (margins > offsets).all()


def test_the_rule_of_a_model_has_the_share_of_its_training_rows() -> None:
    threshold = Threshold(0.6, "alert_rate", 0.01, 0.008, entity_width=0.03)
    assert EntityThresholdRule.of(threshold) == EntityThresholdRule(0.03, 0.008)
