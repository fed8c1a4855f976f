"""What the steps of a transform learn from the rows of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from train.model.distances import robust_spread
from train.table.table import Table
from train.table.transform.calendar import CALENDAR_NAMES, fit_levels
from train.table.transform.fitted import FittedSteps, directions
from train.table.transform.grammar import POOLED_KINDS, ZONED_KINDS, Step, parse_steps
from train.table.transform.linear import fit_residual, fit_rotation
from train.table.transform.local_time import hour_of_week, local_seconds
from train.table.transform.pooling import fit_spreads
from train.table.unix_times import LEAST_DATE_S, unix_seconds
from vigil.arrays import Floats
from vigil.errors import DataError, UnfitTransform

SampleRows = Callable[[tuple[Step, ...], FittedSteps], Table]
_MIN_ENTITY_ROWS = 8  # to tell its spread by
_FLOOR = 0.05  # of the typical spread of an entity


def fit_steps(
    steps: tuple[Step, ...],
    sample: SampleRows,
    seed: int,
) -> FittedSteps:
    """Return what `steps` learn.

    `sample` gives rows with times and entities, as given steps with what these have learnt make
    them: the first d columns take the place of the raw features. A baseline is learnt first, all
    else from rows that are scaled by it. Raises DataError for rows without what a step needs.
    """
    fitted = FittedSteps()
    first = _of_kinds(steps, "baseline")
    if first:
        fitted |= fit_baseline(_some(sample((), fitted)))
    later = _of_kinds(steps, *ZONED_KINDS, "residual", "rotate")
    if later:
        fitted |= _fit_to_rows(later, _some(sample(first, fitted)), seed)
    if _of_kinds(steps, "top"):
        fitted |= _fit_top(steps, sample, fitted)
    return fitted


def _fit_top(
    steps: tuple[Step, ...],
    sample: SampleRows,
    fitted: FittedSteps,
) -> dict[str, Floats]:
    """The spreads of all columns of which the largest are left.

    The other steps are asked for in this order: columns of each feature, then the rest.
    """
    pooled = _of_kinds(steps, *POOLED_KINDS)
    rest = tuple(step for step in steps if step not in pooled and step.kind != "top")
    rows = _some(sample((*pooled, *rest), fitted))
    columns = len(rows.names) - _columns_of(rest, fitted)
    learnt = fit_spreads(rows.X[:, :columns])
    return {f"top.{name}": array for name, array in learnt.items()}


def _columns_of(steps: tuple[Step, ...], fitted: FittedSteps) -> int:
    """How many columns steps have that are not those of features."""
    columns = 0
    for step in steps:
        if step.kind == "calendar":
            columns += len(CALENDAR_NAMES)
        if step.kind == "rotate":
            columns += fitted["rotate.weights"].shape[1]
    return columns


def _some(rows: Table) -> Table:
    if len(rows):
        return rows
    raise DataError(
        "no row has as many before it as the transform looks back on: its steps have nothing to "
        "learn from"
    )


def _of_kinds(steps: tuple[Step, ...], *kinds: str) -> tuple[Step, ...]:
    return tuple(step for step in steps if step.kind in kinds)


def fit_baseline(rows: Table) -> dict[str, Floats]:
    """Return level and spread of an entity that is new, and the least spread of any."""
    spreads = [robust_spread(X) for X in _by_entity(rows)]
    typical = np.median(spreads, axis=0) if spreads else robust_spread(rows.X)
    return {
        "baseline.level": np.median(rows.X, axis=0),
        "baseline.spread": robust_spread(rows.X),
        "baseline.floor": _FLOOR * typical,
    }


def _by_entity(rows: Table) -> Iterator[Floats]:
    for _, numbers in rows.by_entity():
        if len(numbers) >= _MIN_ENTITY_ROWS:
            yield rows.X[numbers]


def _fit_to_rows(
    steps: tuple[Step, ...],
    rows: Table,
    seed: int,
) -> dict[str, Floats]:
    arrays: dict[str, Floats] = {}
    X = rows.X
    for step in _of_kinds(steps, *ZONED_KINDS):
        local = local_seconds(table_times(rows), step.zone)
        levels = fit_levels(X, local)
        arrays[f"{step.kind}.level"] = levels
        X = X - levels[hour_of_week(local)]
    for step in _of_kinds(steps, "residual", "rotate"):
        learnt = _fit_linear(step, X, seed)
        arrays |= {f"{step.kind}.{name}": array for name, array in learnt.items()}
    return arrays


def _fit_linear(
    step: Step,
    X: Floats,
    seed: int,
) -> dict[str, Floats]:
    if step.kind == "residual":
        return fit_residual(X)
    return fit_rotation(X, directions(step, X.shape[1]), seed)


def check_fits(over_time: str, rows: Table) -> None:
    """Raise UnfitTransform where `over_time` needs what the first `rows` of a table lack."""
    if _of_kinds(parse_steps(over_time), *ZONED_KINDS):
        table_times(rows)


def table_times(rows: Table) -> Floats:
    """Return the times of rows for a calendar, as Unix seconds.

    Raises UnfitTransform where there are none, and where they are no dates.
    """
    if rows.times is None:
        raise UnfitTransform(
            "the transform knows hours, and the table has no column of times: name it with --time, "
            "or leave `calendar` or `season` out"
        )
    times = unix_seconds(rows.times)
    if len(times) and times.max() < LEAST_DATE_S:
        raise UnfitTransform(
            "the transform knows hours, and the times of the table are no dates: give them as "
            "ISO 8601 or as seconds since 1970, or leave `calendar` or `season` out"
        )
    return times
