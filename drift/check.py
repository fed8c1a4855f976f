"""One window against a reference, both from files, without debounce."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from drift.statistics import compare
from drift.verdict import Verdict, judge_window
from train.model.floors import Calibration
from train.model.reference import Reference, build_reference
from train.model.repeats import distinct_rows
from train.settings import TrainSettings
from train.table.dataset import read_table
from train.table.schema import Columns
from train.table.table import Table
from vigil.errors import DataError
from vigil.json_types import JsonObject


@dataclass(frozen=True)
class WindowCheck:
    """The verdict on a window, and what the floors promise that it was judged by.

    remarks: what people should know of the columns of the reference
    """

    verdict: Verdict
    calibration: Calibration
    remarks: tuple[str, ...] = ()

    def to_json(self) -> JsonObject:
        return self.verdict.to_json() | {"calibration": asdict(self.calibration)}


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
    live = _in_order_of(world, read_table(window, columns=columns, allow_missing=True).train)
    live = live.take(distinct_rows(live.X))
    built = _reference(world, len(live))
    verdict = judge_window(built, compare(built, live.X), alpha)
    return WindowCheck(verdict, built.calibration, known.remarks)


def _in_order_of(world: Table, live: Table) -> Table:
    odd = set(world.names) ^ set(live.names)
    if odd:
        raise DataError(f"the tables differ in {', '.join(sorted(odd))}")
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
    )
