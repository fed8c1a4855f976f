"""One window against a reference, both from files, without debounce."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from drift.statistics import compare, compared_by_hour
from drift.verdict import Verdict, judge_window
from train.model.floors import Calibration
from train.model.reference import Reference, build_reference
from train.model.repeats import distinct_rows
from train.settings import TrainSettings
from train.table.categories import CategoryCodec
from train.table.dataset import Dataset, read_table
from train.table.row_making import RowMaking
from train.table.schema import Columns
from train.table.table import Table
from train.table.unix_times import reference_times
from vigil.errors import DataError
from vigil.json_types import JsonObject, without_none
from vigil.naming import name_differing


@dataclass(frozen=True)
class WindowCheck:
    """The verdict on a window, and what the floors promise that it was judged by.

    remarks: what people should know of the columns of the reference
    unknown: how many rows of the window have a word that the reference has not, by category; None
        where there are no categories
    """

    verdict: Verdict
    calibration: Calibration
    remarks: tuple[str, ...] = ()
    unknown: dict[str, int] | None = None

    def to_json(self) -> JsonObject:
        found = self.verdict.to_json() | {"calibration": asdict(self.calibration)}
        return found | without_none({"unknown_categories": self.unknown})


def check_window(
    reference: str,
    window: str,
    alpha: float,
    columns: Columns | None = None,
) -> WindowCheck:
    """Judge the table `window` against the table `reference`.

    Both are read as `vigil train` reads tables, and may have their columns in any order. `alpha`
    is the family-wise significance. Raises DataError.
    """
    known = read_table(reference, columns=columns)
    world = known.train
    read = _read_window(window, columns, known.categories)
    live = _in_order_of(world, read.train)
    live = live.take(distinct_rows(live.X))
    built = _reference(world, len(live))
    categories = known.categories
    statistics = compare(built, live.X)
    verdict = judge_window(
        built,
        statistics,
        alpha,
        by_hour=compared_by_hour(built, statistics, live.X, reference_times(live)),
        of_words=None if categories is None else categories.are_of_words(world.names),
    )
    unknown = None if categories is None else categories.unknown_counts(read.train.X)
    return WindowCheck(
        verdict,
        built.calibration,
        known.remarks,
        unknown=unknown,
    )


def _read_window(
    window: str,
    columns: Columns | None,
    categories: CategoryCodec | None,
) -> Dataset:
    """The rows of a window, with the numbers that words have in the reference."""
    making = None if categories is None else RowMaking(categories.outputs, categories=categories)
    return read_table(
        window,
        columns=columns,
        allow_missing=True,
        making=making,
    )


def _in_order_of(world: Table, live: Table) -> Table:
    differing = name_differing(world.names, live.names)
    if differing:
        raise DataError(f"the tables differ in {differing}")
    return live.select(world.names)


def _reference(world: Table, rows: int) -> Reference:
    """The reference for a window of so many rows; it has no scores, as there is no model."""
    settings = TrainSettings()
    return build_reference(
        world.X,
        world.names,
        np.zeros(1),
        window_rows=min(settings.window_rows, rows),
        budget=settings.drift_budget,
        times=reference_times(world),
    )
