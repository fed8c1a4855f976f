"""Who watches over a canary: one that the monitor has stopped, or that nobody guards, is over."""

from __future__ import annotations

from serve.model.loader import Clock
from train.registry.canary import Canary


class CanaryWatchdog:
    """What the monitor said last; after `timeout_s` without a word of it no canary may run."""

    def __init__(self, timeout_s: float, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._heard_at = float("-inf")
        self._stopped = 0.0  # the canary that it has stopped, by its start

    def confirm(self, stopped: float | None) -> None:
        """The monitor is there, and has stopped the canary that began at `stopped`."""
        self._heard_at = self._clock()
        if stopped is not None:
            self._stopped = stopped

    def allows(self, plan: Canary) -> bool:
        """Whether a canary may run by this plan."""
        is_guarded = self._clock() - self._heard_at < self._timeout_s
        return is_guarded and plan.started != self._stopped
