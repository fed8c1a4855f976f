"""Seconds that nobody sets, beside the clock that people set."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

if sys.platform == "linux":

    def steady_seconds() -> float:
        """Return seconds that never jump, time that the machine slept included.

        `time.monotonic` leaves that out: who slept would take a lease for its own that is over.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    steady_seconds = time.monotonic


@dataclass(frozen=True)
class ClockPair:
    """A clock that says what time it is, and `seconds` that never jump."""

    clock: Callable[[], float] = time.time
    seconds: Callable[[], float] = time.monotonic

    def began(self, started: float, most_s: float) -> float:
        """Return, in `seconds`, when something began that did so at `started` by the clock.

        At most `most_s` ago, and not later than now: clocks of two machines differ.
        """
        age_s = self.clock() - started
        return self.seconds() - min(max(age_s, 0.0), most_s)
