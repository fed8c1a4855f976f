"""Each row of a stream ends as one result in each sink, or as one dead letter, whatever dies.

`make streams` runs 10,000 random streams of files, and as many of Kinesis.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from serve.settings import ServeSettings
from serve.stream.consumer import Consumer
from serve.stream.file_log import DeadLetters, FileLog, FileSink
from serve.stream.interfaces import Sink, Source
from serve.stream.kinesis import KinesisSink, KinesisSource
from serve.stream.leases import FileLeases
from serve.stream.records import Result
from serve.stream.sinks import Folder, ParquetSink
from tests.serve.stream.kinesis_in_process import KinesisInProcess
from tests.serve.stream.random_streams import (
    ANOMALY,
    UNWANTED,
    Death,
    Fault,
    Packed,
    RuleScorer,
    Stepping,
    Steps,
    StreamMaker,
    TearingWriter,
    count_rows,
    expected_results,
    faults,
    seeds,
    sizes,
    unwanted_rows,
)

MAX_TURNS = 1000


class Receiver:
    """A sink as the webhook is: it takes anomalies, at least once, and refuses UNWANTED ones."""

    name = "webhook"

    def __init__(self, got: list[str | int]) -> None:
        self._got = got

    def recover(self, shard: str, state: Any) -> list[str]:
        return []

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        self._got += [one.id for one in results if one.anomaly_score == ANOMALY]
        return [(one, "unwanted") for one in results if one.anomaly_score == UNWANTED]

    def flush(self, shard: str) -> None:
        return None

    def close(self, shard: str) -> None:
        pass


@dataclass
class World:
    """What outlives a process: the folders, the streams, and what the receiver has."""

    folder: Path
    source: Callable[[], Source]
    more_sinks: Callable[[], list[Sink]] = list
    received: list[str | int] = field(default_factory=list)

    def live(self, batch: int, checkpoint_s: float, fault: Fault | None) -> dict[str, int]:
        """One process, up to its fault or to the end of the stream."""
        process = _Process(self, batch, checkpoint_s, Steps(fault))
        if fault is None or fault.kind == "error":
            return process.consumer.run(until_end=True)
        try:
            process.work()
        except Death:
            pass
        process.vanish()
        return {}


class _Process:
    def __init__(self, world: World, batch: int, checkpoint_s: float, steps: Steps) -> None:
        file_sink = FileSink(world.folder / "out")
        dead_letters = DeadLetters(world.folder / "dead")
        file_sink.writer = TearingWriter(world.folder / "out", steps)
        dead_letters.writer = TearingWriter(world.folder / "dead", steps)
        self._writers = (file_sink.writer, dead_letters.writer)
        self._leases = FileLeases(world.folder / "leases")
        parquet = ParquetSink(Folder(world.folder / "parquet"))
        sinks = [file_sink, parquet, Receiver(world.received), *world.more_sinks()]
        stepping: Any = lambda part: Stepping(part, steps)  # noqa: E731
        self.consumer = Consumer(
            stepping(world.source()),
            stepping(RuleScorer()),
            [stepping(sink) for sink in sinks],
            dead_letters=stepping(dead_letters),
            leases=stepping(self._leases),
            settings=ServeSettings.from_values(
                stream_batch=batch, stream_checkpoint_s=checkpoint_s, stream_share_s=0.001
            ),
            wait=lambda seconds: None,
        )

    def work(self) -> None:
        """What `run` does, without what it tidies up in the end."""
        self.consumer.share_shards()
        for _ in range(MAX_TURNS):
            moved = [self.consumer.take_turn(shard) for shard in [*self.consumer.shards.values()]]
            if not any(moved):
                return

    def vanish(self) -> None:
        """Let go of what the operating system takes back from the dead."""
        self._leases.close()
        for writer in self._writers:
            writer.vanish()


def written(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def parquet_ids(folder: Path) -> list[str]:
    files = sorted(folder.rglob("*.parquet"))
    return [key for file in files for key in pq.read_table(file)["id"].to_pylist()]


def check_sum(world: World, stream: list[list[Packed]]) -> None:
    expected: dict[str | int, float] = {}
    for shard in stream:
        expected |= expected_results(shard)
    results = written(world.folder / "out")
    assert Counter(result["id"] for result in results) == Counter(expected.keys())
    assert Counter(parquet_ids(world.folder / "parquet")) == Counter(map(str, expected))
    anomalies = {key for key, value in expected.items() if value == ANOMALY}
    assert set(world.received) == anomalies
    letters = written(world.folder / "dead")
    refused = [letter["id"] for letter in letters if letter["reason"].startswith("webhook: ")]
    unwanted = [row for shard in stream for row in unwanted_rows(shard)]
    # An id that comes again after a restart is told to a receiver again: it remembers nothing.
    assert set(refused) == {row.id for row in unwanted}
    assert Counter(refused) <= Counter(row.id for row in unwanted)
    dead = sum(count_rows(shard, "dead") for shard in stream)
    assert len(letters) - len(refused) == dead
    raw = "\n".join(letter["raw"] for letter in letters)
    for shard in stream:
        for row in (row for record in shard for row in record.rows if row.outcome == "dead"):
            assert row.text.decode() in raw


def check_counts(counts: dict[str, int], stream: list[list[Packed]]) -> None:
    """Without a fault the counts are the sum as well; what a sink refuses is scored, and dead."""
    rows = sum(len(record.rows) for shard in stream for record in shard)
    unwanted = {row.id for shard in stream for row in unwanted_rows(shard)}
    assert sum(counts.values()) - len(unwanted) == rows


processes = st.tuples(faults, st.integers(1, 5), st.sampled_from([0.0, 1000.0]))


@given(seed=seeds, records=sizes, lives=processes, is_ended=st.booleans())
def test_a_file_log_with_deaths_and_errors(
    seed: int, records: list[int], lives: tuple[list[Fault], int, float], is_ended: bool
) -> None:
    maker = StreamMaker(seed)
    stream = [maker.shard(count, maker.line) for count in records]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number, shard in enumerate(stream):
            text = b"\n".join(record.data for record in shard)
            whole = not shard or is_ended or not _ends_whole(shard[-1])
            (folder / "in" / f"{number}.jsonl").write_bytes(text + b"\n" if whole else text)
        world = World(folder, lambda: FileLog(folder / "in"))
        _live_and_check(world, stream, lives)


def _ends_whole(record: Packed) -> bool:
    return record.data.rstrip().endswith((b"}", b"]")) and all(row.is_json for row in record.rows)


def _live_and_check(
    world: World, stream: list[list[Packed]], lives: tuple[list[Fault], int, float]
) -> None:
    schedule, batch, checkpoint_s = lives
    for fault in schedule:
        world.live(batch, checkpoint_s, fault)
    counts = world.live(batch, checkpoint_s, None)
    check_sum(world, stream)
    if not schedule:
        check_counts(counts, stream)


@given(seed=seeds, records=sizes, lives=processes)
def test_kinesis_with_deaths_and_errors(
    seed: int, records: list[int], lives: tuple[list[Fault], int, float]
) -> None:
    kinesis = KinesisInProcess()
    maker = StreamMaker(seed)
    stream = [maker.shard(count, maker.record) for count in records]
    for name in ("in", "out"):
        kinesis.create_stream(StreamName=name, ShardCount=2)
    for hash_key, shard in zip(("0", str(2**127)), stream, strict=False):
        for record in shard:
            kinesis.put_record(
                StreamName="in",
                Data=record.data,
                PartitionKey="key",
                ExplicitHashKey=hash_key,
            )
    with tempfile.TemporaryDirectory() as name:
        world = World(
            Path(name),
            lambda: KinesisSource(kinesis, "in"),
            lambda: [KinesisSink(kinesis, "out")],
        )
        _live_and_check(world, stream, lives)
    ids = KinesisSink(kinesis, "out").recover("", 0)
    expected = {key for shard in stream for key in expected_results(shard)}
    assert Counter(ids) == Counter(expected)
