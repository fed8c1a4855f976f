"""Records, results and dead letters of a stream, and the interfaces between its parts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from serve.http.category_rows import to_features
from serve.http.row_context import context_colons, context_of_rows, has_context
from serve.http.rows import DECODE_ERRORS, refuse_duplicate_names, try_decode_json
from serve.http.sent_values import read_float
from serve.stream.record_id import Id, readable_id
from serve.stream.unpack import unpack
from train.table.categories import CategoryCodec
from train.table.cells import FLOAT32_MAX, why_no_number
from train.table.impute import Imputation
from vigil.arrays import Floats
from vigil.errors import VigilError

FeatureNames = tuple[str, ...]
Time = str | int | float  # ISO 8601, or milliseconds since 1970
MAX_RECORD_BYTES = 2**20  # as Kinesis; a longer one is a dead letter
MAX_LETTER_BYTES = 64 * 2**10  # of the raw text of a dead letter


class StreamError(VigilError):
    """The stream cannot go on: the message says what to do."""


class ShardLeaseLost(VigilError):
    """Another consumer has this shard now; what it does from here on is its own."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as it came: where it stands in its shard, and its bytes."""

    position: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The records of one read, and where the next one starts (`position`).

    `lag` is how much is still unread, in the source's unit (bytes of a file log, milliseconds of
    Kinesis); `ended`: a closed shard that is read to its end; `torn`: bytes behind `position` that
    are no whole record yet.
    """

    records: list[RawRecord]
    position: str
    lag: float
    ended: bool = False
    torn: int = 0


class Result(msgspec.Struct):
    """One line of the output; `entity` and `time` are those of the record, where it has them.

    warming: true where the record has too few before it to be judged; its prediction is 1
    """

    id: Id
    anomaly_score: float
    prediction: int
    model_version: str
    entity: Id | UnsetType = UNSET
    time: Time | UnsetType = UNSET
    warming: bool | UnsetType = UNSET


class DeadLetter(msgspec.Struct):
    """A record that cannot be scored, or a result that a sink refuses. `id` where it can be
    read."""

    id: Id | None
    raw: str
    reason: str
    shard: str
    position: str


# Results that a sink does not take, with the reason.
Refusals = list[tuple[Result, str]]


class _Record(msgspec.Struct):
    id: Id
    features: Any
    entity: Any = UNSET
    time: Any = UNSET
    # A record is one row: it has none of the lists that the body of a request may have.
    entities: ClassVar[UnsetType] = UNSET
    times: ClassVar[UnsetType] = UNSET


class _TypedRecord(_Record):
    """A record whose values are numbers: most are, and need no second look."""

    id: Id
    features: list[float] | dict[str, float]


_typed_decoder = msgspec.json.Decoder(_TypedRecord)
_record_decoder = msgspec.json.Decoder(_Record, float_hook=read_float)
_NO_ROW = (*DECODE_ERRORS, VigilError)


@dataclass(frozen=True, slots=True)
class DecodedRow:
    """A record that is a row: its features in the model's order, its time in Unix seconds."""

    source: RawRecord
    record: _Record
    features: list[float]
    seconds: float | None

    @property
    def id(self) -> Id:
        return self.record.id

    @property
    def entity(self) -> Id | None:
        """The entity as it was sent."""
        return _sent(self.record.entity)

    @property
    def time(self) -> Time | None:
        """The time as it was sent."""
        return _sent(self.record.time)


@dataclass(frozen=True)
class DecodedRecords:
    """Rows [n] that fit the model: `X` is [n, d] in the order of its features.

    Entities and times are as they were sent, None where they were not; seconds: the times in Unix
    seconds.
    """

    X: Floats
    rows: list[DecodedRow]

    @cached_property
    def raw(self) -> list[RawRecord]:
        return [row.source for row in self.rows]

    @cached_property
    def ids(self) -> list[Id]:
        return [row.id for row in self.rows]

    @cached_property
    def entities(self) -> list[Id | None]:
        return [row.entity for row in self.rows]

    @cached_property
    def entity_names(self) -> list[str | None]:
        """The entities as names: a number is its digits, and no entity is None."""
        return [None if entity is None else str(entity) for entity in self.entities]

    @cached_property
    def times(self) -> list[Time | None]:
        return [row.time for row in self.rows]

    def where(self, rows: Sequence[int]) -> DecodedRecords:
        """Return the records of these numbers."""
        return DecodedRecords(self.X[rows], [self.rows[row] for row in rows])

    @cached_property
    def seconds(self) -> list[float | None]:
        return [row.seconds for row in self.rows]


def decode(
    records: list[RawRecord],
    names: FeatureNames,
    shard: str,
    imputation: Imputation | None = None,
    unused: Collection[str] = frozenset(),
    categories: CategoryCodec | None = None,
) -> tuple[DecodedRecords, list[DeadLetter]]:
    """Sort what is in the records into rows that can be scored, and dead letters with the reason.

    A record may hold several of either, and each of them has a position of its own. Values that
    may be missing by the `imputation` are NaN where they are; columns that are `unused` are left
    out; `categories` make numbers of words.
    """
    decoder = _BatchDecoder(
        names,
        shard,
        imputation,
        unused=unused,
        categories=categories,
    )
    for raw in records:
        decoder.add(raw)
    return decoder.decoded(), decoder.dead_letters


