"""How a transform is written: `baseline,calendar:Europe/Berlin,mean:10,residual`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from train.table.transform.local_time import check_zone
from vigil.errors import DataError

MAX_LOOKBACK_ROWS = 1440
DEFAULT_BASELINE_ROWS = 1000
DEFAULT_ZONE = "UTC"
_MAX_MEMORY_ROWS = 1_000_000
_MAX_DIRECTIONS = 256
_STEP = re.compile(r"\s*([a-z]+)(?::([\w./+-]{1,64}))?\s*")
ZONED_KINDS = ("calendar", "season")
# They have a column for each feature, of which `top` leaves the largest.
POOLED_KINDS = ("diff", "mean", "sd", "min", "max", "zscore", "ewm", "residual")
_ONCE = ("baseline", "residual", "rotate", "top")


class Step(NamedTuple):
    """One step of a transform.

    rows: that it is computed over; of `rotate` the directions, 0: as many as there are features;
    of `top` the columns of each kind;
    zone: of `calendar` and `season`, by its name in the time zone database
    """

    kind: str
    rows: int = 0
    zone: str = ""

    def __str__(self) -> str:
        argument = self._argument()
        return f"{self.kind}:{argument}" if argument else self.kind

    def _argument(self) -> str:
        return self.zone or (str(self.rows) if self.rows else "")


@dataclass(frozen=True)
class NumberArgument:
    """The number after the colon of a step; without a default it must be there."""

    least: int
    most: int
    default: int | None = None

    def admits(self, number: int) -> bool:
        return number == self.default or self.least <= number <= self.most


_WINDOW = NumberArgument(1, MAX_LOOKBACK_ROWS)
_NUMBERS = {
    "diff": _WINDOW,
    "mean": _WINDOW,
    "sd": _WINDOW,
    "min": _WINDOW,
    "max": _WINDOW,
    "zscore": NumberArgument(2, MAX_LOOKBACK_ROWS),
    "ewm": NumberArgument(1, _MAX_MEMORY_ROWS),
    "baseline": NumberArgument(50, _MAX_MEMORY_ROWS, DEFAULT_BASELINE_ROWS),
    "rotate": NumberArgument(1, _MAX_DIRECTIONS, 0),
    "residual": NumberArgument(1, 0, 0),
    "top": NumberArgument(1, _MAX_DIRECTIONS),
}
STEP_KINDS = (*_NUMBERS, *ZONED_KINDS)
_HINT = (
    "write steps with commas between: diff:N, mean:N, sd:N, min:N, max:N, zscore:N, ewm:N (rows), "
    "baseline or baseline:N, calendar or calendar:ZONE, season or season:ZONE, residual, rotate or "
    "rotate:DIRECTIONS, and top:N (the N largest of each)"
)


def parse_steps(text: str) -> tuple[Step, ...]:
    """Return the steps of a transform as the command line has it, such as `diff:1,mean:10,sd:10`.

    Raises DataError that says how to write them.
    """
    steps = tuple(_parse_step(word, text) for word in text.split(","))
    check_steps(steps)
    return steps


def check_steps(steps: Iterable[Step]) -> None:
    """Raise DataError for steps of an unknown kind, number or zone, or that are there twice."""
    seen: set[Step | str] = set()
    for step in steps:
        _check_step(step)
        key = _distinct(step)
        if key in seen:
            raise DataError(f"the transform has {key} twice: leave one out")
        seen.add(key)


def _distinct(step: Step) -> Step | str:
    """What a transform has once: of both steps that know hours there is one."""
    if step.kind in ZONED_KINDS:
        return " or ".join(ZONED_KINDS)
    return step.kind if step.kind in _ONCE else step


def _check_step(step: Step) -> None:
    if step.kind in ZONED_KINDS:
        check_zone(step.zone)
        return
    number = _NUMBERS.get(step.kind)
    if number is None:
        kinds = ", ".join(STEP_KINDS)
        raise DataError(f"step {step} of the transform: there are {kinds}")
    if step.zone or not number.admits(step.rows):
        raise DataError(f"step {step} of the transform: {_allowed(step.kind, number)}")


def _allowed(kind: str, number: NumberArgument) -> str:
    if number.most == 0:
        return f"write {kind} alone"
    return f"write {kind}:N with N from {number.least} to {number.most}"


def _parse_step(word: str, text: str) -> Step:
    match = _STEP.fullmatch(word)
    if match is None:
        raise DataError(f"transform {text!r}: {_HINT}")
    kind: str = match[1]
    argument: str | None = match[2]
    if kind in ZONED_KINDS:
        return Step(kind, zone=argument or DEFAULT_ZONE)
    number = _NUMBERS.get(kind)
    default = number.default if number else None
    if argument is None and default is not None:
        return Step(kind, default)
    if argument is None or not argument.isdecimal():
        raise DataError(f"transform {text!r}, {word.strip()!r}: {_HINT}")
    return Step(kind, int(argument))
