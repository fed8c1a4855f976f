"""A threshold of each entity: the model's, moved by how often its own scores are over it.

By one threshold a noisy host alerts all day, and a quiet one never. The threshold of an entity
follows that quantile of its own scores that the model's was at in training, by stochastic
approximation (Robbins and Monro, 1951; of quantiles: Tierney, 1983): a row that is over it moves
it up, one that is not moves it down by so much less that it stays where the wanted share is over
it. It is a sketch of two numbers an entity, which forgets. It is never further than a bound from
the model's, so an anomaly that lasts cannot hide itself; an entity that is new begins at the
model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

from train.model.threshold import Threshold
from vigil.arrays import Flags, Floats

STATE_WIDTH = 2  # numbers of an entity: how far its threshold is from the model's, and rows seen
MEMORY_ROWS = 2000
_FIRST_ROWS = 100  # as which the first one of an entity counts: it moves the threshold little

EntityPlaces = NDArray[np.int64]  # [n]: the row of the state that a row belongs to


@dataclass(frozen=True)
class EntityThresholdRule:
    """How thresholds of entities follow their scores.

    width: how far one may be from the model's, in scores; rate: share of the rows of an entity that
    are to be over it
    """

    width: float
    rate: float

    @classmethod
    def of(cls, threshold: Threshold) -> EntityThresholdRule:
        """Return the rule of a model: entities are to alert as often as its training rows did."""
        return cls(threshold.entity_width, threshold.expected_rate)

    def follow(
        self,
        margins: Floats,
        places: EntityPlaces,
        state: Floats,
        learns: Flags | None = None,
    ) -> Floats:
        """Return how far the threshold of each row [n] is from the model's; then learn of the row.

        margins [n]: scores over the model's threshold, in the order of the rows; state [m, 2]: of
        the entities, zeros of a new one; it is changed; learns [n]: which rows teach something,
        None: all
        """
        offsets = np.empty(len(margins))
        if learns is None:
            learns = np.ones(len(margins), bool)
        _walk(
            np.ascontiguousarray(margins, np.float64),
            np.ascontiguousarray(places, np.int64),
            np.ascontiguousarray(learns, bool),
            state,
            self.width,
            self.rate,
            offsets,
        )
        return offsets


class EntityThresholds:
    """The thresholds of all entities of a history, of which rows come in their order."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._state = np.zeros((0, STATE_WIDTH))

    def limits(
        self,
        threshold: Threshold,
        scores: Floats,
        entities: Sequence[str],
    ) -> Floats:
        """Return the threshold of each row [n], then learn of its score."""
        for entity in entities:
            self._places.setdefault(entity, len(self._places))
        fresh = np.zeros((len(self._places) - len(self._state), STATE_WIDTH))
        self._state = np.concatenate([self._state, fresh])
        places = np.array([self._places[entity] for entity in entities], np.int64)
        margins = scores - threshold.value
        rule = EntityThresholdRule.of(threshold)
        return threshold.value + rule.follow(margins, places, self._state)


@njit(cache=True, nogil=True)
def _walk(  # pragma: no cover
    margins: Floats,
    places: EntityPlaces,
    learns: Flags,
    state: Floats,
    width: float,
    rate: float,
    offsets: Floats,
) -> None:
    for i in range(margins.shape[0]):
        own = state[places[i]]
        offset = min(max(own[0], -width), width)
        offsets[i] = offset
        if learns[i]:
            step = max(1.0 / (own[1] + _FIRST_ROWS), 1.0 / MEMORY_ROWS)
            is_over = 1.0 if margins[i] > offset else 0.0
            offset += step * (is_over - rate)
            own[0] = min(max(offset, -width), width)
            own[1] += 1.0
