"""What drift windows say: an episode of drift, or a window that is broken. Each is an incident."""

from __future__ import annotations

import msgspec

from drift.incidents.incident import FeatureDeviation

MAX_FEATURES_OF_WINDOW = 20
MAX_NAMED_BROKEN = 5  # in a title


class DriftEpisode(msgspec.Struct, frozen=True):
    """An episode of the governor.

    since: when its drift began (Unix seconds); severity: 1 and above is drift
    features: that moved, the first most
    """

    id: str
    since: float
    severity: float
    version: str
    features: tuple[FeatureDeviation, ...] = ()

    @property
    def grade(self) -> float:
        return drift_grade(self.severity)


class BrokenFeature(msgspec.Struct, frozen=True):
    """A feature that is broken, and how: stuck, unit, sign, swapped or missing."""

    feature: str
    how: str


class BrokenWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window that was judged a data break.

    id: of its report; since: when its first row was seen (Unix seconds)
    broken: at least one; features: medians of those that have values
    """

    id: str
    since: float
    severity: float
    version: str
    broken: tuple[BrokenFeature, ...]
    features: tuple[FeatureDeviation, ...] = ()

    @property
    def grade(self) -> float:
        return drift_grade(self.severity)

    @property
    def title(self) -> str:
        named = [f"{one.feature} ({one.how})" for one in self.broken[:MAX_NAMED_BROKEN]]
        others = len(self.broken) - len(named)
        more = f" and {others} more" if others else ""
        return f"the data are broken in {', '.join(named)}{more}"


def drift_grade(severity: float) -> float:
    """Return the grade of a window: severity / (1 + severity), .5 where drift begins."""
    severity = max(0.0, severity)
    return severity / (1 + severity)
