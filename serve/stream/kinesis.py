"""Kinesis as a source and as a sink. A shard of a resharding is read once its parents are: order is kept within a key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from serve.stream.records import Id, RawRecord, RecordBatch, Result, StreamError
from serve.stream.scorer import Backoff, Busy
from vigil.aws import AwsError, aws_errors

READ_PAUSE_S = 0.25  # a shard allows five reads a second
PUT_RECORDS, PUT_BYTES = 500, 4 * 2**20  # of one PutRecords call; Kinesis takes 5 MiB
CLOCKS_MS = 60_000  # by which our clock may be wrong
MAX_PUT_ATTEMPTS = 10
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
def translated(stream: str) -> Iterator[None]:
    """AWS's errors as ours: what passes is Busy, what does not is StreamError."""
    try:
        with aws_errors(stream):
            yield
    except AwsError as error:
        # Without a status: no network, no endpoint, no credentials yet.
        if not error.status or error.code in RETRYABLE_ERRORS or error.status >= 500:
            raise Busy(str(error)) from error
        raise StreamError(f"{error}. Does it exist, and may this identity use it?") from error


class KinesisSource:
    """A stream as a source. A position is the sequence number of the last record read; empty is the oldest record kept."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client, self._stream = client, stream
        self._iterators: dict[
            str, tuple[str, str]
        ] = {}  # shard -> position, iterator that reads on from it
        self._rest: dict[str, float] = {}  # shard that had no record -> when it may be asked again

    def shards(self, finished: set[str]) -> list[str]:
        with translated(self._stream):
            pages = self._client.get_paginator("list_shards").paginate(StreamName=self._stream)
            found = [shard for page in pages for shard in page["Shards"]]
        kept = {
            shard["ShardId"] for shard in found
        }  # a parent that has expired has nothing left to wait for
        return [
            shard["ShardId"]
            for shard in found
            if all(
                parent not in kept or parent in finished
                for parent in (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
                if parent
            )
        ]

    def read(self, shard: str, position: str | None, max_records: int) -> RecordBatch:
        at = position or ""
        if (
            time.monotonic() < self._rest.get(shard, 0.0)
            and self._iterators.get(shard, ("",))[0] == at
        ):
            return RecordBatch([], at, 0.0)
        with translated(self._stream):
            iterator = self._iterator(shard, at)
            try:
                got = self._client.get_records(
                    ShardIterator=iterator, Limit=min(max_records, 10_000)
                )
            except BaseException:
                self._iterators.pop(shard, None)
                raise
        records = [
            RawRecord(record["SequenceNumber"], record["Data"].strip()) for record in got["Records"]
        ]
        after, following = (records[-1].position if records else at), got.get("NextShardIterator")
        if following:
            self._iterators[shard] = after, following
        lag = float(got.get("MillisBehindLatest", 0))
        if not records and not lag:
            self._rest[shard] = time.monotonic() + READ_PAUSE_S
        return RecordBatch(records, after, lag, ended=not following)

    def _iterator(self, shard: str, at: str) -> str:
        known, iterator = self._iterators.get(shard, ("", ""))
        if iterator and known == at:
            return iterator
        where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": at}
        asked = where if at else {"ShardIteratorType": "TRIM_HORIZON"}
        return self._client.get_shard_iterator(StreamName=self._stream, ShardId=shard, **asked)[
            "ShardIterator"
        ]


class _IdOnly(msgspec.Struct):
    id: Id


class KinesisSink:
    """Results as records of a stream, each under its id as partition key. The stream itself tells which ids it has.

    A put whose answer is lost on the network may be there twice: Kinesis cannot tell, readers go by the id.
    """

    name = "kinesis"

    def __init__(self, client: Any, stream: str) -> None:
        self._client, self._stream = client, stream

    def recover(self, shard: str, state: Any) -> Iterable[Id]:
        """The ids since the time `state` (ms), whichever shard of the source they came from."""
        if state is None:
            return []
        found: list[Id] = []
        with translated(self._stream):
            pages = self._client.get_paginator("list_shards").paginate(StreamName=self._stream)
            for output in [one["ShardId"] for page in pages for one in page["Shards"]]:
                found += self._ids(output, (int(state) - CLOCKS_MS) / 1000)
        return found

    def _ids(self, output: str, since: float) -> Iterator[Id]:
        asked = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": since}
        iterator = self._client.get_shard_iterator(
            StreamName=self._stream, ShardId=output, **asked
        )["ShardIterator"]
        while iterator:
            got = self._client.get_records(ShardIterator=iterator, Limit=10_000)
            yield from (
                msgspec.json.decode(record["Data"], type=_IdOnly).id for record in got["Records"]
            )
            if not got["Records"] and not got.get("MillisBehindLatest"):
                return
            iterator = got.get("NextShardIterator")

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        put_records(
            self._client,
            self._stream,
            [(str(result.id), msgspec.json.encode(result)) for result in results],
        )
        return []

    def flush(self, shard: str) -> int:
        return int(time.time() * 1000)  # each write has been answered

    def close(self, shard: str) -> None:
        """Nothing is held back."""


def put_records(client: Any, stream: str, entries: list[tuple[str, bytes]]) -> None:
    """Put (partition key, data) in order, as large calls as Kinesis takes; what it refuses for now is tried again.

    Raises Busy when it refuses for long.
    """
    at = 0
    while at < len(entries):
        size, end = 0, at
        while end < len(entries) and end - at < PUT_RECORDS:
            size += len(entries[end][0]) + len(entries[end][1])
            if size > PUT_BYTES and end > at:
                break
            end += 1
        _put_all(client, stream, entries[at:end])
        at = end


def _put_all(client: Any, stream: str, entries: list[tuple[str, bytes]]) -> None:
    backoff, left = Backoff(), [{"PartitionKey": key, "Data": data} for key, data in entries]
    for _ in range(MAX_PUT_ATTEMPTS):
        with translated(stream):
            answer = client.put_records(StreamName=stream, Records=left)
        if not answer["FailedRecordCount"]:
            return
        left = [
            entry
            for entry, told in zip(left, answer["Records"], strict=True)
            if told.get("ErrorCode")
        ]
        backoff.pause()
    raise Busy(f"{stream} refuses {len(left)} records again and again: it needs more shards")
