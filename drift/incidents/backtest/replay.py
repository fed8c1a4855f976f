"""History through the tracker of incidents, as the monitor feeds it with live rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from drift.incidents.backtest.history import History, TimeRange
from drift.incidents.backtest.stretches import ModelSource, Stretch
from drift.incidents.deviation import RowDescriber
from drift.incidents.incident import Incident, IncidentChange, ScoredRows
from drift.incidents.silences import Silence
from drift.incidents.tracker import IncidentTracker
from drift.settings import DriftSettings
from train.model.entity_threshold import EntityThresholds
from train.model.threshold import Threshold
from vigil.arrays import Floats

REPLAY_BATCH_ROWS = 10_000


class OpenedIncident(NamedTuple):
    """An incident as it was at last, and when people would have been told that it is there."""

    incident: Incident
    opened_at: float


class ScoreCurve(NamedTuple):
    """Scores [n] at their times [n], and the threshold of each."""

    times: Floats
    scores: Floats
    thresholds: Floats


@dataclass(frozen=True)
class HistoryReplay:
    """What became of the rows of a history that were scored.

    suppressed: rows that alerted and count for nothing, by why
    """

    name: str
    curve: ScoreCurve
    incidents: tuple[OpenedIncident, ...]
    suppressed: Mapping[str, int]

    @property
    def rows(self) -> int:
        return len(self.curve.times)

    @property
    def period(self) -> TimeRange:
        first, last = self.curve.times[[0, -1]]
        return TimeRange(float(first), float(last))

    @property
    def alerts(self) -> Floats:
        """Times of the rows over the threshold."""
        curve = self.curve
        return curve.times[curve.scores > curve.thresholds]

    @property
    def alert_rate(self) -> float:
        """Share of the rows over the threshold."""
        return len(self.alerts) / self.rows


def replay_history(
    history: History,
    source: ModelSource,
    settings: DriftSettings,
    silences: Sequence[Silence] = (),
) -> HistoryReplay:
    """Score, alert, group and suppress the rows of a history.

    Raises DataError for rows that the models cannot score.
    """
    tracker = IncidentTracker(settings)
    tracker.silences.follow_calendar(silences)
    recorder = _Recorder(tracker)
    for stretch in source.stretches(history):
        recorder.take(stretch, history)
    return recorder.finish(history.name)


class _Recorder:
    """Feeds a tracker, and keeps what it says."""

    def __init__(self, tracker: IncidentTracker) -> None:
        self._tracker = tracker
        self._incidents: dict[str, OpenedIncident] = {}
        self._curves: list[ScoreCurve] = []
        self._thresholds = EntityThresholds()

    def take(self, stretch: Stretch, history: History) -> None:
        """Have the rows of a stretch watched."""
        describe = RowDescriber(stretch.model)
        for batch in _batches(stretch, history):
            rows = self._with_limits(batch, stretch.model.threshold)
            self._keep_curve(rows)
            self._keep_incidents(self._tracker.observe(rows, describe))

    def _with_limits(self, rows: ScoredRows, threshold: Threshold) -> ScoredRows:
        """The rows with the thresholds of their entities, where the model knows of such."""
        if rows.entities is None or not threshold.entity_width:
            return rows
        limits = self._thresholds.limits(
            threshold,
            rows.scores,
            rows.entities,
        )
        return msgspec.structs.replace(rows, limits=limits)

    def _keep_curve(self, rows: ScoredRows) -> None:
        self._curves.append(ScoreCurve(rows.times, rows.scores, _thresholds(rows)))

    def _keep_incidents(self, changes: Sequence[IncidentChange]) -> None:
        for change in changes:
            incident = change.incident
            self._incidents[incident.id] = OpenedIncident(incident, self._opened_at(change))

    def _opened_at(self, change: IncidentChange) -> float:
        former = self._incidents.get(change.incident.id)
        return change.at if former is None else former.opened_at

    def finish(self, name: str) -> HistoryReplay:
        """Close what is open, and say what was seen."""
        self._keep_incidents(self._tracker.tick(np.inf))
        incidents = sorted(self._incidents.values(), key=_onset)
        return HistoryReplay(
            name=name,
            curve=_join_curves(self._curves),
            incidents=tuple(incidents),
            suppressed=dict(self._tracker.suppressed),
        )


def _batches(stretch: Stretch, history: History) -> Iterator[ScoredRows]:
    """The rows of a stretch that are judged with their scores, as replicas report them."""
    scores = stretch.model.forest.score(stretch.X)
    judged = stretch.judged
    for begin in range(0, len(judged), REPLAY_BATCH_ROWS):
        part = judged[begin : begin + REPLAY_BATCH_ROWS]
        yield _batch(
            stretch,
            history,
            part,
            scores=scores[part],
        )


def _batch(
    stretch: Stretch,
    history: History,
    part: NDArray[np.intp],
    *,
    scores: Floats,
) -> ScoredRows:
    places = stretch.first + part
    times = history.times[places]
    return ScoredRows(
        version=stretch.version,
        threshold=stretch.model.threshold.value,
        names=stretch.model.names,
        rows=stretch.X[part],
        scores=scores,
        times=times,
        arrived=float(times[-1]),
        entities=_entities(history, places),
    )


def _entities(history: History, places: NDArray[np.intp]) -> list[str] | None:
    entities = history.table.entities
    return None if entities is None else list(map(str, entities[places]))


def _thresholds(rows: ScoredRows) -> Floats:
    """That of each row: of its entity, or the model's."""
    if rows.limits is not None:
        return rows.limits
    return np.full_like(rows.scores, rows.threshold)


def _join_curves(curves: Sequence[ScoreCurve]) -> ScoreCurve:
    return ScoreCurve(*map(np.concatenate, zip(*curves, strict=True)))


def _onset(opened: OpenedIncident) -> tuple[float, str]:
    return opened.incident.onset, opened.incident.id
