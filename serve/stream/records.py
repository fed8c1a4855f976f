"""What flows through a stream: records in, results and dead letters out, and the interfaces between them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from serve.http.protocols import FLOAT32_MAX, to_matrix
from vigil.arrays import Floats
from vigil.errors import VigilError

Id = str | int
MAX_RECORD_BYTES = 2**20  # as Kinesis; a longer one is a dead letter
SHOWN_BYTES = 64 * 2**10  # of the raw text of a dead letter
READABLE_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*"|-?\d{1,18}\b)')


class StreamError(VigilError):
    """The stream cannot go on: the message says what to do."""


class ShardLeaseLost(VigilError):
    """Another consumer has this shard now; what it does from here on is its own."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One record as it came: where it stands in its shard, and its bytes."""

    position: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """What one read gave. `position` is where the next one starts; `lag` is how much is still unread, in the source's unit
    (bytes of a file log, milliseconds of Kinesis); `ended`: a closed shard that is read to its end."""

    records: list[Raw]
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
    """A record that cannot be scored, or a result that a sink refuses. `id` where it can be read."""

    id: Id | None
    raw: str
    reason: str
    shard: str
    position: str


class Source(Protocol):
    """An ordered log in shards. Positions are opaque strings; None is the beginning."""

    def shards(self, finished: set[str]) -> list[str]:
        """The shards that may be read now: a child of a resharding only once its parents are among the `finished`."""
        ...

    def read(self, shard: str, position: str | None, most: int) -> RecordBatch:
        """At most `most` records from `position` on; no record is no error. Raises StreamError."""
        ...


class Sink(Protocol):
    """Where results go. `state` is what the checkpoint keeps for it; with it `recover` finds what was written since."""

    name: str

    def recover(self, shard: str, state: Any) -> Iterable[Id]:
        """Make the output of this shard ready for writing, and give the ids in it: all since `state`, and recent ones."""
        ...

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        """Take the results; return those that the sink refuses for good, with the reason."""
        ...

    def flush(self, shard: str) -> Any:
        """Make all that was written durable, and return the state for the checkpoint. Raises ShardLeaseLost."""
        ...

    def close(self, shard: str) -> None:
        """Drop what is not flushed: another consumer may have the shard."""
        ...


class _Record(msgspec.Struct):
    id: Id
    features: list[float] | dict[str, float]
    entity: Id | None = None


_decoder, _loose = msgspec.json.Decoder(_Record), msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Good:
    """Records that fit the model: `X` is [n, d] in the order of its features."""

    raw: list[Raw]
    ids: list[Id]
    entities: list[Id | None]
    X: Floats


def decode(records: list[Raw], names: tuple[str, ...], shard: str) -> tuple[Good, list[DeadLetter]]:
    """Sort records into those that can be scored and those that cannot, with the reason."""
    raws: list[Raw] = []
    found: list[_Record] = []
    dead: list[DeadLetter] = []
    rows: list[Any] = []
    for raw in records:
        try:
            if len(raw.data) > MAX_RECORD_BYTES:
                raise StreamError(f"the record is longer than {MAX_RECORD_BYTES} bytes")
            record = _decoder.decode(raw.data)
            row = record.features
            if type(row) is not list or len(row) != len(names):
                row = to_matrix([row], names)[0].tolist()
            raws.append(raw)
            found.append(record)
            rows.append(row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, VigilError) as error:
            dead.append(dead_letter(raw, shard, str(error)))
    X = np.array(rows, np.float64).reshape(len(rows), len(names))
    fits = (np.abs(X) <= FLOAT32_MAX).all(axis=1)
    for i in np.flatnonzero(~fits):
        j = int(np.argmin(np.abs(X[i]) <= FLOAT32_MAX))
        dead.append(
            dead_letter(
                raws[i], shard, f"feature {names[j]!r}: {X[i, j]} is not a finite float32 number"
            )
        )
    kept = np.flatnonzero(fits)
    good = Good(
        [raws[i] for i in kept],
        [found[i].id for i in kept],
        [found[i].entity for i in kept],
        X[kept],
    )
    return good, dead


def dead_letter(raw: Raw, shard: str, reason: str) -> DeadLetter:
    """The letter of a record, with its id where it can be read."""
    text = raw.data[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return DeadLetter(readable_id(raw.data[:SHOWN_BYTES]), text, reason, shard, raw.position)


def readable_id(data: bytes) -> Id | None:
    """The id of a record that is damaged elsewhere."""
    try:
        value = _loose.decode(data).get("id")
        return value if isinstance(value, str | int) and not isinstance(value, bool) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    found = READABLE_ID.search(data)
    try:
        return msgspec.json.decode(found[1]) if found else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class RecentIds:
    """The ids of the last `most` to 2 x `most` results: bounded memory, in two generations."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._new: set[Id] = set()
        self._old: set[Id] = set()

    def __contains__(self, key: Id) -> bool:
        return key in self._new or key in self._old

    def add(self, keys: Iterable[Id]) -> None:
        self._new.update(keys)
        if len(self._new) > self._most:
            self._new, self._old = set(), self._new
