"""When the time of a retraining is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from drift.governor import Governor
from vigil.steady import ClockPair


class RetrainingDeadline:
    """Counts seconds that never jump, from when this process first saw the retraining.

    Of one that a former process began, the time that has passed by the clock counts too: so it is
    not given its whole time anew.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clocks = ClockPair(clock, seconds)
        self._episode: str | None = None
        self._began = 0.0

    def of(self, state: Governor, timeout_s: float) -> float:
        """Return when it is over, in `seconds`."""
        if state.episode != self._episode:
            self._began = self._clocks.began(state.retraining_since, timeout_s)
            self._episode = state.episode
        return self._began + timeout_s
