"""Signs that a column is no feature: its name, and what its first values look like."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from train.table.cells import parse_value
from train.table.csv_reader import NAMELESS, is_text
from train.table.values import ParsedColumn
from vigil.arrays import Floats

# Names as `_plain` makes them. Of several the first is the label.
LABEL_NAMES = (
    "label",
    "isanomaly",
    "anomaly",
    "anomalous",
    "isattack",
    "attack",
    "isoutlier",
    "outlier",
    "isfraud",
    "groundtruth",
    "changepoint",
    "class",
    "target",
    "labels",
    "y",
)
_ALSO_MEASURED = ("y", "anomaly", "class", "target")  # labels only where the values are classes
TIME_NAMES = ("timestamp", "time", "datetime", "date", "ts", "epoch", "unixtime", "eventtime")
INDEX_NAMES = ("index", "id", "idx", "row", "rowid", "rownumber", "rownum", "no", "#", "level0")
_LEAK_WORDS = ("label", "anomal", "attack", "outlier", "groundtruth", "isfraud")
_MAX_CLASSES = 20  # of labels that are no 0 and 1
_MIN_ROWS = 20  # fewer whole numbers may rise by chance


def label_rank(name: str) -> int:
    """Return the place of a name among those of labels."""
    return LABEL_NAMES.index(_plain(name))


def may_be_labels(name: str, values: ParsedColumn) -> bool:
    """Whether a column has the name of labels and, where that says little, values that are classes.

    Labels may still turn out to be others than 0 and 1.
    """
    plain = _plain(name)
    if plain not in LABEL_NAMES:
        return False
    return plain not in _ALSO_MEASURED or _are_classes(values)


def _are_classes(values: ParsedColumn) -> bool:
    given = values.numbers[~np.isnan(values.numbers)]
    is_few = len(np.unique(given)) <= _MAX_CLASSES
    return bool(values.is_wrong.any()) or (is_few and _are_whole(given))


def is_likely_leak(name: str) -> bool:
    """Whether a feature of this name may know the label."""
    plain = _plain(name)
    return plain in LABEL_NAMES or any(word in plain for word in _LEAK_WORDS)


def holds_dates(column: Any) -> bool:
    """Whether all values are dates with or without a time, as ISO 8601 has them."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    values = column.dropna()
    if not is_text(values) or not len(values) or not _may_be_date(values.iloc[0]):
        return False
    dates = pd.to_datetime(
        values,
        utc=True,
        errors="coerce",
        format="ISO8601",
    )
    return bool(dates.notna().all())


def _may_be_date(value: object) -> bool:
    return isinstance(value, date) or (isinstance(value, str) and parse_value(value) is None)


def counts_time(name: str, values: ParsedColumn) -> bool:
    """Whether numbers under the name of a time never fall."""
    if _plain(name) not in TIME_NAMES or values.is_wrong.any() or len(values.numbers) < 2:
        return False
    steps = np.diff(values.numbers)
    return bool((steps >= 0).all() and (steps > 0).any())


def numbers_rows(name: str, values: ParsedColumn) -> bool:
    """Whether values are the number of each row, under no name or one that says so."""
    numbers = values.numbers
    if not _are_whole(numbers):
        return False
    if name.startswith(NAMELESS):
        return _are_distinct(numbers)
    return _plain(name) in INDEX_NAMES and bool((np.diff(numbers) > 0).all())


def why_suspicious(name: str, values: ParsedColumn) -> str | None:
    """Return why a feature may be none: a leak, row numbers or an identifier."""
    if is_likely_leak(name):
        return "is named as labels are: the model may learn the answer"
    numbers = values.numbers
    if len(numbers) < _MIN_ROWS or not _are_whole(numbers):
        return None
    if (np.diff(numbers) == 1).all():
        return "rises by 1 with every row, as row numbers do"
    if _plain(name) in INDEX_NAMES and _are_distinct(numbers):
        return "has another whole number in every row, as identifiers do"
    return None


def _plain(name: str) -> str:
    """A name in small letters, without what stands between words."""
    return re.sub(r"[^a-z0-9#]", "", name.lower())


def _are_whole(numbers: Floats) -> bool:
    return bool((numbers == np.round(numbers)).all())


def _are_distinct(numbers: Floats) -> bool:
    return len(np.unique(numbers)) == len(numbers)
