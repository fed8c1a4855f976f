"""Records, results and dead letters of a stream, and the interfaces between its parts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from serve.http.rows import FLOAT32_MAX, to_matrix
from vigil.arrays import Floats
from vigil.errors import VigilError

Id = str | int
MAX_RECORD_BYTES = 2**20  # as Kinesis; a longer one is a dead letter
MAX_LETTER_BYTES = 64 * 2**10  # of the raw text of a dead letter
_READABLE_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*"|-?\d{1,18}\b)')


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
    Kinesis); `ended`: a closed shard that is read to its end.
    """

    records: list[RawRecord]
    position: str
    lag: float
    ended: bool = False


class Result(msgspec.Struct):
    """One line of the output."""

    id: Id
    anomaly_score: float
    prediction: int
    model_version: str


class DeadLetter(msgspec.Struct):
    """A record that cannot be scored, or a result that a sink refuses. `id` where it can be
    read."""

    id: Id | None
    raw: str
    reason: str
    shard: str
    position: str


class Source(Protocol):
    """An ordered log in shards. Positions are opaque strings; None is the beginning."""

    def shards(self, finished: set[str]) -> list[str]:
        """The shards that may be read now: a child of a resharding only once its parents are
        among the `finished`."""
        ...

    def read(self, shard: str, position: str | None, max_records: int) -> RecordBatch:
        """At most `max_records` records from `position` on; no record is no error.

        Raises StreamError.
        """
        ...


class Sink(Protocol):
    """Where results go. `state` is what the checkpoint keeps for it; with it `recover` finds what
    was written since."""

    name: str

    def recover(self, shard: str, state: Any) -> Iterable[Id]:
        """Make the output of this shard ready for writing; return the ids in it: all since
        `state`, and recent ones."""
        ...

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        """Take the results; return those that the sink refuses for good, with the reason."""
        ...

    def flush(self, shard: str) -> Any:
        """Make all that was written durable; return the state for the checkpoint.

        Raises ShardLeaseLost.
        """
        ...

    def close(self, shard: str) -> None:
        """Drop what is not flushed: another consumer may have the shard."""
        ...


class _Record(msgspec.Struct):
    id: Id
    features: list[float] | dict[str, float]
    entity: Id | None = None


_record_decoder = msgspec.json.Decoder(_Record)
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class DecodedRecords:
    """Records that fit the model: `X` is [n, d] in the order of its features."""

    raw: list[RawRecord]
    ids: list[Id]
    entities: list[Id | None]
    X: Floats


def decode(
    records: list[RawRecord], names: tuple[str, ...], shard: str
) -> tuple[DecodedRecords, list[DeadLetter]]:
    """Sort records into those that can be scored and those that cannot, with the reason."""
    decoded = DecodedRecords([], [], [], X=np.empty((0, len(names))))
    dead_letters: list[DeadLetter] = []
    rows: list[list[float]] = []
    for raw in records:
        try:
            record = _decode_record(raw)
            row = _feature_row(record, names)
        except (*_UNREADABLE, VigilError) as error:
            dead_letters.append(dead_letter(raw, shard, str(error)))
            continue
        rows.append(row)
        decoded.raw.append(raw)
        decoded.ids.append(record.id)
        decoded.entities.append(record.entity)
    decoded.X = np.array(rows, np.float64).reshape(len(rows), len(names))
    return _without_unfit_rows(decoded, names, shard, dead_letters=dead_letters), dead_letters


def _decode_record(raw: RawRecord) -> _Record:
    if len(raw.data) > MAX_RECORD_BYTES:
        raise StreamError(f"the record is longer than {MAX_RECORD_BYTES} bytes")
    return _record_decoder.decode(raw.data)


def _feature_row(record: _Record, names: tuple[str, ...]) -> list[float]:
    row = record.features
    if isinstance(row, list) and len(row) == len(names):
        return row
    return to_matrix([row], names)[0].tolist()


def _without_unfit_rows(
    decoded: DecodedRecords,
    names: tuple[str, ...],
    shard: str,
    *,
    dead_letters: list[DeadLetter],
) -> DecodedRecords:
    """The records whose values are finite as float32; the others become dead letters."""
    fits = np.abs(decoded.X) <= FLOAT32_MAX
    row_fits = fits.all(axis=1)
    if row_fits.all():
        return decoded
    for row in np.flatnonzero(~row_fits):
        column = int(np.argmin(fits[row]))
        value = decoded.X[row, column]
        reason = f"feature {names[column]!r}: {value} is not a finite float32 number"
        dead_letters.append(dead_letter(decoded.raw[row], shard, reason))
    kept = np.flatnonzero(row_fits)
    return DecodedRecords(
        [decoded.raw[row] for row in kept],
        [decoded.ids[row] for row in kept],
        [decoded.entities[row] for row in kept],
        X=decoded.X[kept],
    )


def dead_letter(raw: RawRecord, shard: str, reason: str) -> DeadLetter:
    """The letter of a record, with its id where it can be read."""
    data = raw.data[:MAX_LETTER_BYTES]
    text = data.decode("utf-8", "backslashreplace")
    return DeadLetter(readable_id(data), text, reason, shard=shard, position=raw.position)


def readable_id(data: bytes) -> Id | None:
    """The id of a record that is damaged elsewhere."""
    try:
        value = _object_decoder.decode(data).get("id")
    except _UNREADABLE:
        return _id_in_text(data)
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    return value if is_id else None


def _id_in_text(data: bytes) -> Id | None:
    match = _READABLE_ID.search(data)
    if match is None:
        return None
    try:
        return msgspec.json.decode(match[1])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class RecentIds:
    """The ids of the last `max_ids` to 2 x `max_ids` results: bounded memory, two generations."""

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._new: set[Id] = set()
        self._old: set[Id] = set()

    def __contains__(self, key: Id) -> bool:
        return key in self._new or key in self._old

    def add(self, keys: Iterable[Id]) -> None:
        self._new.update(keys)
        if len(self._new) > self._max_ids:
            self._old = self._new
            self._new = set()
