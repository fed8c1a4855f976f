"""The consumer on a file log.

What it writes, what it buries, what it waits for, and what a restart finds.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.model.report import RowContext
from serve.model.row_format import RowFormat
from serve.settings import ServeSettings
from serve.stream.cli import build_consumer, source_of
from serve.stream.consumer import Consumer
from serve.stream.file_log import DeadLetters, FileLog, FileSink
from serve.stream.leases import FileLeases
from serve.stream.log_writer import LogWriter
from serve.stream.recent_ids import RecentIds
from serve.stream.record_id import readable_id
from serve.stream.records import MAX_RECORD_BYTES, RawRecord, StreamError, decode
from serve.stream.scorer import MIN_BACKOFF_S, BatchScores, HttpScorer, Refused, Scorer
from tests.scoring import ScoringServer, scoring, small_model
from tests.serve.stream.packing import gzipped
from vigil.home import Home

NAMES = ("f0", "f1", "f2", "f3")


@pytest.fixture(scope="module")
def served() -> Iterator[ScoringServer]:
    with scoring(small_model()) as server:
        yield server


def rows(n: int, first: int = 0) -> list[dict[str, Any]]:
    X = np.random.default_rng(first).normal(10, 1, (n, 4))
    return [{"id": f"r{first + i}", "features": row.tolist()} for i, row in enumerate(X)]


def write(folder: Path, records: list[Any], shard: str = "0") -> None:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    log = LogWriter(folder / "in", drop_torn=False)
    log.append(shard, "".join(f"{line}\n" for line in lines).encode())
    log.close(shard)


def read(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def consumer(folder: Path, url: str, batch: int = 100, **more: Any) -> Consumer:
    (folder / "in").mkdir(exist_ok=True)
    settings = ServeSettings.from_values(
        stream_batch=batch, stream_idle_s=0.01, stream_share_s=0.01, **more
    )
    return build_consumer(
        f"file:{folder / 'in'}",
        [f"file:{folder / 'out'}"],
        f"file:{folder / 'dead'}",
        leases=None,
        scorer=HttpScorer(url),
        home=Home(folder),
        settings=settings,
    )


def own_consumer(folder: Path, scorer: Scorer, **arguments: Any) -> Consumer:
    """A consumer that is put together by hand, with leases of its own."""
    defaults = {
        "dead_letters": DeadLetters(folder / "dead"),
        "leases": FileLeases(folder / "leases"),
        "settings": ServeSettings.from_values(),
    }
    sinks = arguments.pop("sinks", None) or [FileSink(folder / "out")]
    return Consumer(FileLog(folder / "in"), scorer, sinks, **defaults | arguments)


def test_each_record_becomes_one_result_in_order(tmp_path: Path, served: ScoringServer) -> None:
    records = rows(250)
    records[3]["features"] = dict(zip(NAMES, [99, 99, 99, 99], strict=True))
    write(tmp_path, records)
    assert consumer(tmp_path, served.url).run(until_end=True) == {
        "scored": 250,
        "duplicate": 0,
        "dead": 0,
    }
    found = read(tmp_path / "out")
    X = np.array(
        [
            list(r["features"].values()) if isinstance(r["features"], dict) else r["features"]
            for r in records
        ]
    )
    assert [r["id"] for r in found] == [r["id"] for r in records]
    np.testing.assert_array_equal(
        [r["anomaly_score"] for r in found], served.model.bundle.forest.score(X)
    )
    assert found[3]["prediction"] == -1
    assert found[0].keys() == {"id", "anomaly_score", "prediction", "model_version"}
    assert {r["model_version"] for r in found} == {"7"}


def test_the_service_hears_whose_rows_they_are_and_results_keep_their_order(
    tmp_path: Path, served: ScoringServer
) -> None:
    records = rows(6)
    for number in (1, 3, 5):
        records[number]["entity"] = f"host-{number}"
    records[5]["time"] = "2026-11-29T10:00:00Z"
    write(tmp_path, records)
    consumer(tmp_path, served.url).run(until_end=True)
    assert [r["id"] for r in read(tmp_path / "out")] == [r["id"] for r in records]
    assert [context for context in served.contexts if context is not None] == [
        RowContext(["host-1", "host-3"]),
        RowContext(["host-5"], [1_795_946_400.0]),
    ]


def test_a_restart_goes_on_where_the_last_one_stopped(
    tmp_path: Path, served: ScoringServer
) -> None:
    write(tmp_path, rows(120))
    consumer(tmp_path, served.url).run(until_end=True)
    write(tmp_path, rows(30, first=120))
    assert consumer(tmp_path, served.url).run(until_end=True)["scored"] == 30
    assert [r["id"] for r in read(tmp_path / "out")] == [f"r{i}" for i in range(150)]


def test_an_id_that_comes_again_is_written_once(tmp_path: Path, served: ScoringServer) -> None:
    write(tmp_path, [*rows(150), *rows(150)])
    assert consumer(tmp_path, served.url).run(until_end=True) == {
        "scored": 150,
        "duplicate": 150,
        "dead": 0,
    }
    write(tmp_path, rows(10))
    assert consumer(tmp_path, served.url).run(until_end=True)["duplicate"] == 10
    assert set(Counter(r["id"] for r in read(tmp_path / "out")).values()) == {1}


@pytest.mark.parametrize(
    ("line", "key", "word"),
    [
        ("not json", None, "malformed"),
        ('{"id": "a", "features": [1, 2', "a", "truncated"),
        ('{"id": 5, "features": [1, 2, 3]}', 5, "'f3' is the first that is missing"),
        ('{"id": "a", "features": [1, 2, "x", 4]}', "a", "feature 'f2': 'x' is not a number"),
        ('{"id": "a", "features": [1, 2, null, 4]}', "a", "'f2': the value is missing"),
        ('{"id": "a", "features": {"f0": 1, "nope": 2}}', "a", "nope"),
        ('{"id": "a", "features": [1, 2, 3, 1e200]}', "a", "'f3'"),
        ('{"id": "a", "features": [1, 2, 3, NaN]}', "a", "'f3': the value is missing"),
        ('{"features": [1, 2, 3, 4]}', None, "id"),
        ('{"id": {"x": 1}, "features": [1, 2, 3, 4]}', None, "id"),
        ("[1, 2]", None, "object"),
        ("null", None, "object"),
        ('{"id": "\\u00e9", "features": []}', "é", "features"),
    ],
)
def test_poison_is_a_dead_letter_and_the_shard_goes_on(
    tmp_path: Path, served: ScoringServer, line: str, key: Any, word: str
) -> None:
    write(tmp_path, [*rows(5), line, *rows(5, first=5)])
    assert consumer(tmp_path, served.url).run(until_end=True) == {
        "scored": 10,
        "duplicate": 0,
        "dead": 1,
    }
    (letter,) = read(tmp_path / "dead")
    assert (letter["id"], letter["raw"], letter["shard"]) == (key, line, "0.jsonl")
    assert word in letter["reason"]
    assert len(read(tmp_path / "out")) == 10


def test_bytes_that_are_no_text_are_kept_readable(tmp_path: Path, served: ScoringServer) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.jsonl").write_bytes(b'{"id": "a\xff", "features": [1, 2, 3, 4]}\n')
    consumer(tmp_path, served.url).run(until_end=True)
    assert read(tmp_path / "dead")[0]["raw"] == '{"id": "a\\xff", "features": [1, 2, 3, 4]}'


def test_a_record_without_end_is_one_dead_letter(tmp_path: Path, served: ScoringServer) -> None:
    long = '{"id": "long", "features": [' + "1," * (3 * MAX_RECORD_BYTES)
    write(tmp_path, [*rows(2), long, *rows(2, first=2)])
    assert consumer(tmp_path, served.url).run(until_end=True) == {
        "scored": 4,
        "duplicate": 0,
        "dead": 1,
    }
    assert read(tmp_path / "dead")[0]["id"] == "long"


def test_a_torn_line_waits_for_its_rest(tmp_path: Path, served: ScoringServer) -> None:
    write(tmp_path, rows(3))
    line = json.dumps(rows(1, first=3)[0])
    with (tmp_path / "in" / "0.jsonl").open("a") as file:
        file.write(line[:20])
        file.flush()
        assert consumer(tmp_path, served.url).run(until_end=True)["scored"] == 3
        file.write(line[20:] + "\n")
        file.flush()
    assert consumer(tmp_path, served.url).run(until_end=True) == {
        "scored": 1,
        "duplicate": 0,
        "dead": 0,
    }


def test_a_last_line_without_newline_is_read_once_it_is_whole(
    tmp_path: Path, served: ScoringServer, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [json.dumps(record) for record in rows(4)]
    write(tmp_path, lines[:2])
    file = tmp_path / "in" / "0.jsonl"
    with file.open("a") as log:
        log.write(lines[2])
    assert consumer(tmp_path, served.url).run(until_end=True)["scored"] == 3
    assert "no whole record" not in caplog.text
    with file.open("a") as log:
        log.write("\r\n" + lines[3][:-1])
    assert consumer(tmp_path, served.url).run(until_end=True)["scored"] == 0
    assert f"0.jsonl: the last {len(lines[3]) - 1} bytes are no whole record" in caplog.text
    with file.open("a") as log:
        log.write("}")
    assert consumer(tmp_path, served.url).run(until_end=True)["scored"] == 1
    assert [r["id"] for r in read(tmp_path / "out")] == ["r0", "r1", "r2", "r3"]


def test_several_values_in_a_line_are_several_records(
    tmp_path: Path, served: ScoringServer
) -> None:
    one, two, three = (json.dumps(record) for record in rows(3))
    write(tmp_path, [f"\ufeff{one}\r", "", f"[{two}, 5, {three}]", f"{one}{two}"])
    work = consumer(tmp_path, served.url, batch=2)
    assert work.run(until_end=True) == {"scored": 3, "duplicate": 2, "dead": 1}
    assert [r["id"] for r in read(tmp_path / "out")] == ["r0", "r1", "r2"]


def test_entity_and_time_are_in_the_result(tmp_path: Path, served: ScoringServer) -> None:
    with_both = rows(1)[0] | {"entity": 7, "time": "2026-01-01T00:00:00Z"}
    write(tmp_path, [with_both, *rows(1, first=1)])
    consumer(tmp_path, served.url).run(until_end=True)
    both, neither = read(tmp_path / "out")
    assert (both["entity"], both["time"]) == (7, "2026-01-01T00:00:00Z")
    assert neither.keys() == {"id", "anomaly_score", "prediction", "model_version"}


def test_what_a_source_does_not_read_is_said_once(
    tmp_path: Path, served: ScoringServer, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, rows(2))
    (tmp_path / "in" / "older").mkdir()
    (tmp_path / "in" / "1.jsonl.gz").write_bytes(gzipped(b"{}"))
    assert consumer(tmp_path, served.url).run(until_end=True)["scored"] == 2
    assert caplog.text.count("older is not read: it is a folder") == 1
    assert caplog.text.count("1.jsonl.gz is not read: it is compressed by gzip") == 1


def test_two_files_whose_results_would_have_one_name_have_two(
    tmp_path: Path, served: ScoringServer
) -> None:
    write(tmp_path, [rows(1)[0], "poison"], "a.jsonl")
    consumer(tmp_path, served.url).run(until_end=True)
    (tmp_path / "in" / "a").write_text(json.dumps(rows(1)[0]) + "\npoison\n")
    (tmp_path / "in" / "a~.jsonl").write_text(json.dumps(rows(1)[0]) + "\npoison\n")
    done = consumer(tmp_path, served.url).run(until_end=True)
    assert done == {"scored": 2, "duplicate": 0, "dead": 2}
    for folder in ("out", "dead"):
        names = sorted(path.name for path in (tmp_path / folder).glob("*.jsonl"))
        assert names == ["a.jsonl", "a~.jsonl", "a~~.jsonl"]


def words(folder: Path, **other: Any) -> dict[str, Any]:
    """The words of a command line: a source, a sink, and a place for dead letters."""
    named = {"source": "in", "sink": "out", "dead_letters": "dead"} | other
    return {key: f"file:{folder / word}" for key, word in named.items()}


def consumer_of(folder: Path, source: str, sink: str, dead_letters: str) -> Consumer:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "other").mkdir(exist_ok=True)
    settings = ServeSettings.from_values()
    places = {"leases": None, "scorer": Picky(), "home": Home(folder), "settings": settings}
    return build_consumer(source, [sink], dead_letters, **places)


@pytest.mark.parametrize(
    ("other", "place"),
    [
        ({"source": "other"}, "out"),
        ({"source": "other", "sink": "out2"}, "dead"),
    ],
)
def test_an_output_of_another_source_is_refused_at_start(
    tmp_path: Path, other: dict[str, str], place: str
) -> None:
    """Its shards may have the same names, and their records the same positions."""
    consumer_of(tmp_path, **words(tmp_path))
    consumer_of(tmp_path, **words(tmp_path))  # the same source again
    with pytest.raises(StreamError, match=rf"{place} has the results of file:.*/in: "):
        consumer_of(tmp_path, **words(tmp_path, **other))


@pytest.mark.parametrize("other", [{"sink": "in"}, {"dead_letters": "out"}, {"dead_letters": "in"}])
def test_one_place_for_two_things_is_refused_at_start(
    tmp_path: Path, other: dict[str, str]
) -> None:
    with pytest.raises(StreamError, match="named for two things"):
        consumer_of(tmp_path, **words(tmp_path, **other))


def test_a_log_that_shrank_is_an_error(tmp_path: Path, served: ScoringServer) -> None:
    write(tmp_path, rows(3))
    consumer(tmp_path, served.url).run(until_end=True)
    os.truncate(tmp_path / "in" / "0.jsonl", 5)
    with pytest.raises(StreamError, match="only appended to"):
        consumer(tmp_path, served.url).run(until_end=True)


def test_a_torn_result_is_written_anew(tmp_path: Path, served: ScoringServer) -> None:
    """A kill in the middle of a write, before the first checkpoint."""
    write(tmp_path, rows(100))
    consumer(tmp_path, served.url, stream_checkpoint_s=1000).run(until_end=True)
    out = tmp_path / "out" / "0.jsonl"
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    next((tmp_path / "out" / ".consumer").glob("*.checkpoint")).unlink()
    done = consumer(tmp_path, served.url).run(until_end=True)
    assert done["scored"] + done["duplicate"] == 100
    assert done["duplicate"] > 40
    assert out.read_bytes() == whole


@pytest.mark.parametrize(("status", "after"), [(503, "0.2"), (429, "0.2"), (500, None)])
def test_a_busy_service_is_waited_for(
    tmp_path: Path,
    served: ScoringServer,
    status: int,
    after: str | None,
) -> None:
    waits: list[float] = []
    write(tmp_path, rows(10))
    work = own_consumer(tmp_path, HttpScorer(served.url), wait=waits.append)
    served.refusals.extend([(status, after)] * 3)
    assert work.run(until_end=True)["scored"] == 10
    assert len(waits) == 3
    if after:
        assert all(0.2 <= wait <= 0.3 for wait in waits)
    else:
        assert all(0.5 <= wait / (MIN_BACKOFF_S * 2**k) <= 1 for k, wait in enumerate(waits))
    assert work.metrics.registry.get_sample_value("vigil_stream_busy_total") == 3


class Picky:
    """Refuses every batch with a negative first value, as a service with stricter rules would."""

    def __init__(self) -> None:
        # Changes once, as after a swap to a model with another order.
        self._orders = [NAMES[::-1], NAMES]

    def row_format(self) -> RowFormat:
        return RowFormat(self._orders.pop(0) if len(self._orders) > 1 else NAMES)

    def score(self, X: np.ndarray[Any, Any], context: Any = None, made: Any = None) -> BatchScores:
        if (X[:, 0] < 0).any():
            raise Refused("no negatives")
        return BatchScores(X[:, 0].copy(), np.ones(len(X), np.int64), "1")

    def close(self) -> None:
        pass


def test_a_refused_batch_is_halved_until_the_bad_records_stand_alone(tmp_path: Path) -> None:
    records = [
        {"id": i, "features": dict(zip(NAMES, [-1 if i in (17, 63) else i, 0, 0, -1], strict=True))}
        for i in range(100)
    ]
    write(tmp_path, records)
    done = own_consumer(tmp_path, Picky()).run(until_end=True)
    assert done == {"scored": 98, "duplicate": 0, "dead": 2}
    assert [letter["id"] for letter in read(tmp_path / "dead")] == [17, 63]
    assert all(r["anomaly_score"] == r["id"] for r in read(tmp_path / "out"))


class FullDisk(LogWriter):
    """A writer whose second and third append find no space for all of it."""

    appends = 0

    def append(self, shard: str, lines: bytes) -> None:
        self.appends += 1
        if self.appends in (2, 3):
            super().append(shard, lines[: len(lines) // 2])  # a part fits
            raise OSError(28, "No space left on device")
        super().append(shard, lines)


def test_a_full_disk_stops_the_shard_until_there_is_space(
    tmp_path: Path, served: ScoringServer
) -> None:
    write(tmp_path, rows(100))
    sink = FileSink(tmp_path / "out")
    sink.writer = FullDisk(tmp_path / "out")
    settings = ServeSettings.from_values(stream_batch=20)
    work = own_consumer(tmp_path, HttpScorer(served.url), sinks=[sink], settings=settings)
    work.run(until_end=True)
    assert [r["id"] for r in read(tmp_path / "out")] == [f"r{i}" for i in range(100)]
    failures = work.metrics.registry.get_sample_value(
        "vigil_stream_failures_total", {"error": "OSError"}
    )
    assert failures == 2


def test_consumers_share_the_shards(tmp_path: Path) -> None:
    one = FileLeases(tmp_path)
    assert one.consumers() == 1
    two = FileLeases(tmp_path)
    assert (one.consumers(), two.consumers()) == (2, 2)
    assert one.acquire("a") is not None
    assert two.acquire("a") is None
    one.release("a")
    assert two.acquire("a") is not None
    one.close()
    two.close()


def test_a_consumer_gives_up_shards_that_are_more_than_its_part(
    tmp_path: Path, served: ScoringServer
) -> None:
    for k in range(4):
        write(tmp_path, rows(10, first=10 * k), str(k))
    work = consumer(tmp_path, served.url)
    work.share_shards()
    assert len(work.shards) == 4
    other = consumer(tmp_path, served.url)
    work.share_shards()
    other.share_shards()
    assert (len(work.shards), len(other.shards)) == (2, 2)
    assert not work.shards.keys() & other.shards.keys()
    for each in (work, other):
        each.run(until_end=True)
    assert len({r["id"] for r in read(tmp_path / "out")}) == len(read(tmp_path / "out")) == 40


def test_metrics_tell_lag_and_outcomes(tmp_path: Path, served: ScoringServer) -> None:
    write(tmp_path, [*rows(5), "poison"])
    work = consumer(tmp_path, served.url, batch=2)
    work.share_shards()
    work.take_turn(work.shards["0.jsonl"])
    sample = work.metrics.registry.get_sample_value
    first_two = sum(len(json.dumps(r)) + 1 for r in rows(5)[:2])
    assert (
        sample("vigil_stream_lag", {"shard": "0.jsonl"})
        == (tmp_path / "in" / "0.jsonl").stat().st_size - first_two
    )
    assert sample("vigil_stream_shards") == 1
    assert (sample("vigil_stream_checkpoint_age_seconds", {"shard": "0.jsonl"}) or -1) > 0
    work.run(until_end=True)
    assert sample("vigil_stream_records_total", {"outcome": "scored"}) == 5
    assert sample("vigil_stream_records_total", {"outcome": "dead"}) == 1


@pytest.mark.parametrize("name", ["", "file:", "kafka:x", "kinesis:"])
def test_a_source_must_be_named_in_a_known_way(name: str) -> None:
    with pytest.raises(StreamError, match="kinesis:NAME"):
        source_of(name)


VALID = json.dumps({"id": "r1", "entity": "e1", "features": [1.5, -2.0, 3e5, 4.25]}).encode()


@st.composite
def damaged_records(draw: st.DrawFn) -> bytes:
    """A valid record in which some pieces are cut out, doubled or replaced."""
    data = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 12, len(data))))
        piece = draw(st.sampled_from([b"", data[start:end] * 2, b"1e400", b"null", b"\xff", b'"']))
        data = data[:start] + piece + data[end:]
    return data


@given(damaged_records())
def test_a_damaged_record_is_sorted_without_an_error(data: bytes) -> None:
    decoded, dead = decode([RawRecord("0", data)], NAMES, "s")
    assert len(decoded.ids) + len(dead) == 1
    assert dead or decoded.X.shape == (1, 4)


@given(st.text(min_size=1))
def test_the_id_of_a_torn_record_is_read(key: str) -> None:
    line = json.dumps({"id": key, "features": [1, 2]})
    assert readable_id(line[:-1].encode()) == key


def test_seen_forgets_the_oldest_only() -> None:
    seen = RecentIds(10)
    for i in range(100):
        seen.add([i])
    assert all(i in seen for i in range(90, 100))
    assert 0 not in seen
