"""Traits of the columns of a reference: what tells one from another, and where it rests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.model.column_costs import ORDERED, QuantileGrid
from train.model.rests import KEPT_RESTS, Rests
from vigil.arrays import Floats

MIN_SEPARATION = 0.1  # of less two columns, or the signs of one, are alike


@dataclass(frozen=True)
class ColumnTraits:
    """What tells the d columns of a reference apart, where there are not too many; else d is 0.

    steps           [k, d]     differences from row to row, each column sorted
    step_floors     [d]        KS distances of them up to here are ordinary
    separation      [2, d, d]  how much worse two columns fit each other's places than their own,
                               in the block of the reference where that is least: with the steps,
                               and without
    sign_separation [2, d]     how much worse a column fits with its sign turned
    rest_values     [f, 3]     values at which each of all features rests longest
    rest_runs       [f, 3]     most rows in sequence at them
    """

    steps: Floats
    step_floors: Floats
    separation: Floats
    sign_separation: Floats
    rest_values: Floats
    rest_runs: Floats

    @cached_property
    def step_grid(self) -> QuantileGrid:
        columns = np.ascontiguousarray(self.steps.T)
        return QuantileGrid.of(list(columns))

    @cached_property
    def rests(self) -> Rests:
        return Rests(self.rest_values, self.rest_runs)

    @property
    def separated(self) -> int:
        """How many columns were compared with each other: all, or none."""
        return len(self.step_floors)

    def tells_apart(self, i: int, j: int) -> bool:
        """Return whether no block of the reference shows the two columns to be alike."""
        if not self.separated:
            return False
        return bool(self.separation[ORDERED, i, j] >= MIN_SEPARATION)

    def tells_sign(self, j: int) -> bool:
        """Return whether no block shows the column to be like itself with its sign turned."""
        if not self.separated:
            return False
        return bool(self.sign_separation[ORDERED, j] >= MIN_SEPARATION)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by their names, which are those in a bundle."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in _NAMES}

    def fits(self, features: int) -> bool:
        """Return whether these are sound traits of so many features."""
        is_of_all = self.separated in (0, features)
        return is_of_all and self._has_shapes(features) and self._has_values()

    def _has_shapes(self, features: int) -> bool:
        found = {name: array.shape for name, array in self.arrays().items()}
        steps = found.pop("steps")
        has_steps = len(steps) == 2 and steps[0] > 0 and steps[1] == self.separated
        return has_steps and found == self._shapes(features)

    def _shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays but the steps, by name."""
        d = self.separated
        return {
            "step_floors": (d,),
            "separation": (2, d, d),
            "sign_separation": (2, d),
            "rest_values": (features, KEPT_RESTS),
            "rest_runs": (features, KEPT_RESTS),
        }

    def _has_values(self) -> bool:
        are_finite = [np.isfinite(array).all() for array in self.arrays().values()]
        is_sorted = np.diff(self.steps, axis=0) >= 0
        are_counts = self.rest_runs >= 0
        return all(are_finite) and bool(is_sorted.all() and are_counts.all())

    def with_prior(self, prior: ColumnTraits) -> ColumnTraits:
        """Return traits that promise no more than those of the reference before.

        A short window of new rows may by chance not show how alike two columns can be.
        """
        rests = self.rests.joined(prior.rests)
        step_floors = np.maximum(self.step_floors, prior.step_floors)
        separation = np.minimum(self.separation, prior.separation)
        sign_separation = np.minimum(self.sign_separation, prior.sign_separation)
        return replace(
            self,
            step_floors=step_floors,
            separation=separation,
            sign_separation=sign_separation,
            rest_values=rests.values,
            rest_runs=rests.runs,
        )


_NAMES = tuple(field.name for field in fields(ColumnTraits))


def traits_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> ColumnTraits | None:
    """Return the inverse of `ColumnTraits.arrays`; None for a bundle that knows none."""
    if "steps" not in arrays:
        return None
    return ColumnTraits(**{name: arrays[name] for name in _NAMES})
