"""Kinesis, DynamoDB and S3 (moto's server).

Resharding, leases, results stream, Parquet, and the signed webhook.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from serve.model.row_format import RowFormat
from serve.settings import ServeSettings
from serve.stream.answer_clock import AnswerClock
from serve.stream.consumer import Consumer
from serve.stream.file_log import DeadLetters, FileSink
from serve.stream.interfaces import Sink
from serve.stream.kinesis import KinesisSink, KinesisSource, put_records
from serve.stream.leases import Checkpoint, DynamoLeases, FileLeases
from serve.stream.ownership import claim_output
from serve.stream.records import Result, ShardLeaseLost, StreamError, decode
from serve.stream.scorer import BatchScores
from serve.stream.sinks import Bucket, Folder, ParquetSink, Webhook
from tests.serve.stream.packing import aggregate
from vigil.webhook import webhook_signature


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-west-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )

    yield client
    server.stop()


class Zero:
    """Scores by the first feature."""

    def row_format(self) -> RowFormat:
        return RowFormat(("n",))

    def score(self, X: np.ndarray[Any, Any], context: Any = None, made: Any = None) -> BatchScores:
        return BatchScores(X[:, 0].copy(), np.where(X[:, 0] < 0, -1, 1), "1")

    def close(self) -> None:
        pass


def table(aws: Any, name: str) -> Any:
    client = aws("dynamodb")
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
    )
    return client


def open_shards(client: Any, stream: str) -> list[dict[str, Any]]:
    return [
        s
        for s in client.list_shards(StreamName=stream)["Shards"]
        if "EndingSequenceNumber" not in s["SequenceNumberRange"]
    ]


def split(client: Any, stream: str) -> None:
    for shard in open_shards(client, stream):
        low, high = (
            int(shard["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey")
        )
        client.split_shard(
            StreamName=stream,
            ShardToSplit=shard["ShardId"],
            NewStartingHashKey=str((low + high) // 2),
        )


def merge(client: Any, stream: str) -> None:
    shards = sorted(
        open_shards(client, stream), key=lambda s: int(s["HashKeyRange"]["StartingHashKey"])
    )
    for one, two in zip(shards[::2], shards[1::2], strict=True):
        client.merge_shards(
            StreamName=stream, ShardToMerge=one["ShardId"], AdjacentShardToMerge=two["ShardId"]
        )


class Recorder:
    """A sink that remembers in which order records came."""

    name = "recorder"

    def __init__(self) -> None:
        self.got: list[str] = []

    def recover(self, shard: str, state: Any) -> list[str]:
        return []

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        self.got += [str(result.id) for result in results]
        return []

    def flush(self, shard: str) -> None:
        return None

    def close(self, shard: str) -> None:
        pass


@pytest.mark.parametrize("while_open", [True, False])
def test_resharding_1_4_2_loses_nothing_and_keeps_the_order_of_each_key(
    aws: Any, tmp_path: Path, while_open: bool
) -> None:
    """All written before anything is read, or read in between as well.

    A parent is always read before its children.
    """
    kinesis, stream, sink = aws("kinesis"), f"reshard-{while_open}", Recorder()
    kinesis.create_stream(StreamName=stream, ShardCount=1)
    sequence: dict[int, int] = defaultdict(int)

    def write(n: int) -> None:
        entries = []
        for i in range(n):
            key = i % 17
            entries.append(
                (
                    f"key{key}",
                    json.dumps({"id": f"{key}:{sequence[key]}", "features": [1]}).encode(),
                )
            )
            sequence[key] += 1
        put_records(kinesis, stream, entries)

    def read() -> None:
        Consumer(
            KinesisSource(kinesis, stream),
            Zero(),
            [sink],
            dead_letters=DeadLetters(tmp_path / "dead"),
            leases=FileLeases(tmp_path / "leases"),
            settings=ServeSettings.from_values(
                stream_batch=30, stream_share_s=0.01, stream_idle_s=0.01
            ),
        ).run(until_end=True)

    for reshard in (split, split, merge, None):
        write(300)
        if while_open:
            read()
        if reshard:
            reshard(kinesis, stream)
    assert len(open_shards(kinesis, stream)) == 2
    read()
    order: dict[str, list[int]] = defaultdict(list)
    for each in sink.got:
        key, n = each.split(":")
        order[key].append(int(n))
    assert order == {str(key): list(range(n)) for key, n in sequence.items()}


def test_a_child_is_read_once_its_parents_are_finished_or_gone() -> None:
    """moto moves the records of a parent into its children, Kinesis does not.

    There only this keeps the order.
    """

    class Listing:
        def get_paginator(self, name: str) -> Any:
            return self

        def paginate(self, **asked: Any) -> list[dict[str, Any]]:
            one, two = (
                {"ShardId": "1", "ParentShardId": "gone"},
                {"ShardId": "2", "ParentShardId": "gone"},
            )
            merged = {"ShardId": "3", "ParentShardId": "1", "AdjacentParentShardId": "2"}
            return [
                {"Shards": [one, two]},
                {"Shards": [merged, {"ShardId": "4", "ParentShardId": "3"}]},
            ]

    source = KinesisSource(Listing(), "s")
    assert source.shards(set()) == ["1", "2"]
    assert source.shards({"1"}) == ["1", "2"]
    assert source.shards({"1", "2"}) == ["1", "2", "3"]
    assert source.shards({"1", "2", "3"}) == ["1", "2", "3", "4"]


class ManualClock:
    """Monotonic seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_leases_of_a_cluster_are_taken_over_when_their_holder_is_silent_and_fence_it(
    aws: Any,
) -> None:
    client = table(aws, "leases")
    clock = ManualClock()
    one, two = (DynamoLeases(client, "leases", "s", seconds=15.0, clock=clock) for _ in range(2))
    mine = one.acquire("a")
    assert mine == Checkpoint()
    one.renew()
    two.renew()
    assert (one.consumers(), two.consumers()) == (2, 2)
    one.save("a", Checkpoint("17", states={"x": 1}))
    assert two.acquire("a") is None
    clock.now += 16
    one.renew()
    assert two.acquire("a") is None  # its holder lives
    clock.now += 16
    assert two.acquire("a") == Checkpoint("17", states={"x": 1})
    with pytest.raises(ShardLeaseLost):
        one.save("a", Checkpoint("18"))
    two.save("a", Checkpoint("19", ended=True))
    two.release("a")
    assert one.finished() == {"a"}
    assert one.acquire("a") == Checkpoint("19", ended=True)


