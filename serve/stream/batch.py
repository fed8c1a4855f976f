"""One batch of records through the model: decode, leave out what came before, score."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from serve.metrics import StreamMetrics
from serve.stream.records import (
    DeadLetter,
    DecodedRecords,
    Id,
    RawRecord,
    RecentIds,
    RecordBatch,
    Result,
    dead_letter,
    decode,
)
from serve.stream.scorer import Backoff, BatchScores, Busy, Refused, Scorer
from serve.stream.shard import OwnedShard, RefusedResult
from vigil.arrays import Floats

log = logging.getLogger("vigil.stream")
_T = TypeVar("_T")


class ConsumerStopped(Exception):
    """The consumer was stopped while the service was busy: the batch is read again later."""


class ModelChanged(Exception):
    """The model has other features than when the batch was decoded."""


@dataclass
class BatchOutcome:
    """What became of the records of a batch; `duplicates` came before.

    sources: the records of the results, by their ids
    """

    results: list[Result] = field(default_factory=list)
    sources: dict[Id, RawRecord] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    duplicates: int = 0

    def add(self, result: Result, source: RawRecord) -> None:
        self.results.append(result)
        self.sources[result.id] = source


@dataclass(frozen=True)
class _Job:
    """Decoded records, the rows [n, d] that the model gets for them, and where results go."""

    records: DecodedRecords
    X: Floats
    shard: str
    outcome: BatchOutcome

    def add_results(self, rows: NDArray[np.intp], scored: BatchScores) -> None:
        """Keep the scores of these rows as results."""
        records = self.records
        scores = scored.scores.tolist()
        labels = scored.predictions.tolist()
        for row, score, label in zip(rows, scores, labels, strict=True):
            result = Result(records.ids[row], score, label, scored.version)
            result.entity = _or_unset(records.entities[row])
            result.time = _or_unset(records.times[row])
            self.outcome.add(result, records.raw[row])


class BatchScorer:
    """Scores batches, at most `max_rows` at once, however long the service is busy.

    `wait` sleeps between two tries.
    """

    def __init__(
        self,
        scorer: Scorer,
        metrics: StreamMetrics,
        stopped: threading.Event,
        wait: Callable[[float], None],
        max_rows: int,
    ) -> None:
        self._scorer = scorer
        self._max_rows = max_rows
        self._metrics = metrics
        self._stopped = stopped
        self._wait = wait
        self._names: tuple[str, ...] = ()

    def score(self, batch: RecordBatch, shard: OwnedShard) -> BatchOutcome:
        """Raises ConsumerStopped, ModelChanged, or what the scorer raises when nothing helps."""
        if not batch.records:
            return BatchOutcome()
        if not self._names:
            self._names = self._ask(self._scorer.names)
        records, dead_letters = decode(batch.records, self._names, shard.name)
        rows = _first_seen(records.ids, list(shard.recent_ids.values()))
        duplicates = len(records.ids) - len(rows)
        outcome = BatchOutcome(dead_letters=dead_letters, duplicates=duplicates)
        X = records.X
        if shard.history is not None:
            # What is read again passes the history too: the rows behind it need the same past.
            X = shard.history.apply(records.entities, X)
        job = _Job(records, X, shard.name, outcome)
        # A record may hold more rows than the service takes at once.
        for begin in range(0, len(rows), self._max_rows):
            self._score_rows(job, rows[begin : begin + self._max_rows])
        return outcome

    def _score_rows(self, job: _Job, rows: NDArray[np.intp]) -> None:
        if not len(rows):
            return
        try:
            scored = self._ask(lambda: self._scorer.score(job.X[rows]))
        except Refused as error:
            self._require_same_features(error)
            self._score_halves(job, rows, error)
            return
        job.add_results(rows, scored)

    def _score_halves(self, job: _Job, rows: NDArray[np.intp], refusal: Refused) -> None:
        """Halve a refused batch until the records that the service refuses stand alone."""
        if len(rows) == 1:
            raw = job.records.raw[rows[0]]
            job.outcome.dead_letters.append(dead_letter(raw, job.shard, refusal.message))
            return
        middle = len(rows) // 2
        self._score_rows(job, rows[:middle])
        self._score_rows(job, rows[middle:])

    def _require_same_features(self, refusal: Refused) -> None:
        names = self._names
        self._names = self._ask(self._scorer.names)
        if self._names != names:
            raise ModelChanged from refusal

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The service's answer, however long it is busy."""
        backoff = Backoff(self._wait)
        while not self._stopped.is_set():
            try:
                return question()
            except Busy as error:
                log.warning("%s", error)
                self._metrics.busy.inc()
                backoff.pause(error.retry_after)
        raise ConsumerStopped


def _or_unset(value: _T | None) -> _T | UnsetType:
    return UNSET if value is None else value


def _first_seen(ids: list[Id], written: list[RecentIds]) -> NDArray[np.intp]:
    """Indices of the records that some sink does not have yet, each id once."""
    in_batch: set[Id] = set()
    rows: list[int] = []
    for row, key in enumerate(ids):
        if key not in in_batch and not all(key in recent for recent in written):
            in_batch.add(key)
            rows.append(row)
    return np.array(rows, np.intp)


def refusal_letter(refused: RefusedResult, shard: str, outcome: BatchOutcome) -> DeadLetter:
    """The dead letter of a result that a sink refuses, with the record that it is of."""
    source = outcome.sources[refused.result.id]
    letter = dead_letter(source, shard, f"{refused.sink}: {refused.reason}")
    letter.id = refused.result.id
    return letter
