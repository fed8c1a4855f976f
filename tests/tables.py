"""Labelled tables: two small ones that are here, and real ones where there are some."""

from __future__ import annotations

import os
from pathlib import Path

from train.table.dataset import Dataset, read_table
from train.table.schema import Columns

_TESTS = Path(__file__).parent
SMALL_TABLES = tuple(_TESTS / "data" / name for name in ("telemetry.csv", "tabular.csv"))
LABELLED = Columns(label="label")


def real_data_folder() -> Path:
    """Return where real tables are, if they are: `VIGIL_TEST_DATA`."""
    return Path(os.environ.get("VIGIL_TEST_DATA", _TESTS.parents[1] / "shared" / "data"))


def labelled_tables() -> list[Path]:
    """Return the small tables and all real ones."""
    return [*SMALL_TABLES, *sorted(real_data_folder().glob("*/*.npz"))]


def read_labelled(table: Path) -> Dataset:
    """Return the rows and labels of one of them."""
    return read_table(table, columns=LABELLED if table.suffix == ".csv" else None)