def run(source: KinesisSource, sink: Sink, folder: Path) -> dict[str, int]:
    settings = ServeSettings.from_values(stream_batch=20, stream_share_s=0.01, stream_idle_s=0.01)
    consumer = Consumer(
        source,
        Zero(),
        [sink],
        dead_letters=DeadLetters(folder / "dead"),
        leases=FileLeases(folder / "l"),
        settings=settings,
    )
    return consumer.run(until_end=True)


def crash_before_checkpoint(folder: Path) -> None:
    """Put the checkpoints back to the start, as a kill between sink and checkpoint leaves them."""
    for path in (folder / "l").glob("*.checkpoint"):
        kept = json.loads(path.read_text())
        first = {"recorder": None, "kinesis": 0, "parquet": 0, "file": 0}
        path.write_text(
            json.dumps(
                {**kept, "position": None, "states": {k: first.get(k) for k in kept["states"]}}
            )
        )


@pytest.mark.parametrize("kind", ["kinesis", "s3", "folder", "file"])
def test_what_the_output_has_is_not_written_again(aws: Any, tmp_path: Path, kind: str) -> None:
    kinesis, s3 = aws("kinesis"), aws("s3")
    source, results = f"in-{kind}", f"out-{kind}"
    for stream in (source, results):
        kinesis.create_stream(StreamName=stream, ShardCount=2)
    s3.create_bucket(Bucket=results, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    stores = {"s3": lambda: Bucket(s3, results, "a/b"), "folder": lambda: Folder(tmp_path / "out")}

    def sink() -> Sink:
        if kind in stores:
            return ParquetSink(stores[kind]())
        return KinesisSink(kinesis, results) if kind == "kinesis" else FileSink(tmp_path / "out")

    put_records(
        kinesis,
        source,
        [(f"k{i}", json.dumps({"id": f"r{i}", "features": [i]}).encode()) for i in range(100)],
    )
    assert run(KinesisSource(kinesis, source), sink(), tmp_path)["scored"] == 100
    crash_before_checkpoint(tmp_path)
    put_records(
        kinesis,
        source,
        [(f"k{i}", json.dumps({"id": f"r{i}", "features": [i]}).encode()) for i in range(100, 130)],
    )
    assert run(KinesisSource(kinesis, source), sink(), tmp_path) == {
        "scored": 30,
        "duplicate": 100,
        "dead": 0,
    }
    if kind == "kinesis":
        sink_of_results = KinesisSink(kinesis, results)
        ids = []
        for shard in open_shards(kinesis, results):
            ids += sink_of_results.ids_since(shard["ShardId"], 0)
    elif kind == "s3":
        pages = s3.list_objects_v2(Bucket=results)["Contents"]
        bodies = [tmp_path / str(n) for n, _ in enumerate(pages)]
        for path, page in zip(bodies, pages, strict=True):
            path.write_bytes(s3.get_object(Bucket=results, Key=page["Key"])["Body"].read())
        ids = [i for path in bodies for i in pq.read_table(path)["id"].to_pylist()]
    elif kind == "folder":
        ids = [
            i
            for path in (tmp_path / "out").rglob("*.parquet")
            for i in pq.read_table(path)["id"].to_pylist()
        ]
    else:
        ids = [
            json.loads(line)["id"]
            for path in (tmp_path / "out").glob("*.jsonl")
            for line in path.read_text().splitlines()
        ]
    assert sorted(ids) == sorted(f"r{i}" for i in range(130))


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_an_object_is_not_replaced_by_a_consumer_that_has_lost_its_shard(
    aws: Any, tmp_path: Path, kind: str
) -> None:
    aws("s3").create_bucket(
        Bucket=f"fence-{kind}", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    store = Bucket(aws("s3"), "fence-s3", "") if kind == "s3" else Folder(tmp_path)
    old, new = ParquetSink(store), ParquetSink(store)
    for sink in (old, new):
        assert list(sink.recover("s", None)) == []
        sink.write("s", [Result("a", 0.5, 1, "1")])
    assert new.flush("s") == 1
    with pytest.raises(ShardLeaseLost):
        old.flush("s")


class Receiver(HTTPServer):
    def __init__(self, statuses: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.statuses, self.got = statuses, list[tuple[dict[str, str], bytes]]()


class _Receive(BaseHTTPRequestHandler):
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((headers, self.rfile.read(int(headers["content-length"]))))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("statuses", "refused"), [([], 0), ([500, 429], 0), ([500] * 3, 1), ([400], 1)]
)
def test_anomalies_are_told_signed_and_tried_again(statuses: list[int], refused: int) -> None:
    waits: list[float] = []
    with Receiver(statuses) as receiver:
        Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
        tries = len(statuses)
        hook = Webhook(
            f"http://127.0.0.1:{receiver.server_port}/x?y=1", "secret", tries=3, wait=waits.append
        )
        results = [Result("calm", 0.4, 1, "1"), Result("wild é", 0.9, -1, "1")]
        assert [result.id for result, _ in hook.write("s", results)] == ["wild é"] * refused
        receiver.shutdown()
    assert len(receiver.got) == max(1, tries if refused else tries + 1)
    assert len(waits) == len(receiver.got) - 1
    for headers, body in receiver.got:
        assert json.loads(body)["id"] == "wild é"
        assert headers["x-vigil-signature"] == webhook_signature(
            b"secret", headers["x-vigil-timestamp"], body
        )
        assert headers["x-vigil-delivery"] == "wild%20%C3%A9"


def test_ids_that_are_no_partition_keys_are_written_and_what_is_too_long_is_refused(
    aws: Any,
) -> None:
    kinesis = aws("kinesis")
    kinesis.create_stream(StreamName="keys", ShardCount=1)
    sink = KinesisSink(kinesis, "keys")
    results = [Result(key, 0.5, 1, "1") for key in ("", "x" * 300, 10**300, "y" * 2**20)]
    ((refused, reason),) = sink.write("s", results)
    assert refused is results[3]
    assert "too many for Kinesis" in reason
    assert list(sink.recover("s", 0)) == ["", "x" * 300, 10**300]


def test_a_number_and_its_text_are_two_ids_in_parquet(tmp_path: Path) -> None:
    sink = ParquetSink(Folder(tmp_path))
    assert list(sink.recover("s", None)) == []
    ids = [1, 2, "3", "1", 7, "x"]
    sink.write("s", [Result(key, 0.5, 1, "1", time=5) for key in ids])
    sink.flush("s")
    assert list(ParquetSink(Folder(tmp_path)).recover("s", None)) == ids
    columns = pq.read_table(tmp_path / "s" / "000000000.parquet").to_pydict()
    assert columns["id"] == ["1", "2", "3", "1", "7", "x"]
    assert columns["time"] == ["5"] * 6
    assert columns["entity"] == [None] * 6


def test_parquet_of_an_older_release_gives_ids_as_text_and_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    pq.write_table(pa.table({"id": ["1", "x"]}), tmp_path / "s" / "000000000.parquet")
    assert list(ParquetSink(Folder(tmp_path)).recover("s", 1)) == ["1", 1, "x"]


def test_a_bucket_belongs_to_one_source(aws: Any) -> None:
    s3 = aws("s3")
    s3.create_bucket(Bucket="owned", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    store = Bucket(s3, "owned", "scores")
    for _ in range(2):
        claim_output(store, "kinesis:one", "s3://owned/scores")
    with pytest.raises(StreamError, match="has the results of kinesis:one: those of kinesis:two"):
        claim_output(store, "kinesis:two", "s3://owned/scores")
    claim_output(Bucket(s3, "owned", "other"), "kinesis:two", "s3://owned/other")


def test_an_aggregate_that_ends_in_a_blank_is_read_as_it_is() -> None:
    """The digest of an aggregate may end in any byte."""
    records = (aggregate([f'{{"id": {n}, "features": [1]}}'.encode()]) for n in range(2000))
    data = next(record for record in records if record[-1:].isspace())

    class Shard:
        def get_shard_iterator(self, **asked: Any) -> dict[str, str]:
            return {"ShardIterator": "i"}

        def get_records(self, **asked: Any) -> dict[str, Any]:
            return {"Records": [{"SequenceNumber": "1", "Data": data}], "NextShardIterator": "n"}

    batch = KinesisSource(Shard(), "s").read("shard", None, 100)
    rows, letters = decode(batch.records, ("n",), "shard")
    assert (len(rows.ids), letters) == (1, [])


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_sink_stamps_by_the_clock_of_kinesis(aws: Any, jump_s: float) -> None:
    kinesis, stream = aws("kinesis"), f"stamped-{jump_s:g}"
    kinesis.create_stream(StreamName=stream, ShardCount=1)

    def sink() -> KinesisSink:
        return KinesisSink(kinesis, stream, AnswerClock(lambda: time.time() + jump_s))

    state = sink().flush("s")
    assert abs(state / 1000 - time.time()) < 3600
    sink().write("s", [Result("a", 0.5, 1, "1")])
    assert list(sink().recover("s", state)) == ["a"]


def test_a_stamp_of_a_clock_that_ran_ahead_is_no_time_that_kinesis_refuses() -> None:
    asked: list[float] = []

    class Stream:
        def get_paginator(self, name: str) -> Any:
            return self

        def paginate(self, **stream: Any) -> list[dict[str, Any]]:
            return [{"Shards": [{"ShardId": "0"}]}]

        def list_shards(self, **stream: Any) -> dict[str, Any]:
            headers = {"date": "Thu, 01 Jan 1970 01:00:00 GMT"}
            return {"ResponseMetadata": {"HTTPHeaders": headers}}

        def get_shard_iterator(self, Timestamp: float, **shard: Any) -> dict[str, str]:
            asked.append(Timestamp)
            return {"ShardIterator": ""}

    clock = AnswerClock(seconds=lambda: 0.0)
    KinesisSink(Stream(), "s", clock).recover("s", 7200 * 1000)
    assert asked == [3600 - 60]


def test_a_service_that_dates_no_answer_is_stamped_by_our_clock() -> None:
    clock = AnswerClock(lambda: 5.0, seconds=lambda: 1.0)
    clock.read({"ResponseMetadata": {"HTTPHeaders": {}}})
    clock.read({"ResponseMetadata": {"HTTPHeaders": {"date": "soon"}}})
    clock.read({})
    assert not clock.is_known
    assert clock.now() == 5.0
