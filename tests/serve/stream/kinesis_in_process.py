"""Kinesis as moto has it, without requests, signatures and metrics: for tests of many streams."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

from moto.kinesis.models import KinesisBackend

from vigil.json_types import JsonObject


class KinesisInProcess:
    """The methods of boto3's client that a source and a sink call, with its arguments and answers.

    What goes over the wire is tested in test_kinesis.py.
    """

    def __init__(self) -> None:
        self._backend = KinesisBackend("eu-west-1", "123456789012")

    def create_stream(self, *, StreamName: str, ShardCount: int) -> None:
        self._backend.create_stream(StreamName, ShardCount)

    def delete_stream(self, *, StreamName: str) -> None:
        self._backend.delete_stream(None, StreamName)

    def get_paginator(self, name: str) -> KinesisInProcess:
        assert name == "list_shards"
        return self

    def paginate(self, *, StreamName: str) -> Iterator[JsonObject]:
        stream = self._backend.describe_stream(None, StreamName)
        yield {"Shards": [shard.to_json() for shard in stream.shards.values()]}

    def list_shards(self, *, StreamName: str, MaxResults: int) -> JsonObject:
        (page,) = self.paginate(StreamName=StreamName)
        date = formatdate(time.time(), usegmt=True)
        return {**page, "ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    def put_record(
        self,
        *,
        StreamName: str,
        Data: bytes,
        PartitionKey: str,
        ExplicitHashKey: str = "",
    ) -> None:
        stream = self._backend.describe_stream(None, StreamName)
        stream.put_record(PartitionKey, ExplicitHashKey, base64.b64encode(Data).decode())

    def put_records(self, *, StreamName: str, Records: list[JsonObject]) -> JsonObject:
        for record in Records:
            self.put_record(StreamName=StreamName, **record)
        return {"FailedRecordCount": 0, "Records": []}

    def get_shard_iterator(
        self,
        *,
        StreamName: str,
        ShardId: str,
        ShardIteratorType: str,
        StartingSequenceNumber: Any = 0,
        Timestamp: Any = 0.0,
    ) -> JsonObject:
        iterator = self._backend.get_shard_iterator(
            None,
            StreamName,
            ShardId,
            ShardIteratorType,
            StartingSequenceNumber,
            Timestamp,
        )
        return {"ShardIterator": iterator}

    def get_records(self, *, ShardIterator: str, Limit: int) -> JsonObject:
        iterator, records, behind_ms = self._backend.get_records(None, ShardIterator, Limit)
        return {
            "Records": [record.to_json() for record in records],
            "NextShardIterator": iterator,
            "MillisBehindLatest": behind_ms,
        }
