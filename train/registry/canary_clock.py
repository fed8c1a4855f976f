"""How long a canary has run, for who follows it."""

from __future__ import annotations

import time
from collections.abc import Callable

from train.registry.canary import Canary
from vigil.steady import ClockPair


class CanaryClock:
    """Counts seconds that never jump, from when the present canary was first seen.

    Who sees it come counts from nothing, whatever time it says that it was started at. Who begins
    while it runs goes by that time, within its steps.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clocks = ClockPair(clock, seconds)
        self._plan: Canary | None = None
        self._has_followed = False
        self._began = 0.0

    def follow(self, plan: Canary | None) -> None:
        """Take the canary that the registry has now."""
        if plan is not None and plan != self._plan:
            self._began = self._began_at(plan)
        self._plan = plan
        self._has_followed = True

    def _began_at(self, plan: Canary) -> float:
        if self._has_followed:
            return self._clocks.seconds()
        return self._clocks.began(plan.started, plan.duration_s)

    def elapsed_s(self) -> float:
        """Return the seconds for which the present canary runs."""
        return self._clocks.seconds() - self._began
