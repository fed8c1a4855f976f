"""What the steps of a transform make and need: names, rows before, numbers carried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from train.table.transform.calendar import CALENDAR_NAMES
from train.table.transform.carried import WARMING_ROWS
from train.table.transform.fitted import directions
from train.table.transform.grammar import POOLED_KINDS, ZONED_KINDS, Step

_LEVEL_KINDS = ("baseline", *ZONED_KINDS)
_OVER_WINDOWS = ("diff", "mean", "sd", "min", "max", "zscore")


class CarriedPart(NamedTuple):
    """Where a step finds its numbers among those that an entity carries."""

    step: Step
    first: int
    width: int

    @property
    def columns(self) -> slice:
        """Its columns of what is carried."""
        return slice(self.first, self.first + self.width)


def is_over_window(step: Step) -> bool:
    """Whether a step looks back on rows that are kept."""
    return step.kind in _OVER_WINDOWS


def has_columns(step: Step) -> bool:
    """Whether a step adds columns; the others change what all columns are told as."""
    return step.kind not in ("baseline", "season", "top")


def rows_before(step: Step) -> int:
    """Return the earlier rows that a step looks back on."""
    if not is_over_window(step):
        return 0
    return step.rows if step.kind == "diff" else step.rows - 1


def rows_to_settle(step: Step) -> int:
    """Return the earlier rows of an entity that a step needs to mean what it says."""
    if step.kind == "baseline":
        return WARMING_ROWS
    if step.kind == "ewm":
        return step.rows
    return rows_before(step)


def output_names(steps: Iterable[Step], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the features of the model: cpu, .., cpu:mean10, .."""
    steps = tuple(steps)
    outputs = list(_level_names(steps, names))
    largest = columns_of_top(steps, len(names))
    if largest:
        outputs += _top_names("", largest)
    for step in steps:
        is_pooled = largest and step.kind in POOLED_KINDS
        outputs += _top_names(_kind_of(step), largest) if is_pooled else _names_of(step, names)
    return tuple(outputs)


def columns_of_top(steps: Iterable[Step], features: int) -> int:
    """Return how many columns `top` leaves of each kind of d features; 0 where there is none."""
    asked = [step.rows for step in steps if step.kind == "top"]
    return min(*asked, features) if asked else 0


def _top_names(kind: str, columns: int) -> Iterator[str]:
    prefix = f"{kind}:" if kind else ""
    return (f"{prefix}top{number + 1}" for number in range(columns))


def _level_names(steps: tuple[Step, ...], names: tuple[str, ...]) -> Iterator[str]:
    """The raw features, or what takes their place: their distance from what is expected."""
    suffix = _level_suffix(steps)
    return (f"{name}{suffix}" for name in names)


def _level_suffix(steps: tuple[Step, ...]) -> str:
    kinds = [step.kind for step in steps]
    return "".join(f":{kind}" for kind in _LEVEL_KINDS if kind in kinds)


def _names_of(step: Step, names: tuple[str, ...]) -> Iterable[str]:
    if not has_columns(step):
        return ()
    if step.kind == "calendar":
        return CALENDAR_NAMES
    if step.kind == "rotate":
        return [f"rotate:{number + 1}" for number in range(directions(step, len(names)))]
    return [f"{name}:{_kind_of(step)}" for name in names]


def _kind_of(step: Step) -> str:
    return f"{step.kind}{step.rows or ''}"


def carried_parts(steps: Iterable[Step], features: int) -> tuple[CarriedPart, ...]:
    """Return the parts of what an entity carries, one after the other."""
    parts: list[CarriedPart] = []
    first = 0
    for step in steps:
        width = _carried_width(step, features)
        if width:
            parts.append(CarriedPart(step, first, width))
            first += width
    return tuple(parts)


def _carried_width(step: Step, features: int) -> int:
    widths = {"baseline": 1 + 2 * features, "ewm": 1 + features}
    return widths.get(step.kind, 0)
