"""The steps of a transform, computed for n rows in windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from train.table.transform import rolling
from train.table.transform.calendar import calendar_columns
from train.table.transform.carried import walk_baseline, walk_ewm
from train.table.transform.fitted import FittedSteps
from train.table.transform.grammar import POOLED_KINDS, ZONED_KINDS, Step
from train.table.transform.layout import CarriedPart, columns_of_top, has_columns
from train.table.transform.linear import project_centred
from train.table.transform.local_time import Seconds, hour_of_week, local_seconds
from train.table.transform.pooling import largest_deviations
from train.table.transform.windows import RowCounts, RowWindows
from vigil.arrays import Floats

_RollingStep = Callable[[RowWindows, int], Floats]
# What lies where the values do, such as a mean, is told as its distance from what is expected.
_LEVELS: dict[str, _RollingStep] = {
    "mean": rolling.rolling_mean,
    "min": rolling.rolling_min,
    "max": rolling.rolling_max,
}
# What is a distance itself is told in spreads of the entity.
_WIDTHS: dict[str, _RollingStep] = {
    "diff": rolling.rolling_diff,
    "sd": rolling.rolling_sd,
}


@dataclass(frozen=True)
class RowSteps:
    """Computes the columns of the model for the present rows of `windows`, n of them.

    parts: where steps find their numbers in `carried` [m, s], which is moved on by the rows;
    times [n]: Unix seconds; entities [n]: the row of `carried` that each row belongs to
    """

    steps: tuple[Step, ...]
    fitted: FittedSteps
    parts: tuple[CarriedPart, ...]
    windows: RowWindows
    times: Floats | None
    carried: Floats
    entities: RowCounts

    def columns(self) -> Floats:
        """Return the rows of the model [n, D]."""
        columns = [self._present]
        most = columns_of_top(self.steps, self._present.shape[1])
        if most:
            columns.append(self._largest(self._present, 0, most))
        group = 0
        for step in filter(has_columns, self.steps):
            values = self._column(step)
            if most and step.kind in POOLED_KINDS:
                group += 1
                values = self._largest(values, group, most)
            columns.append(values)
        return np.hstack(columns)

    def _largest(
        self,
        values: Floats,
        group: int,
        most: int,
    ) -> Floats:
        """The largest deviations of the columns of one kind, the `group`-th that was learnt of."""
        features = values.shape[1]
        own = slice(group * features, (group + 1) * features)
        return largest_deviations(
            values,
            self.fitted["top.centre"][own],
            self.fitted["top.spread"][own],
            most,
        )

    def walk(self) -> None:
        """Move on what the entities carry."""
        for part in self.parts:
            if part.step.kind == "baseline":
                assert self._scale
            else:
                self._ewm(part.step)

    @cached_property
    def _raw(self) -> Floats:
        """The present rows; a copy, for a kernel is compiled for one layout."""
        return self.windows.present.copy()

    @cached_property
    def _present(self) -> Floats:
        """The present rows, as their distance from what is expected, where something is."""
        return self._from_level(self._raw)

    def _column(self, step: Step) -> Floats:
        kind = step.kind
        if kind in _LEVELS:
            return self._from_level(_LEVELS[kind](self.windows, step.rows))
        if kind in _WIDTHS:
            return self._in_spreads(_WIDTHS[kind](self.windows, step.rows))
        if kind == "zscore":
            return rolling.rolling_zscore(self.windows, step.rows)
        if kind == "ewm":
            return self._from_level(self._ewm(step))
        if kind == "calendar":
            return calendar_columns(self._local)
        return project_centred(
            self._present,
            self.fitted[f"{kind}.centre"],
            self.fitted[f"{kind}.weights"],
        )

    def _from_level(self, values: Floats) -> Floats:
        if self._scale is not None:
            level, spread = self._scale
            values = (values - level) / spread
        if self._hourly_level is not None:
            values = values - self._hourly_level
        return values

    def _in_spreads(self, values: Floats) -> Floats:
        if self._scale is None:
            return values
        return values / self._scale[1]

    @cached_property
    def _scale(self) -> tuple[Floats, Floats] | None:
        """Level and spread [n, d] of each row's entity before it, where there is a baseline."""
        part = self._part_of("baseline")
        if part is None:
            return None
        level = np.empty_like(self._raw)
        spread = np.empty_like(self._raw)
        state = self._carried_by(part)
        walk_baseline(
            self._raw,
            self.entities,
            state,
            float(part.step.rows),
            self.fitted["baseline.floor"],
            level,
            spread,
        )
        self._carry(part, state)
        return level, spread

    def _ewm(self, step: Step) -> Floats:
        part = next(part for part in self.parts if part.step == step)
        mean = np.empty_like(self._raw)
        state = self._carried_by(part)
        walk_ewm(
            self._raw,
            self.entities,
            state,
            float(step.rows),
            mean,
        )
        self._carry(part, state)
        return mean

    @cached_property
    def _hourly_level(self) -> Floats | None:
        """Level [n, d] of the hour of the week of each row, where a step knows it."""
        if self._zoned is None:
            return None
        levels = self.fitted[f"{self._zoned.kind}.level"]
        return levels[hour_of_week(self._local)]

    @cached_property
    def _local(self) -> Seconds:
        assert self._zoned is not None
        assert self.times is not None
        return local_seconds(self.times, self._zoned.zone)

    @property
    def _zoned(self) -> Step | None:
        """The step that knows hours, if there is one."""
        zoned = (step for step in self.steps if step.kind in ZONED_KINDS)
        return next(zoned, None)

    def _part_of(self, kind: str) -> CarriedPart | None:
        parts = (part for part in self.parts if part.step.kind == kind)
        return next(parts, None)

    def _carried_by(self, part: CarriedPart) -> Floats:
        """What a step finds in what is carried: a copy as well."""
        return self.carried[:, part.columns].copy()

    def _carry(self, part: CarriedPart, state: Floats) -> None:
        self.carried[:, part.columns] = state
