"""Parts of a batch of scored rows, and rows that can be reckoned with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import msgspec
import numpy as np

from drift.incidents.incident import ScoredRows
from drift.incidents.names import bounded_name

MAX_AHEAD_S = 300.0  # a row that says it is of later is of now: its clock is wrong


def without_first(rows: ScoredRows, count: int) -> ScoredRows:
    """Return the batch without its first `count` rows."""
    if not count:
        return rows
    return msgspec.structs.replace(
        rows,
        rows=rows.rows[count:],
        scores=rows.scores[count:],
        times=rows.times[count:],
        entities=_after(rows.entities, count),
        requests=_after(rows.requests, count),
        numbering=None if rows.numbering is None else rows.numbering[count:],
        limits=None if rows.limits is None else rows.limits[count:],
    )


def _after(names: list[str] | None, count: int) -> list[str] | None:
    return None if names is None else names[count:]


def with_sound_values(rows: ScoredRows) -> ScoredRows:
    """Return the batch with finite scores, and times that are not ahead of its arrival."""
    latest = rows.arrived + MAX_AHEAD_S
    is_sound = (rows.times >= 0) & (rows.times <= latest)
    times = np.where(is_sound, rows.times, rows.arrived)
    scores = np.nan_to_num(rows.scores, nan=-1.0)
    return msgspec.structs.replace(
        rows,
        times=times,
        scores=scores,
    )


def entity_of(rows: ScoredRows, row: int) -> str:
    """Return the name of the entity of a row, empty without one."""
    return _name_at(rows.entities, row)


def request_of(rows: ScoredRows, row: int) -> str:
    """Return the id of the request of a row, empty without one."""
    return _name_at(rows.requests, row)


def _name_at(names: Sequence[str] | None, row: int) -> str:
    if names is None:
        return ""
    return bounded_name(names[row])


def place_in_request(rows: ScoredRows, row: int) -> int:
    """Return which row of its request a row is, from 0 on."""
    if rows.numbering is not None:
        return int(rows.numbering[row, 0])
    if rows.requests is None:
        return 0
    return _run_before(rows.requests, row)


def _run_before(names: Sequence[str], place: int) -> int:
    """How many of the names right before a place are the one that stands there."""
    name = names[place]
    before = (names[other] for other in range(place - 1, -1, -1))
    same = takewhile(name.__eq__, before)
    return sum(1 for _ in same)
