"""How a transform is written: `diff:1,mean:10,sd:10`."""

from __future__ import annotations

import re

from vigil.errors import DataError

STEP_KINDS = ("diff", "mean", "sd", "min", "max")
MAX_LOOKBACK_ROWS = 1440
_STEP = re.compile(r"\s*([a-z]+):(\d{1,5})\s*")

Step = tuple[str, int]  # (kind, rows)


def parse_steps(text: str) -> tuple[Step, ...]:
    """Return the steps of a transform as the command line has it, such as `diff:1,mean:10,sd:10`.

    Raises DataError that says how to write them.
    """
    steps = tuple(_parse_step(word, text) for word in text.split(","))
    check_steps(steps)
    return steps


def check_steps(steps: tuple[Step, ...]) -> None:
    """Raise DataError for steps of an unknown kind or length, and for one that is there twice."""
    for kind, rows in steps:
        if kind not in STEP_KINDS or not 1 <= rows <= MAX_LOOKBACK_ROWS:
            kinds = ", ".join(STEP_KINDS)
            raise DataError(
                f"step {kind}:{rows} of the transform: use {kinds}, 1 to {MAX_LOOKBACK_ROWS} rows"
            )
    if len(set(steps)) != len(steps):
        raise DataError("the transform has a step twice")


def _parse_step(word: str, text: str) -> Step:
    match = _STEP.fullmatch(word)
    if match is None:
        kinds = ", ".join(STEP_KINDS)
        raise DataError(
            f"transform {text!r}: write it as diff:1,mean:10,sd:10 ({kinds}, and a number of rows)"
        )
    return match[1], int(match[2])
