"""Kinesis as a source and as a sink.

A shard of a resharding is read once its parents are: order is kept within a key.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, compress
from typing import Any

import msgspec

from serve.stream.answer_clock import AnswerClock
from serve.stream.records import (
    Id,
    RawRecord,
    RecordBatch,
    Refusals,
    Result,
    StreamError,
)
from serve.stream.scorer import Backoff, Busy
from vigil.aws import AwsError, aws_errors
from vigil.digests import text_digest

READ_PAUSE_S = 0.25  # a shard allows five reads a second
MAX_READ_RECORDS = 10_000  # of one GetRecords call
MAX_PUT_RECORDS = 500  # of one PutRecords call
MAX_PUT_BYTES = 4 * 2**20  # of one PutRecords call; Kinesis takes 5 MiB
MAX_PUT_ATTEMPTS = 10
MAX_PARTITION_KEY_LENGTH = 256
MAX_RESULT_BYTES = 2**20 - 4 * MAX_PARTITION_KEY_LENGTH  # the key counts
MAX_CLOCK_ERROR_S = 60.0  # by which clocks of Kinesis's own machines may differ
RETRYABLE_ERRORS = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "InternalFailure",
    "KMSThrottlingException",
    "ServiceUnavailable",
    "ThrottlingException",
    "ExpiredIteratorException",
}


@contextmanager
def translate_aws_errors(stream: str) -> Iterator[None]:
    """AWS's errors as ours: what passes is Busy, what does not is StreamError."""
    try:
        with aws_errors(stream):
            yield
    except AwsError as error:
        if _is_passing(error):
            raise Busy(str(error)) from error
        raise StreamError(f"{error}. Does it exist, and may this identity use it?") from error


def _is_passing(error: AwsError) -> bool:
    # Without a status: no network, no endpoint, no credentials yet.
    if not error.status or error.status >= 500:
        return True
    return error.code in RETRYABLE_ERRORS


def _list_shards(
    client: Any,
    stream: str,
) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_shards").paginate(StreamName=stream)
    return [shard for page in pages for shard in page["Shards"]]


@dataclass(frozen=True)
class _Cursor:
    """An iterator of Kinesis, and the position that it reads on from."""

    position: str
    iterator: str


