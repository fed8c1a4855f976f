"""The transform of a model: from raw rows to what a row is in the light of its entity and its time.

A transform is declared once and stored in the bundle. Training, the stream consumer, the service
and the backtest compute it by this one class. A point-wise forest cannot see that a value is
ordinary by itself and odd after the last ten, for this host, or on a Sunday night.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from train.table.transform.fitted import FittedSteps
from train.table.transform.grammar import ZONED_KINDS, Step, check_steps, parse_steps
from train.table.transform.layout import (
    CarriedPart,
    carried_parts,
    output_names,
    rows_before,
    rows_to_settle,
)
from train.table.transform.row_steps import RowSteps
from train.table.transform.windows import RowCounts, RowWindows
from vigil.arrays import Floats
from vigil.errors import DataError


@dataclass(frozen=True)
class FeatureTransform:
    """From the raw rows of an entity, oldest first, to the rows of the model.

    names: of the raw features, which the model gets first: as they are, or as their distance from
    what `baseline`, `calendar` or `season` expects. The columns of each step follow. fitted: what
    the steps have learnt in training
    """

    names: tuple[str, ...]
    steps: tuple[Step, ...]
    fitted: FittedSteps = field(default_factory=FittedSteps)

    def __post_init__(self) -> None:
        check_steps(self.steps)
        self.fitted.check(self.steps, len(self.names))
        if len(set(self.outputs)) < len(self.outputs):
            raise DataError("the transform makes two features of one name: rename a column")

    @classmethod
    def parse(
        cls,
        text: str,
        names: tuple[str, ...],
        fitted: FittedSteps | None = None,
    ) -> FeatureTransform:
        """Return the transform of the features `names` that `text` declares; see parse_steps."""
        return cls(names, parse_steps(text), fitted or FittedSteps())

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Features of the model: cpu, .., cpu:mean10, .."""
        return output_names(self.steps, self.names)

    @cached_property
    def length(self) -> int:
        """Earlier rows that steps look back on; of fewer they are computed over those there are."""
        return max(map(rows_before, self.steps), default=0)

    @cached_property
    def warming_rows(self) -> int:
        """Earlier rows of its entity that a row needs to be judged by; at least `length`."""
        return max(map(rows_to_settle, self.steps), default=0)

    @cached_property
    def needs_time(self) -> bool:
        """Whether a row cannot be transformed without its time."""
        return any(step.kind in ZONED_KINDS for step in self.steps)

    @cached_property
    def carried_parts(self) -> tuple[CarriedPart, ...]:
        """Where each step finds its numbers among those that an entity carries."""
        return carried_parts(self.steps, len(self.names))

    @cached_property
    def carried_width(self) -> int:
        """Numbers that an entity carries from row to row beside its last rows."""
        return sum(part.width for part in self.carried_parts)

    @cached_property
    def initial_carried(self) -> Floats:
        """What a new entity carries [carried_width]."""
        carried = np.zeros(self.carried_width)
        for part in self.carried_parts:
            if part.step.kind == "baseline":
                start = [self.fitted["baseline.level"], self.fitted["baseline.spread"]]
                carried[part.first + 1 : part.first + part.width] = np.concatenate(start)
        return carried

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
        carries after `past`, None: what follows from `past` for a new entity. Raises DataError
        where the transform needs times and there are none.
        """
        return self.follow(X, past, times, past_carried=past_carried)[0]

    def follow(
        self,
        X: Floats,
        past: Floats | None = None,
        times: Floats | None = None,
        *,
        past_carried: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Return what `apply` does, and what the entity carries after the rows [s]."""
        if past is None:
            past = np.empty((0, X.shape[1]))
        if past_carried is None:
            past_carried = self.advance(past)
        windows = RowWindows.of_stream(X, past, self.length)
        carried = past_carried[None, :].copy()
        entities = np.zeros(len(X), np.int64)
        rows = self._compute(windows, times, carried, entities)
        return rows, carried[0]

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
        rows, Unix seconds; carried [m, s]: what the entities carry before it, which is not changed.
        Raises DataError where the transform needs times and there are none.
        """
        cut = RowWindows.of_entities(windows, counts, self.length)
        after = self.new_carried(len(windows)) if carried is None else carried.copy()
        entities = np.arange(len(windows))
        return self._compute(cut, times, after, entities), after

    def new_carried(self, entities: int) -> Floats:
        """Return what so many new entities carry [entities, carried_width]."""
        return np.tile(self.initial_carried, (entities, 1))

    def advance(
        self,
        X: Floats,
        carried: Floats | None = None,
    ) -> Floats:
        """Return what an entity carries after consecutive rows `X` [n, d], given that before."""
        if carried is None:
            carried = self.initial_carried
        if not self.carried_width or not len(X):
            return carried
        after = carried[None, :].copy()
        windows = RowWindows.of_stream(X, X[:0], 0)
        self._steps(windows, None, after, np.zeros(len(X), np.int64)).walk()
        return after[0]

    def row(
        self,
        past: Floats,
        row: Floats,
        time: float | None = None,
    ) -> Floats:
        """Return the model's row [D] of one row [d] and those before it [k, d]."""
        times = None if time is None else np.array([time])
        return self.apply(row[None, :], past, times)[0]

    def warm(self) -> None:
        """Compile and run every kernel once, so that the first row does not."""
        features = len(self.names)
        rows = np.zeros((2, features))
        times = np.zeros(2)
        self.apply(rows, rows, times)
        windows = np.zeros((2, self.length + 1, features))
        self.apply_latest(windows, np.ones(2, np.int64), times)

    def _compute(
        self,
        windows: RowWindows,
        times: Floats | None,
        carried: Floats,
        entities: RowCounts,
    ) -> Floats:
        if self.needs_time and times is None:
            raise DataError(
                "the transform knows hours, and these rows have no time: name the column of "
                "times with --time, or send `time` with each row"
            )
        return self._steps(windows, times, carried, entities).columns()

    def _steps(
        self,
        windows: RowWindows,
        times: Floats | None,
        carried: Floats,
        entities: RowCounts,
    ) -> RowSteps:
        return RowSteps(
            steps=self.steps,
            fitted=self.fitted,
            parts=self.carried_parts,
            windows=windows,
            times=times,
            carried=carried,
            entities=entities,
        )
