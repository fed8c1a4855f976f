"""Which model scores which rows of a history: a registered version, or what the rows taught so far.

Without a version the first rows, the probation, train the first model. It is fitted anew as time
goes on, as on a platform with `scheduleHours`: no row is scored by a model that has seen it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from drift.incidents.backtest.history import History
from drift.incidents.backtest.threshold_rules import ThresholdRule
from drift.incidents.backtest.trainer import HistoryTrainer
from train.model.bundle import ModelBundle
from train.settings import TrainSettings
from train.table.category_counts import WordCounts
from train.table.cells import find_flaw
from train.table.split_scan import ModelFeatures
from train.table.table import Table
from train.table.transform.fitted import FittedSteps
from train.table.transform.fitting import fit_steps
from train.table.transform.grammar import Step, parse_steps
from vigil.arrays import Flags, Floats
from vigil.errors import DataError

DEFAULT_PROBATION = 0.2
DEFAULT_REFIT_HOURS = 24.0
MIN_GROWTH = 0.05  # of the rows since the last fit: fewer new ones change little
_HOUR_S = 3600.0
# Of the probation: later rows are learnt from, even if they look back on less than they could.
_UNSETTLED_SHARE = 0.25


class Stretch(NamedTuple):
    """Rows [n, d] from the `first`-th of a history on, and the model that scores them.

    is_judged [n]: rows that are not warming, None: all; live, a warming row alerts nobody
    """

    first: int
    X: Floats
    model: ModelBundle
    version: str
    is_judged: Flags | None = None

    @property
    def judged(self) -> NDArray[np.intp]:
        """Numbers of the rows that are judged."""
        if self.is_judged is None:
            return np.arange(len(self.X))
        return np.flatnonzero(self.is_judged)


class ModelSource(Protocol):
    """Says which model scores which rows of a history."""

    def stretches(self, history: History) -> Iterator[Stretch]:
        """Yield the rows that are scored, in their order. Raises DataError."""
        ...


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the registry, which scores all rows after the `probation`."""

    model: ModelBundle
    version: str
    probation: float = 0.0

    def stretches(self, history: History) -> Iterator[Stretch]:
        """Yield all rows at once.

        Raises DataError when they lack a feature of the model, or earlier rows.
        """
        rows, is_judged = self._features.compute(self._select(history))
        first = round(len(history) * self.probation)
        if not is_judged[first:].any():
            raise DataError(
                f"{history.name}: no row has as many before it as version {self.version} looks "
                "back on: give more rows"
            )
        yield Stretch(
            first,
            rows.X[first:],
            self.model,
            self.version,
            is_judged[first:],
        )

    @property
    def _names(self) -> tuple[str, ...]:
        """Features that the model takes."""
        return self.model.raw_names

    @property
    def _features(self) -> ModelFeatures:
        transform = self.model.transform
        if transform is None:
            return ModelFeatures(self._names, ())
        return ModelFeatures(self._names, transform.steps, transform.fitted)

    def _select(self, history: History) -> Table:
        table = history.table
        if self.model.categories is not None:
            table = self.model.categories.apply(table)
        missing = sorted(set(self._names) - set(table.names))
        if missing:
            names = ", ".join(missing)
            raise DataError(f"{history.name} lacks {names}, which version {self.version} takes")
        return self._filled(history.name, table.select(self._names))

    def _filled(self, name: str, rows: Table) -> Table:
        """The rows with what stands for missing values by the version's own policies."""
        imputation = self.model.imputation
        flaw = imputation.first_flaw(rows.X) if imputation else find_flaw(rows.X)
        if flaw is not None:
            raise DataError(
                f"{name}, row {flaw.row + 1}, column {rows.names[flaw.column]!r}: {flaw.reason}, "
                f"which version {self.version} does not take"
            )
        if imputation is None:
            return rows
        return replace(rows, X=imputation.fill(rows.X, rows.entities))


@dataclass(frozen=True)
class WalkForward:
    """Models that are fitted to the rows before those that they score.

    over_time: the transform; probation: share of the rows that the first model is fitted to;
    refit_hours: from fit to fit, 0: only one; rule: that makes thresholds, None: the alert budget
    """

    settings: TrainSettings
    rule: ThresholdRule | None = None
    over_time: str = ""
    probation: float = DEFAULT_PROBATION
    refit_hours: float = DEFAULT_REFIT_HOURS

    def stretches(self, history: History) -> Iterator[Stretch]:
        """Yield the rows after the probation, part by part.

        Raises DataError when the probation is too short to learn from.
        """
        history = self._with_numbers(history)
        trainer = self._trainer(history)
        model: ModelBundle | None = None
        for number, part in enumerate(self._parts(history), start=1):
            model = _fit(trainer, model, part.start)
            yield Stretch(
                part.start,
                trainer.X[part],
                model,
                f"fit {number}",
            )

    def _with_numbers(self, history: History) -> History:
        """The history with numbers for words, which are learnt from the probation alone."""
        table = history.table
        if not history.categories:
            return history
        counts = WordCounts(history.categories)
        counts.add(table.take(slice(0, self._probation_rows(history))))
        return replace(history, table=counts.codec().apply(table))

    def _trainer(self, history: History) -> HistoryTrainer:
        features = self._learn_features(history)
        rows, is_complete = features.compute(history.table)
        is_settled = np.arange(len(history)) >= self._probation_rows(history) * _UNSETTLED_SHARE
        return HistoryTrainer(
            history,
            X=rows.X,
            is_complete=is_complete | is_settled,
            names=features.names,
            transform=features.transform,
            settings=self.settings,
            rule=self.rule,
        )

    def _learn_features(self, history: History) -> ModelFeatures:
        """The transform, whose steps learn from the probation alone: no later row is known yet."""
        names = history.table.names
        if not self.over_time:
            return ModelFeatures(names, ())
        known = history.table.take(slice(0, self._probation_rows(history)))

        def sample(steps: tuple[Step, ...], fitted: FittedSteps) -> Table:
            features = ModelFeatures(
                names,
                steps,
                fitted,
                keeps_context=True,
            )
            rows, is_complete = features.compute(known)
            return rows.take(is_complete)

        steps = parse_steps(self.over_time)
        return ModelFeatures(names, steps, fit_steps(steps, sample, self.settings.seed))

    def _parts(self, history: History) -> Iterator[slice]:
        """Rows that one model scores."""
        first = self._probation_rows(history)
        while first < len(history):
            last = self._next_fit(history.times, first)
            yield slice(first, last)
            first = last

    def _probation_rows(self, history: History) -> int:
        rows = self._wanted_probation(history)
        if rows >= len(history):
            raise DataError(f"{history.name}: no row is left after the probation")
        return rows

    def _wanted_probation(self, history: History) -> int:
        return history.training_rows or round(len(history) * self.probation)

    def _next_fit(self, times: Floats, first: int) -> int:
        """The row before which the model is fitted anew, given the first that it scores."""
        if not self.refit_hours:
            return len(times)
        due_at = times[first] + self.refit_hours * _HOUR_S
        due = int(np.searchsorted(times, due_at))
        grown = int(first * (1 + MIN_GROWTH))
        return min(len(times), max(due, grown, first + 1))


def _fit(
    trainer: HistoryTrainer,
    former: ModelBundle | None,
    end: int,
) -> ModelBundle:
    if former is None:
        return trainer.fit_first(end)
    return trainer.refit(former, end)