class KinesisSource:
    """A stream as a source. A position is the sequence number of the last record read; empty is
    the oldest record kept."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._cursors: dict[str, _Cursor] = {}  # by shard
        self._rests_until: dict[str, float] = {}  # shards that had no record, monotonic

    def output_name(self, shard: str) -> str:
        return shard

    def shards(self, finished: set[str]) -> list[str]:
        with translate_aws_errors(self._stream):
            shards = _list_shards(self._client, self._stream)
        # A parent that has expired has nothing left to wait for.
        unread = {shard["ShardId"] for shard in shards} - finished
        return [shard["ShardId"] for shard in shards if not unread & _parents(shard)]

    def read(
        self,
        shard: str,
        position: str | None,
        max_records: int,
    ) -> RecordBatch:
        at = position or ""
        if self._is_resting(shard, at):
            return RecordBatch([], at, 0.0)
        limit = min(max_records, MAX_READ_RECORDS)
        answer = self._get_records(shard, at, limit)
        records = [_raw_record(record) for record in answer["Records"]]
        after = records[-1].position if records else at
        is_ended = not self._follow(shard, after, answer)
        lag = float(answer.get("MillisBehindLatest", 0))
        if not records and not lag:
            self._rest(shard)
        return RecordBatch(
            records,
            after,
            lag,
            ended=is_ended,
        )

    def _follow(
        self,
        shard: str,
        position: str,
        answer: dict[str, Any],
    ) -> bool:
        """Keep the iterator that an answer has; whether there is one."""
        iterator = answer.get("NextShardIterator")
        if iterator:
            self._cursors[shard] = _Cursor(position, iterator)
        return bool(iterator)

    def _rest(self, shard: str) -> None:
        now = time.monotonic()
        self._rests_until[shard] = now + READ_PAUSE_S

    def _is_resting(self, shard: str, at: str) -> bool:
        """Whether the shard had no record a moment ago, and is asked for the same again."""
        until = self._rests_until.get(shard, 0.0)
        is_resting = time.monotonic() < until
        return is_resting and at == self._position_of(shard)

    def _position_of(self, shard: str) -> str:
        cursor = self._cursors.get(shard)
        return cursor.position if cursor else ""

    def _get_records(
        self,
        shard: str,
        at: str,
        limit: int,
    ) -> dict[str, Any]:
        with translate_aws_errors(self._stream):
            iterator = self._iterator(shard, at)
            try:
                return self._client.get_records(ShardIterator=iterator, Limit=limit)
            except BaseException:
                self._cursors.pop(shard, None)
                raise

    def _iterator(self, shard: str, at: str) -> str:
        cursor = self._cursors.get(shard)
        if cursor is not None and cursor.position == at:
            return cursor.iterator
        place = {"StreamName": self._stream, "ShardId": shard}
        start = _start_at(at)
        answer = self._client.get_shard_iterator(**place, **start)
        return answer["ShardIterator"]


def _raw_record(record: dict[str, Any]) -> RawRecord:
    return RawRecord(record["SequenceNumber"], record["Data"])


def _start_at(position: str) -> dict[str, str]:
    """How Kinesis is asked for what comes after a position."""
    if not position:
        return {"ShardIteratorType": "TRIM_HORIZON"}
    return {
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
        "StartingSequenceNumber": position,
    }


def _parents(shard: dict[str, Any]) -> set[str]:
    """The shards that this one was split from or merged of."""
    fields = ("ParentShardId", "AdjacentParentShardId")
    return {shard[field] for field in fields if field in shard}


PutEntry = tuple[str, bytes]  # partition key and data


class _IdOnly(msgspec.Struct):
    id: Id


class KinesisSink:
    """Results as records of a stream, each under its id as partition key. The stream itself tells
    which ids it has.

    A put whose answer is lost on the network may be there twice: Kinesis cannot tell, readers go
    by the id.
    """

    name = "kinesis"

    def __init__(
        self,
        client: Any,
        stream: str,
        clock: AnswerClock | None = None,
    ) -> None:
        self._client = client
        self._stream = stream
        self._clock = clock or AnswerClock()

    def recover(
        self,
        shard: str,
        state: Any,
    ) -> Iterable[Id]:
        """The ids since the time `state` (ms), whichever shard of the source they came from."""
        if state is None:
            return []
        # Kinesis refuses a time to come: an older Vigil stamped by the clock of its machine.
        written_at = min(int(state) / 1000, self._now())
        since = written_at - MAX_CLOCK_ERROR_S
        ids: list[Id] = []
        with translate_aws_errors(self._stream):
            for output in _list_shards(self._client, self._stream):
                ids += self.ids_since(output["ShardId"], since)
        return ids

    def ids_since(
        self,
        output: str,
        since: float,
    ) -> Iterator[Id]:
        """The ids in the shard `output` of this stream, from `since` (Unix seconds) on."""
        iterator = self._iterator_since(output, since)
        while iterator:
            answer = self._client.get_records(ShardIterator=iterator, Limit=MAX_READ_RECORDS)
            yield from map(_id_of, answer["Records"])
            if not answer["Records"] and not answer.get("MillisBehindLatest"):
                return
            iterator = answer.get("NextShardIterator")

    def _iterator_since(self, output: str, since: float) -> str:
        answer = self._client.get_shard_iterator(
            StreamName=self._stream,
            ShardId=output,
            ShardIteratorType="AT_TIMESTAMP",
            Timestamp=since,
        )
        return answer["ShardIterator"]

    def write(
        self,
        shard: str,
        results: list[Result],
    ) -> Refusals:
        entries: list[PutEntry] = []
        refused: Refusals = []
        for result in results:
            data = msgspec.json.encode(result)
            if len(data) > MAX_RESULT_BYTES:
                refused.append((result, f"{len(data)} bytes are too many for Kinesis"))
            else:
                entry = _partition_key(result.id), data
                entries.append(entry)
        put_records(self._client, self._stream, entries)
        return refused

    def flush(self, shard: str) -> int:
        """The time (ms) up to which all is written: each write has been answered."""
        return int(self._now() * 1000)

    def _now(self) -> float:
        """Unix seconds by the clock that stamps records: ours may jump."""
        if not self._clock.is_known:
            with translate_aws_errors(self._stream):
                answer = self._client.list_shards(StreamName=self._stream, MaxResults=1)
            self._clock.read(answer)
        return self._clock.now()

    def close(self, shard: str) -> None:
        """Nothing is held back."""


def _id_of(record: dict[str, Any]) -> Id:
    data = record["Data"]
    return msgspec.json.decode(data, type=_IdOnly).id


def _partition_key(key: Id) -> str:
    """The id, or its hash where Kinesis does not take it."""
    text = str(key)
    if 0 < len(text) <= MAX_PARTITION_KEY_LENGTH:
        return text
    return text_digest(text)


def put_records(
    client: Any,
    stream: str,
    entries: list[PutEntry],
) -> None:
    """Put them in order, in calls as large as Kinesis takes; what it refuses for
    now is tried again.

    Raises Busy when it refuses for long.
    """
    start = 0
    while start < len(entries):
        call = entries[start : start + MAX_PUT_RECORDS]
        count = _count_fitting(call)
        _put_call(client, stream, call[:count])
        start += count


def _count_fitting(entries: list[PutEntry]) -> int:
    """How many of the entries fit into one call; at least one does."""
    sizes = (len(key) + len(data) for key, data in entries)
    totals = accumulate(sizes)
    fitting = sum(total <= MAX_PUT_BYTES for total in totals)
    return max(1, fitting)


def _put_call(
    client: Any,
    stream: str,
    entries: list[PutEntry],
) -> None:
    backoff = Backoff()
    left = [{"PartitionKey": key, "Data": data} for key, data in entries]
    for _ in range(MAX_PUT_ATTEMPTS):
        with translate_aws_errors(stream):
            answer = client.put_records(StreamName=stream, Records=left)
        if not answer["FailedRecordCount"]:
            return
        left = _refused_entries(left, answer)
        backoff.pause()
    raise Busy(f"{stream} refuses {len(left)} records again and again: it needs more shards")


def _refused_entries(
    entries: list[dict[str, Any]],
    answer: dict[str, Any],
) -> list[dict[str, Any]]:
    is_refused = (outcome.get("ErrorCode") for outcome in answer["Records"])
    return list(compress(entries, is_refused))
