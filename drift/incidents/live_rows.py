"""Captured rows of replicas as scored rows, once it is known what their features are."""

from __future__ import annotations

from collections import deque

import numpy as np

from drift.events import ChampionFollowed, Event
from drift.incidents.desk import IncidentDesk
from drift.incidents.deviation import Describe, RowDescriber
from drift.incidents.incident import ScoredRows
from serve.model.report import CapturedRows, RowContext
from train.model.bundle import ModelBundle
from vigil.arrays import Flags, Floats

MAX_WAITING_BATCHES = 100


def scored_rows(
    batch: CapturedRows,
    bundle: ModelBundle,
    now: float,
) -> ScoredRows | None:
    """Return a batch with the names of the champion's features; None where it has others.

    Rows alert by the threshold of the model that scored them. An older replica does not say that:
    then by the champion's.
    """
    count, features = batch.rows.shape
    if features != len(bundle.names):
        return None
    context = batch.context or RowContext()
    threshold = batch.threshold
    arrived = now if batch.captured is None else batch.captured
    return ScoredRows(
        version=batch.version,
        threshold=bundle.threshold.value if threshold is None else threshold,
        names=bundle.names,
        rows=batch.rows,
        scores=batch.scores,
        times=_times(context, count, arrived),
        arrived=arrived,
        entities=context.entities,
        requests=batch.requests,
        numbering=batch.number_rows(),
        limits=batch.limits,
    )


def _times(
    context: RowContext,
    count: int,
    arrived: float,
) -> Floats:
    """When each row is of; where that is not known, when it arrived."""
    if context.times is None:
        return np.full(count, arrived)
    return np.array(context.times, np.float64)


class LiveRows:
    """Rows of replicas on their way to the desk.

    Those that come before the champion is known wait, so that they can be described.
    """

    def __init__(self, desk: IncidentDesk, max_waiting: int = MAX_WAITING_BATCHES) -> None:
        self._desk = desk
        self._bundle: ModelBundle | None = None
        self._describe: Describe | None = None
        self._waiting: deque[tuple[CapturedRows, float]] = deque(maxlen=max_waiting)

    def observe(self, event: Event) -> None:
        """Describe rows by the champion that is followed from now on, those that wait first."""
        if not isinstance(event, ChampionFollowed):
            return
        self._bundle = event.bundle
        self._describe = RowDescriber(event.bundle)
        while self._waiting:
            self.take(*self._waiting.popleft())

    def take(self, batch: CapturedRows, now: float) -> Flags:
        """Hand a batch to the desk; return which of its rows [n] lie in a silence."""
        nothing = np.zeros(len(batch.rows), bool)
        if self._bundle is None or self._describe is None:
            self._waiting.append((batch, now))
            return nothing
        rows = scored_rows(batch, self._bundle, now)
        if rows is None:
            return nothing
        self._desk.observe(rows, self._describe)
        return self._desk.silenced(rows)
