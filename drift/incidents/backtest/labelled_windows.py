"""Labelled windows: times in which something was wrong, to judge incidents by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drift.incidents.backtest.history import History, TimeRange
from vigil.errors import DataError
from vigil.terminal import say
from vigil.timestamps import parse_iso_time

Windows = tuple[TimeRange, ...]
_FORM = "write a list of [first, last] times, or an object of such lists by file name"


class WindowFile:
    """The windows of a JSON file: one list for all series, or lists by file name.

    A name may have a folder before it, as in Numenta's combined_windows.json, and an ending.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = _read_json(path)
        self.is_by_name = isinstance(content, dict)
        self._of_all: Windows = ()
        self._of_name: Mapping[str, Windows] = {}
        if self.is_by_name:
            self._of_name = self._parse_by_name(content)
        else:
            self._of_all = self._parse(content)

    def of(self, name: str) -> Windows | None:
        """Return the windows of a series; None where nothing is said of it."""
        if not self.is_by_name:
            return self._of_all
        if name not in self._of_name:
            say(f"{self._path} says nothing of {name}: its incidents are not judged")
        return self._of_name.get(name)

    def _parse_by_name(self, content: Mapping[str, Any]) -> dict[str, Windows]:
        return {Path(name).stem: self._parse(value) for name, value in content.items()}

    def _parse(self, value: Any) -> Windows:
        if not isinstance(value, list):
            raise self._malformed(value)
        return tuple(map(self._parse_window, value))

    def _parse_window(self, value: Any) -> TimeRange:
        if not isinstance(value, list) or len(value) != 2:
            raise self._malformed(value)
        first, last = map(parse_moment, value)
        if last < first:
            raise DataError(f"{self._path}: a window ends before it begins: {value}")
        return TimeRange(first, last)

    def _malformed(self, value: Any) -> DataError:
        text = repr(value)
        return DataError(f"{self._path} is no file of windows, it has {text:.100}: {_FORM}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error


def parse_moment(value: Any) -> float:
    """Return Unix seconds, given these or an ISO 8601 time, which is UTC where it has no zone.

    Raises DataError.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return _parse_iso(str(value))


def _parse_iso(text: str) -> float:
    try:
        return parse_iso_time(text)
    except ValueError:
        raise DataError(
            f"{text!r:.100} is not a time: write 2026-01-31T13:00:00, or Unix seconds"
        ) from None


def windows_of_labels(history: History) -> Windows | None:
    """Return the runs of rows that are labelled as anomalies; None without labels."""
    labels = history.table.labels
    if labels is None:
        return None
    edges = np.flatnonzero(np.diff(labels, prepend=0, append=0))
    firsts = history.times[edges[::2]]
    lasts = history.times[edges[1::2] - 1]
    return tuple(map(TimeRange, firsts.tolist(), lasts.tolist()))
