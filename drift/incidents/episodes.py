"""What the desk hears of the watch's events: champions, episodes of drift, and data breaks.

An episode is one incident, however many features move and rows alert. So is each run of windows
whose data are broken.
"""

from __future__ import annotations

import numpy as np

from drift.events import ChampionFollowed, Event, Events, Transition, WindowJudged
from drift.incidents.desk import IncidentDesk
from drift.incidents.deviation import direction_of
from drift.incidents.incident import FeatureDeviation
from drift.incidents.live_rows import LiveRows
from drift.incidents.names import bounded_name
from drift.incidents.windows import BrokenFeature, BrokenWindow, DriftEpisode
from train.model.bundle import ModelBundle
from vigil.arrays import Floats

_OPEN_PHASES = ("collecting", "retraining")


def follow_events(desk: IncidentDesk, events: Events) -> LiveRows:
    """Have the desk hear of them; return the way of rows to it."""
    rows = LiveRows(desk)
    events.subscribe(rows.observe)
    events.subscribe(WindowIncidents(desk).observe)
    return rows


class WindowIncidents:
    """Subscribes to the watch's events, and tells the desk of episodes and data breaks."""

    def __init__(self, desk: IncidentDesk) -> None:
        self._desk = desk
        self._bundle: ModelBundle | None = None

    def observe(self, event: Event) -> None:
        """Begin an episode with its window, and end it with its transition.

        A data break begins with a broken window, and ends with one that is whole.
        """
        if isinstance(event, ChampionFollowed):
            self._bundle = event.bundle
        elif isinstance(event, WindowJudged):
            self._see_window(event)
            self._begin(event)
        elif isinstance(event, Transition):
            is_open = event.phase in _OPEN_PHASES
            self._desk.keep_episode(event.episode if is_open else None, event.at)

    def _see_window(self, event: WindowJudged) -> None:
        if self._bundle is None:
            return
        broken = None
        if event.verdict.kind == "data break":
            broken = _broken_window(self._bundle, event)
        self._desk.see_window(broken, event.at)

    def _begin(self, event: WindowJudged) -> None:
        episode = event.governor.episode
        if not event.is_onset or episode is None or self._bundle is None:
            return
        drift = DriftEpisode(
            id=episode,
            since=event.governor.since,
            severity=event.verdict.severity,
            version=event.version,
            features=_moved(self._bundle, event.verdict.features, event.rows),
        )
        self._desk.begin_episode(drift, event.at)


def _broken_window(bundle: ModelBundle, event: WindowJudged) -> BrokenWindow:
    verdict = event.verdict
    broken = [
        BrokenFeature(bounded_name(finding.feature), finding.statistic)
        for finding in verdict.findings
    ]
    return BrokenWindow(
        id=event.episode,
        since=event.since,
        severity=verdict.severity,
        version=event.version,
        broken=tuple(broken),
        features=_moved(bundle, verdict.features, event.rows),
    )


def _moved(
    bundle: ModelBundle, moved: tuple[str, ...], rows: Floats
) -> tuple[FeatureDeviation, ...]:
    """Medians of the window beside those of the reference; none where all values are missing."""
    deviations: list[FeatureDeviation] = []
    for name in moved:
        column = bundle.names.index(name)
        values = rows[:, column][np.isfinite(rows[:, column])]
        if len(values):
            expected = float(bundle.reference.median[column])
            deviations.append(_deviation(name, float(np.median(values)), expected))
    return tuple(deviations)


def _deviation(
    feature: str,
    observed: float,
    expected: float,
) -> FeatureDeviation:
    direction = direction_of(observed, expected)
    return FeatureDeviation(bounded_name(feature), observed, expected, direction)
