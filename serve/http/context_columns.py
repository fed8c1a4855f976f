"""Entity and time of rows that are sent as columns of a table, by their names of training. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serve.http.row_context import check_context
from serve.model.report import RowContext
from train.table.cells import clean_name
from vigil.errors import InvalidFeatures

if TYPE_CHECKING:
    import pandas as pd

    from train.model.bundle import ModelBundle


@dataclass(frozen=True)
class ContextColumns:
    """Names of the columns that say whose a row is, and of when; None where there was none."""

    entity: str | None = None
    time: str | None = None

    @classmethod
    def of(cls, bundle: ModelBundle) -> ContextColumns:
        """Return the names that they had in the table that the model was trained on."""
        names = bundle.info.get("context_columns")
        if not isinstance(names, Mapping):
            return cls()
        return cls(names.get("entity"), names.get("time"))

    def take_from_rows(self, rows: list[Any]) -> tuple[RowContext | None, int]:
        """Take entity and time out of rows that are objects.

        Returns whose they are, and how many colons that is in their JSON, at least. Raises
        InvalidFeatures for a value that is none, and where some rows alone have one.
        """
        entities = _taken(rows, self.entity)
        times = _taken(rows, self.time)
        colons = _colons(entities) + _colons(times)
        return check_context(entities, times), colons

    def take_from_frame(self, frame: pd.DataFrame) -> RowContext | None:
        """Return whose the rows of a table are, by its columns; raises InvalidFeatures."""
        entities = _column(frame, self.entity)
        times = _column(frame, self.time)
        return check_context(entities, times)


def _taken(rows: list[Any], column: str | None) -> list[Any] | None:
    """The values of a column, which the rows lack then; None where it is not there."""
    name = _sent_name(rows, column)
    if name is None:
        return None
    values = [row.pop(name, None) if isinstance(row, dict) else None for row in rows]
    missing = next((row for row, value in enumerate(values) if value is None), None)
    if missing is not None:
        raise InvalidFeatures(
            f"row {missing}: {column!r} is missing, which the first row has",
            field=column or "",
            row=missing,
        )
    return values


def _sent_name(rows: list[Any], column: str | None) -> str | None:
    """The column as the first row names it, which may be with blanks around."""
    first = rows[0] if rows else None
    if column is None or not isinstance(first, dict):
        return None
    if column in first:
        return column
    return next((name for name in first if clean_name(name) == column), None)


def _colons(values: list[Any] | None) -> int:
    """Colons of the names and values of a column in the JSON of the rows."""
    if values is None:
        return 0
    return sum(1 + value.count(":") if isinstance(value, str) else 1 for value in values)


def _column(frame: pd.DataFrame, column: str | None) -> list[Any] | None:
    names = [clean_name(str(name)) for name in frame]
    if column not in names:
        return None
    values = frame.iloc[:, names.index(column)]
    return values.astype(object).where(values.notna(), "").tolist()