class _BatchDecoder:
    """Sorts records; `names` are the model's features."""

    def __init__(
        self,
        names: FeatureNames,
        shard: str,
        imputation: Imputation | None,
        *,
        unused: Collection[str],
        categories: CategoryCodec | None,
    ) -> None:
        self._unused = unused
        self._categories = categories
        self.dead_letters: list[DeadLetter] = []
        self._rows: list[DecodedRow] = []
        self._names = names
        self._shard = shard
        self._imputation = imputation

    def add(self, raw: RawRecord) -> None:
        """Take a record that is a row, or what is in it."""
        if self._refusal(raw) is not None:
            self._add_contents(raw)

    def _add_contents(self, raw: RawRecord) -> None:
        for source, refusal in _open(raw):
            reason = refusal or self._refusal(source)
            if reason is not None:
                self._bury(source, reason)

    def _refusal(self, source: RawRecord) -> str | None:
        """Take a row; or return why it is none."""
        try:
            row = self._decode_row(source)
        except _NO_ROW as error:
            return str(error)
        self._rows.append(row)
        return None

    def _decode_row(self, source: RawRecord) -> DecodedRow:
        """The row of a record; raises VigilError, or what the decoder raises."""
        record = _decode_record(source.data)
        features = self._feature_row(record)
        seconds = _seconds_of(record)
        return DecodedRow(
            source,
            record,
            features,
            seconds=seconds,
        )

    def _feature_row(self, record: _Record) -> list[float]:
        row = record.features
        is_in_order = isinstance(row, list) and len(row) == len(self._names)
        if self._categories is None and is_in_order and isinstance(record, _TypedRecord):
            return row
        # What is a value, and what is said of one that is none, is as over HTTP.
        X = to_features(
            [row],
            self._names,
            unused=self._unused,
            may_miss=self._imputation is not None,
            categories=self._categories,
        )
        return X[0].tolist()

    def _bury(self, source: RawRecord, reason: str) -> None:
        letter = dead_letter(source, self._shard, reason)
        self.dead_letters.append(letter)

    def decoded(self) -> DecodedRecords:
        """The rows whose values are finite as float32; the others become dead letters."""
        X = self._matrix()
        fits = np.abs(X) <= FLOAT32_MAX
        if self._imputation is not None:
            may_miss = ~self._imputation.refused_rows(X)
            fits |= np.isnan(X) & may_miss[:, None]
        is_row_fit = fits.all(axis=1)
        for i in np.flatnonzero(~is_row_fit):
            column = np.argmin(fits[i])
            self._bury_unfit(i, column)
        fitting = np.flatnonzero(is_row_fit)
        rows = [self._rows[i] for i in fitting]
        return DecodedRecords(X[fitting], rows)

    def _matrix(self) -> Floats:
        return np.array(self._features(), np.float64).reshape(len(self._rows), len(self._names))

    def _features(self) -> list[list[float]]:
        return [row.features for row in self._rows]

    def _bury_unfit(
        self,
        i: np.intp,
        column: np.intp,
    ) -> None:
        row = self._rows[i]
        name = self._names[column]
        reason = why_no_number(row.features[column])
        self._bury(row.source, f"feature {name!r}: {reason}")


def _sent(value: Any) -> Any:
    return None if value is UNSET else value


def _open(raw: RawRecord) -> Iterator[tuple[RawRecord, str | None]]:
    """What is in a record, each with why it cannot be read; one of several has a number."""
    pieces = unpack(raw.data)
    positions = [raw.position]
    if len(pieces) > 1:
        positions = [f"{raw.position}/{number}" for number in range(len(pieces))]
    for position, piece in zip(positions, pieces, strict=True):
        yield RawRecord(position, piece.data), piece.refusal


def _seconds_of(record: _Record) -> float | None:
    """The time of a record; raises VigilError where it is none, or the entity is none."""
    context = context_of_rows(record, 1)
    if context is None or context.times is None:
        return None
    return context.times[0]


def _decode_record(data: bytes) -> _Record:
    if len(data) > MAX_RECORD_BYTES:
        raise StreamError(f"the record is longer than {MAX_RECORD_BYTES} bytes")
    try:
        record = _typed_decoder.decode(data)
    except DECODE_ERRORS:
        record = _decode_untyped(data)
    colons = _colons_beside_features(record)
    refuse_duplicate_names(data, colons, [record.features])
    return record


def _decode_untyped(data: bytes) -> _Record:
    """A record whose row can say which of its features is no number, also as NaN or in UTF-16."""
    try:
        return _record_decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except DECODE_ERRORS as error:
        document = try_decode_json(data)
        if document is None:
            raise error
        return msgspec.convert(document, _Record)


def _colons_beside_features(record: _Record) -> int:
    """How many colons the JSON of a record has beside those of its features, at least."""
    colons = 2  # of the names `id` and `features`
    if isinstance(record.id, str):
        colons += record.id.count(":")
    if has_context(record):
        colons += context_colons(record)
    return colons


def dead_letter(
    raw: RawRecord,
    shard: str,
    reason: str,
) -> DeadLetter:
    """The letter of a record, with its id where it can be read."""
    data = raw.data[:MAX_LETTER_BYTES]
    return DeadLetter(
        id=readable_id(data),
        raw=data.decode("utf-8", "backslashreplace"),
        reason=reason,
        shard=shard,
        position=raw.position,
    )
