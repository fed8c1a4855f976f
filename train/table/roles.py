"""Which columns are no features: as the caller says, or as the first rows of the table show.

Nothing is taken for a label, for the time or for row numbers in silence: each has a remark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from train.table.cells import clean_name
from train.table.csv_reader import NAMELESS
from train.table.role_signs import (
    counts_time,
    holds_dates,
    label_rank,
    may_be_labels,
    numbers_rows,
    why_suspicious,
)
from train.table.schema import Columns, Schema, infer_schema, read_schema_file
from train.table.values import ParsedColumn, parse_column
from train.table.words import DeclaredCategory
from vigil.errors import DataError

_CHANGE = "--label, --time, --entity, --ignore and --columns say it otherwise"


@dataclass(frozen=True)
class TableRoles:
    """The columns of a table by their roles.

    columns: what the caller said, with what was recognised; unused: all that are no features;
    is_time_told: a time that the caller named must rise, one that was recognised may fall;
    remarks: what was taken for what, and warnings, for people; categories: features that are words
    """

    columns: Columns
    unused: tuple[str, ...] = ()
    is_time_told: bool = True
    remarks: tuple[str, ...] = ()
    categories: tuple[DeclaredCategory, ...] = ()

    @property
    def context_columns(self) -> dict[str, str | None]:
        """Names of the columns that say whose a row is, and of when; None where there is none."""
        return {"entity": self.columns.entity, "time": self.columns.time}


def recognise_roles(
    head: pd.DataFrame,
    columns: Columns,
    file: str,
) -> TableRoles:
    """Return the roles of the columns, given the first rows of the table.

    A saved schema knows its features; what the caller says is not asked again. Raises DataError
    for a column that is not there, has two roles, or has no name.
    """
    told = clean_columns(columns)
    _check_ignored(told, head, file)
    recognition = _Recognition(head, told, read_schema_file(told))
    schema = infer_schema(list(head), recognition.columns, file)
    _check_named(schema, told, head, file=file)
    return TableRoles(
        recognition.columns,
        tuple(name for name in head if name not in schema.features),
        is_time_told=recognition.time is None,
        remarks=tuple(_remarks(recognition, schema, Path(file).name)),
        categories=schema.categories,
    )


def clean_columns(columns: Columns) -> Columns:
    """Return what the caller says with names as tables have them."""
    features = columns.features
    return replace(
        columns,
        label=_cleaned(columns.label),
        time=_cleaned(columns.time),
        entity=_cleaned(columns.entity),
        features=None if features is None else tuple(map(clean_name, features)),
        ignore=tuple(map(clean_name, columns.ignore)),
    )


def _cleaned(name: str | None) -> str | None:
    return None if name is None else clean_name(name)


def _check_ignored(told: Columns, head: pd.DataFrame, file: str) -> None:
    for name in told.ignore:
        if name not in head:
            names = ", ".join(head)
            raise DataError(f"{file} has no column {name!r}; it has {names}", field=name)


def _check_named(
    schema: Schema,
    told: Columns,
    head: pd.DataFrame,
    *,
    file: str,
) -> None:
    for name in schema.features:
        if name.startswith(NAMELESS) and name not in told.named:
            number = list(head).index(name) + 1
            raise DataError(
                f"{file}: column {number} has no name, and does not number the rows: name it, or "
                f"leave it out with --ignore '{name}'",
                field=name,
            )


@dataclass(frozen=True)
class _Recognition:
    """What the first rows show of the columns of which nobody has said anything."""

    head: pd.DataFrame
    told: Columns
    saved: Schema | None

    @cached_property
    def columns(self) -> Columns:
        """What was told, with what is recognised."""
        return replace(
            self.told,
            label=self.told.label or self.label,
            time=self.told.time or self.time,
            ignore=(*self.told.ignore, *self.left_out),
        )

    @cached_property
    def label(self) -> str | None:
        """The label, where it is not told: of several columns that may be it the likeliest."""
        is_told = self.told.label or (self.saved and self.saved.label)
        return None if is_told else next(iter(self._labels), None)

    @cached_property
    def time(self) -> str | None:
        """The first column of times, where it is not told which one is."""
        is_told = self.told.time or (self.saved and self.saved.time)
        return None if is_told else next(iter(self._times), None)

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Columns that are neither learnt from nor have a role, and why."""
        if self.told.features is not None:
            return {}
        reasons = {
            **dict.fromkeys(self._labels, "labels"),
            **dict.fromkeys(self._times, "times"),
            **dict.fromkeys(self._row_numbers, "row numbers"),
        }
        has_role = (self.label, self.time)
        return {name: reason for name, reason in reasons.items() if name not in has_role}

    @cached_property
    def _open(self) -> tuple[str, ...]:
        """Columns that may have any role."""
        saved = self.saved.used if self.saved else ()
        settled = {*self.told.named, *saved}
        return tuple(name for name in self.head if name not in settled)

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        labels = [name for name in self._open if may_be_labels(name, self.parsed(name))]
        return tuple(sorted(labels, key=label_rank))

    @cached_property
    def _times(self) -> tuple[str, ...]:
        others = (name for name in self._open if name not in self._labels)
        return tuple(filter(self._is_time, others))

    def _is_time(self, name: str) -> bool:
        return holds_dates(self._column(name)) or counts_time(name, self.parsed(name))

    @cached_property
    def _row_numbers(self) -> tuple[str, ...]:
        others = [name for name in self._open if name not in (*self._labels, *self._times)]
        return tuple(name for name in others if numbers_rows(name, self.parsed(name)))

    def parsed(self, name: str) -> ParsedColumn:
        return parse_column(self._column(name))

    def _column(self, name: str) -> Any:
        """The column; of two with one name, which are refused later, the first."""
        column = self.head[name]
        return column.iloc[:, 0] if isinstance(column, pd.DataFrame) else column


def _remarks(recognition: _Recognition, schema: Schema, file: str) -> Iterator[str]:
    """What was taken for what in one line, and a line for each feature that is odd."""
    roles = list(_roles_in_words(recognition))
    if roles:
        yield f"{file}: {'; '.join(roles)} ({_CHANGE})"
    if recognition.told.features is not None:
        return
    for name in schema.numbers:
        why = why_suspicious(name, recognition.parsed(name))
        if why:
            yield f"warning: {file}: feature {name!r} {why}; --ignore '{name}' leaves it out"


def _roles_in_words(recognition: _Recognition) -> Iterator[str]:
    if recognition.label:
        yield f"{recognition.label!r} is taken for the label (1 = anomaly)"
    if recognition.time:
        yield f"{recognition.time!r} is taken for the time"
    for name, reason in recognition.left_out.items():
        yield f"{name!r} is left out ({reason})"
