"""Tumbling windows over the live rows: bounded, in arrival order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from drift.settings import DriftSettings
from serve.model.report import CapturedRows
from train.table.captured import CapturedWindows
from train.table.numbering import Numbering
from vigil.arrays import Flags, Floats
from vigil.home import Home

MIN_PART = 5  # an unfinished window is judged when it has a fifth of its rows


@dataclass(frozen=True)
class Window:
    """`rows` [size, d], their anomaly `scores` [size] and the `requests` [size] that brought them.

    numbering: [size, 2], which row of its request each is, of how many
    limits: [size], the threshold of each row, NaN where it is the model's
    times: [size], of the rows (Unix seconds), NaN where they are not said
    since: when the first of them arrived (Unix seconds)
    """

    rows: Floats
    scores: Floats
    requests: list[str]
    numbering: Numbering
    limits: Floats
    times: Floats
    since: float

    def alerts(self, threshold: float) -> Flags:
        """Return which of the rows alert; `threshold` is that of the model."""
        limits = np.where(np.isnan(self.limits), threshold, self.limits)
        return self.scores > limits

    @classmethod
    def joined(cls, parts: Sequence[CapturedRows], since: float) -> Window:
        return cls(
            rows=np.concatenate([part.rows for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            requests=list(chain.from_iterable(part.requests for part in parts)),
            numbering=np.concatenate([part.number_rows() for part in parts]),
            limits=np.concatenate(list(map(_limits, parts))),
            times=np.concatenate(list(map(_times, parts))),
            since=since,
        )


def _limits(part: CapturedRows) -> Floats:
    if part.limits is None:
        return np.full(len(part.scores), np.nan)
    return part.limits


def _times(part: CapturedRows) -> Floats:
    if part.context is None or part.context.times is None:
        return np.full(len(part.scores), np.nan)
    return np.array(part.context.times, np.float64)


class TumblingWindow:
    """Collects rows and hands out full windows of `size` rows; holds less than one at any time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._since = 0.0
        self._clear()

    def _clear(self) -> None:
        self._parts: list[CapturedRows] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, batch: CapturedRows, now: float) -> list[Window]:
        """Add rows that arrived at `now`; return the windows that they complete."""
        full: list[Window] = []
        begin = 0
        while begin < len(batch.rows):
            end = begin + self.size - len(self)
            part = batch.part(slice(begin, end))
            self._append(part, now)
            full += self._finish_full()
            begin = end
        return full

    def _append(self, part: CapturedRows, now: float) -> None:
        if not len(self):
            self._since = now
        self._parts.append(part)
        self._count += len(part.rows)

    def _finish_full(self) -> list[Window]:
        """The window, if it is full."""
        is_full = len(self) == self.size
        return [self._finish()] if is_full else []

    def _finish(self) -> Window:
        """The window as it is; the next one begins."""
        window = Window.joined(self._parts, self._since)
        self._clear()
        return window

    def flush_if_older_than(self, age_s: float, now: float) -> Window | None:
        """Return the unfinished window when it is older at `now` (Unix seconds), and begin anew.

        None when it is younger, or has too few rows to say anything.
        """
        self._since = min(self._since, now)  # the clock may have gone back
        is_old = self._since < now - age_s
        return self._finish() if is_old and self._says_something else None

    @property
    def _says_something(self) -> bool:
        return len(self) >= max(1, self.size // MIN_PART)


def open_captured_windows(settings: DriftSettings) -> CapturedWindows:
    """Return the windows that are kept, in the home or where the settings say."""
    folder = settings.captured_url or Home(settings.home).captured
    return CapturedWindows(folder, settings.keep_windows)
