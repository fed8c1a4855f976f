"""The transform of a model: what a row is compared with the rows before it.

A transform is declared once and stored in the bundle. Training, the stream consumer, the service
and the backtest compute it by this one class. A point-wise forest cannot see that a value is
ordinary by itself and odd after the last ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from train.table.transform import rolling
from train.table.transform.grammar import Step, check_steps, parse_steps
from train.table.transform.windows import RowCounts, RowWindows
from vigil.arrays import Floats

_STEPS = {
    "diff": rolling.rolling_diff,
    "mean": rolling.rolling_mean,
    "sd": rolling.rolling_sd,
    "min": rolling.rolling_min,
    "max": rolling.rolling_max,
}


@dataclass(frozen=True)
class FeatureTransform:
    """From the raw rows of an entity, oldest first, to the rows of the model.

    names: of the raw features, which the model gets as they are, followed by those of each step;
    steps: (kind, rows): `diff` to the row so many before; `mean`, `sd`, `min`, `max` over so many
    rows, the present one included
    """

    names: tuple[str, ...]
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        check_steps(self.steps)

    @classmethod
    def parse(
        cls,
        text: str,
        names: tuple[str, ...],
    ) -> FeatureTransform:
        """Return the transform of the features `names` that `text` declares; see parse_steps."""
        return cls(names, parse_steps(text))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Features of the model: cpu, .., cpu:mean10, .."""
        rolling_names = [f"{name}:{kind}{rows}" for kind, rows in self.steps for name in self.names]
        return (*self.names, *rolling_names)

    @cached_property
    def length(self) -> int:
        """Earlier rows that steps look back on; of fewer they are computed over those there are."""
        return max((_rows_before(step) for step in self.steps), default=0)

    @property
    def warming_rows(self) -> int:
        """Earlier rows of its entity that a row needs to be judged by; at least `length`."""
        return self.length

    @property
    def needs_time(self) -> bool:
        """Whether a row cannot be transformed without its time."""
        return False

    @property
    def carried_width(self) -> int:
        """Numbers that an entity carries from row to row beside its last rows."""
        return 0

    @cached_property
    def initial_carried(self) -> Floats:
        """What a new entity carries [carried_width]."""
        return np.zeros(self.carried_width)

    def apply(
        self,
        X: Floats,
        past: Floats | None = None,
        times: Floats | None = None,
        *,
        past_carried: Floats | None = None,
    ) -> Floats:
        """Return the model's rows [n, D] of consecutive rows `X` [n, d] of one entity.

        past [k, d]: the rows before them; times [n]: Unix seconds; past_carried: what the entity
        carries after `past`, None: what follows from `past` for a new entity
        """
        del times, past_carried  # no step takes them yet
        if past is None:
            past = np.empty((0, X.shape[1]))
        windows = RowWindows.of_stream(X, past, self.length)
        return self._features(windows)

    def apply_latest(
        self,
        windows: Floats,
        counts: RowCounts,
        times: Floats | None = None,
        carried: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Return the model's rows [m, D] of the present rows of m entities, and what they carry.

        It gives the bits that `apply` gives. windows [m, >= length + 1, d]: the rows of each
        entity, oldest first, the present one last; counts [m]: how many of them are real, the
        present one included: what lies before those may be anything; times [m]: of the present
        rows, Unix seconds; carried [m, s]: what the entities carry before it
        """
        del times
        if carried is None:
            carried = self.new_carried(len(windows))
        cut = RowWindows.of_entities(windows, counts, self.length)
        return self._features(cut), carried

    def new_carried(self, entities: int) -> Floats:
        """Return what so many new entities carry [entities, carried_width]."""
        return np.tile(self.initial_carried, (entities, 1))

    def advance(
        self,
        X: Floats,
        carried: Floats | None = None,
    ) -> Floats:
        """Return what an entity carries after consecutive rows `X` [n, d], given that before."""
        del X
        return self.initial_carried if carried is None else carried

    def row(
        self,
        past: Floats,
        row: Floats,
    ) -> Floats:
        """Return the model's row [D] of one row [d] and those before it [k, d]."""
        return self.apply(row[None, :], past)[0]

    def _features(self, windows: RowWindows) -> Floats:
        features = [windows.present]
        for kind, rows in self.steps:
            features.append(_STEPS[kind](windows, rows))
        return np.hstack(features)


def _rows_before(step: Step) -> int:
    kind, rows = step
    return rows if kind == "diff" else rows - 1
