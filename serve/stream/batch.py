"""One batch of records through the model: decode, leave out what came before, score."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from serve.http.missing_values import count_unknown, fill_missing
from serve.metrics import StreamMetrics
from serve.model.context_batch import LiftedRows
from serve.model.report import RowContext
from serve.model.row_format import TIME_IS_NEEDED, MadeRows, RowFormat
from serve.stream.recent_ids import RecentIds
from serve.stream.records import (
    DeadLetter,
    DecodedRecords,
    DecodedRow,
    Id,
    RawRecord,
    RecordBatch,
    Result,
    dead_letter,
    decode,
)
from serve.stream.scorer import Backoff, BatchScores, Busy, Refused, Scorer
from serve.stream.shard import OwnedShard, RefusedResult
from train.table.impute import Imputation

log = logging.getLogger("vigil.stream")
_T = TypeVar("_T")
Rows = NDArray[np.intp]  # indices of rows


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

    def add(
        self,
        row: DecodedRow,
        result: Result,
    ) -> None:
        """Keep the result of a row, with the entity and the time that it was sent with."""
        result.entity = _or_unset(row.entity)
        result.time = _or_unset(row.time)
        self.results.append(result)
        self.sources[result.id] = row.source


@dataclass(frozen=True)
class _Job:
    """Decoded records, the rows that the model gets for them, and where results go.

    key: of the transform that made the rows, empty where the model has none
    """

    records: DecodedRecords
    lifted: LiftedRows
    key: str
    shard: str
    outcome: BatchOutcome

    def add_results(
        self,
        rows: Rows,
        scored: BatchScores,
    ) -> None:
        """Keep the scores of these rows as results."""
        scores = scored.scores.tolist()
        labels = scored.predictions.tolist()
        for row, score, label in zip(
            rows,
            scores,
            labels,
            strict=True,
        ):
            decoded = self.records.rows[row]
            result = Result(
                decoded.id,
                score,
                label,
                scored.version,
            )
            if self.lifted.warming[row]:
                result.warming = True
            self.outcome.add(decoded, result)

    def made(self, rows: Rows) -> MadeRows | None:
        """How these rows, which are all warming or none, were made; None where they were not."""
        if not self.key:
            return None
        return MadeRows(self.key, bool(self.lifted.warming[rows[0]]))

    def with_same_context(self, rows: Rows) -> list[Rows]:
        """These rows by whether they have an entity, and a time, and are warming: a request is so
        for all of its rows."""
        has_entity = np.array([entity is not None for entity in self.records.entities], bool)
        has_time = np.array([at is not None for at in self.records.seconds], bool)
        kinds = 4 * self.lifted.warming[rows] + 2 * has_entity[rows] + has_time[rows]
        return [rows[kinds == kind] for kind in np.unique(kinds)]

    def sort_results(self, rows: Rows) -> None:
        """Bring the results into the order of these rows."""
        place = {self.records.ids[row]: place for place, row in enumerate(rows)}
        self.outcome.results.sort(key=lambda result: place[result.id])

    def context(self, rows: Rows) -> RowContext | None:
        """Whose rows these are, and of when, where all of them say so; None where none does."""
        records = self.records
        entities = [str(name) for row in rows if (name := records.entities[row]) is not None]
        times = [at for row in rows if (at := records.seconds[row]) is not None]
        return RowContext(entities or None, times or None) if entities or times else None

    def bury(
        self,
        row: int,
        reason: str,
    ) -> None:
        letter = dead_letter(
            self.records.raw[row],
            self.shard,
            reason,
        )
        self.outcome.dead_letters.append(letter)


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
        self._format: RowFormat | None = None

    def _filled(
        self,
        records: DecodedRecords,
        imputation: Imputation | None,
    ) -> DecodedRecords:
        """The records with what stands for missing values."""
        if imputation is None:
            return records
        entities = [name or "" for name in records.entity_names]
        X = fill_missing(
            records.X,
            imputation,
            entities,
            counter=self._metrics.imputed,
        )
        return DecodedRecords(X, records.rows)

    def score(
        self,
        batch: RecordBatch,
        shard: OwnedShard,
    ) -> BatchOutcome:
        """Raises ConsumerStopped, ModelChanged, or what the scorer raises when nothing helps."""
        if not batch.records:
            return BatchOutcome()
        row_format = self._format or self._learn_format()
        decoded, dead_letters = decode(
            batch.records,
            row_format.names,
            shard.name,
            row_format.imputation,
            row_format.unused,
            categories=row_format.categories,
        )
        count_unknown(decoded.X, row_format.categories, self._metrics.unknown_categories)
        decoded = self._filled(decoded, row_format.imputation)
        records, timeless = _with_needed_times(
            decoded,
            row_format,
            shard.name,
        )
        written = list(shard.recent_ids.values())
        rows = _first_seen(records.ids, written)
        duplicates = len(records.ids) - len(rows)
        outcome = BatchOutcome(dead_letters=dead_letters + timeless, duplicates=duplicates)
        # What is read again passes the context too: the records behind it need the same past.
        lifted = shard.context.lift(row_format, records)
        job = _Job(
            records,
            lifted,
            row_format.made_by,
            shard=shard.name,
            outcome=outcome,
        )
        self._score_in_parts(job, rows)
        return outcome

    def _learn_format(self) -> RowFormat:
        row_format = self._ask(self._scorer.row_format)
        self._format = row_format
        return row_format

    def _score_in_parts(
        self,
        job: _Job,
        rows: Rows,
    ) -> None:
        """A record may hold more rows than the service takes at once."""
        groups = job.with_same_context(rows)
        for alike in groups:
            for part in _parts(alike, self._max_rows):
                self._score_rows(job, part)
        if len(groups) > 1:
            job.sort_results(rows)

    def _score_rows(
        self,
        job: _Job,
        rows: Rows,
    ) -> None:
        X = job.lifted.rows[rows]
        context = job.context(rows)
        made = job.made(rows)
        try:
            scored = self._ask(
                lambda: self._scorer.score(
                    X,
                    context,
                    made,
                )
            )
        except Refused as error:
            self._require_same_format(error)
            self._score_halves(
                job,
                rows,
                error,
            )
        else:
            job.add_results(rows, scored)

    def _score_halves(
        self,
        job: _Job,
        rows: Rows,
        refusal: Refused,
    ) -> None:
        """Halve a refused batch until the records that the service refuses stand alone."""
        if len(rows) == 1:
            job.bury(rows[0], refusal.message)
            return
        for half in np.array_split(rows, 2):
            self._score_rows(job, half)

    def _require_same_format(self, refusal: Refused) -> None:
        former = self._format
        if self._learn_format() != former:
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


def _parts(rows: Rows, size: int) -> Iterator[Rows]:
    for begin in range(
        0,
        len(rows),
        size,
    ):
        yield rows[begin : begin + size]


def _with_needed_times(
    records: DecodedRecords,
    row_format: RowFormat,
    shard: str,
) -> tuple[DecodedRecords, list[DeadLetter]]:
    """The records that have a time where the model needs one, and letters for the others."""
    if not row_format.needs_time:
        return records, []
    is_timed = np.array([at is not None for at in records.seconds], bool)
    sources = [records.raw[row] for row in np.flatnonzero(~is_timed)]
    letters = [
        dead_letter(
            source,
            shard,
            TIME_IS_NEEDED,
        )
        for source in sources
    ]
    return records.where(np.flatnonzero(is_timed).tolist()), letters


def _or_unset(value: _T | None) -> _T | UnsetType:
    return UNSET if value is None else value


def _first_seen(
    ids: list[Id],
    written: list[RecentIds],
) -> Rows:
    """Indices of the records that some sink does not have yet, each id once."""
    first: dict[Id, int] = {}
    for row, key in enumerate(ids):
        first.setdefault(key, row)
    for key in [key for key in first if _is_in_all(key, written)]:
        del first[key]
    new = list(first.values())
    return np.array(new, np.intp)


def _is_in_all(key: Id, written: list[RecentIds]) -> bool:
    return all(key in recent for recent in written)


def refusal_letter(
    refused: RefusedResult,
    shard: str,
    outcome: BatchOutcome,
) -> DeadLetter:
    """The dead letter of a result that a sink refuses, with the record that it is of."""
    key = refused.result.id
    source = outcome.sources[key]
    letter = dead_letter(
        source,
        shard,
        refused.words,
    )
    letter.id = key
    return letter
