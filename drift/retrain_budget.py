"""How many retrainings, and how many seconds of them, the last 24 hours leave. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drift.settings import DriftSettings

DAY_S = 86_400.0
Retrains = tuple[tuple[float, float], ...]
"""Retrainings: when each began (Unix seconds), and how many seconds it took."""


@dataclass(frozen=True)
class RetrainBudget:
    """What is allowed in 24 hours, and the seconds of each retraining that they have had."""

    retrains: int
    seconds: float
    spent: list[float]

    @classmethod
    def of(
        cls,
        retrains: Retrains,
        now: float,
        settings: DriftSettings,
    ) -> RetrainBudget:
        """Return the budget at `now`, after these retrainings."""
        yesterday = now - DAY_S
        spent = [seconds for start, seconds in retrains if start > yesterday]
        return cls(
            settings.max_retrains_per_day,
            settings.max_retrain_seconds_per_day,
            spent,
        )

    @property
    def retrains_left(self) -> int:
        return max(0, self.retrains - len(self.spent))

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.seconds - sum(self.spent))

    def used_up(self) -> str | None:
        """Return which part of it is used up, for people; None while there is some of each."""
        if self.retrains_left == 0:
            return f"the budget of {self.retrains} retrainings a day is used up"
        if self.seconds_left == 0:
            return f"the budget of {self.seconds:g} s of retraining a day is used up"
        return None


def not_after(now: float, retrains: Retrains) -> Retrains:
    """Return the retrainings, none of which has begun after `now`."""
    return tuple((min(start, now), seconds) for start, seconds in retrains)
