"""What must hold of the rows of a table before anything is learnt from them."""

from __future__ import annotations

from train.table.split_scan import ScanResult
from train.table.table import Table
from vigil.errors import DataError


def check_scanned(
    result: ScanResult,
    name: str,
    over_time: str,
) -> None:
    """Raise DataError for what was found in a table that no model can learn from."""
    train = result.sample.rows
    if result.rows and not len(train):
        raise DataError(
            f"{name}: none of its {result.rows} rows has as many before it as the transform "
            f"{over_time!r} looks back on"
        )
    check_columns(train, name)
    if result.test is not None:
        check_columns(result.test, name)
    _check_leak(result, name)


def check_columns(table: Table, name: str) -> None:
    """Raise DataError for a table without rows or features, or with two of one name."""
    n, d = table.X.shape
    if n == 0 or d == 0:
        raise DataError(f"{name} has {n} rows and {d} feature columns; both must be at least 1")
    if len(set(table.names)) != d:
        raise DataError(f"{name}: two columns have the same name")


def _check_leak(result: ScanResult, name: str) -> None:
    column = result.extremes.leaking_column() if result.extremes else None
    if column is not None:
        leak = result.raw_names[column]
        raise DataError(
            f"{name}: column {leak!r} tells the label: the model would learn the answer; "
            f"leave it out with --ignore '{leak}'",
            field=leak,
        )


def check_varies(rows: Table, name: str) -> None:
    """Raise DataError where all features are constant."""
    if not varies(rows):
        raise DataError(
            f"every feature of {name} is constant: there is nothing to learn; "
            "give rows in which one varies"
        )


def varies(rows: Table) -> bool:
    """Whether any feature of the rows is not constant."""
    return len(rows.constant) < len(rows.names)


def check_rows(rows: Table, name: str, least: int) -> None:
    """Raise DataError for a table of fewer rows than a tree is fitted to."""
    if len(rows) < least:
        raise DataError(
            f"{name} has {len(rows)} rows, fewer than max_samples={least}: give more rows, "
            "or set VIGIL_TRAIN_MAX_SAMPLES lower"
        )
