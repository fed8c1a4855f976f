"""How long a canary has run, for who follows it."""

from __future__ import annotations

import time
from collections.abc import Callable

from train.registry.canary import Canary


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
        self._clock = clock
        self._seconds = seconds
        self._plan: Canary | None = None
        self._has_followed = False
        self._began = 0.0

    def follow(self, plan: Canary | None) -> None:
        """Take the canary that the registry has now."""
        if plan is not None and plan != self._plan:
            self._began = self._seconds() - self._run_before(plan)
        self._plan = plan
        self._has_followed = True

    def _run_before(self, plan: Canary) -> float:
        """Seconds for which it ran before it was seen."""
        if self._has_followed:
            return 0.0
        age_s = self._clock() - plan.started
        return min(max(age_s, 0.0), plan.duration_s)

    def elapsed_s(self) -> float:
        """Return the seconds for which the present canary runs."""
        return self._seconds() - self._began
