"""The arithmetic and the tables of the benchmarks; nothing is measured here."""

from __future__ import annotations

import json
from math import isnan, nan
from pathlib import Path

import pytest

from tests.bench import quality, serving, training
from tests.bench.load import Load, answered, request, summary
from tests.bench.report import Ratio, markdown, over, write_section


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [
        (0.9, True, True),
        (0.89, True, False),
        (0.9, False, True),
        (0.91, False, False),
        (None, True, None),
        (nan, False, None),
    ],
)
def test_a_ratio_meets_its_bound_or_was_not_measured(
    value: float | None, at_least: bool, met: bool | None
) -> None:
    ratio = Ratio("x", value, 0.9, at_least)
    assert ratio.met is met
    assert (ratio.row()["found"] == "not measured") is (met is None)


def test_nothing_is_divided_by_what_is_missing() -> None:
    assert over(6.0, 2.0) == 3.0
    assert over(None, 2.0) is over(6.0, None) is over(6.0, 0.0) is None


def test_markdown_keeps_a_cell_in_its_column() -> None:
    assert markdown([{"a": "x|y", "b": "1\n2"}]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    for title, text in (("One", "old"), ("Two", "kept"), ("One", "new")):
        write_section(page, title, text)
    sections = page.read_text().split("\n## ")
    assert sections[0].startswith("# Benchmarks")
    assert sections[1:] == ["One\n\nnew\n", "Two\n\nkept\n"]


def test_quantiles_are_of_the_answered_requests() -> None:
    load = summary([0.003, 0.001, 0.002], failed=1, seconds=2.0, cpu=0.5)
    assert (load.requests, load.failed, load.p50_ms, load.p99_ms, load.rate) == (
        4,
        1,
        2.0,
        3.0,
        1.5,
    )
    assert isnan(summary([], 0, 1.0, 0.0).p50_ms)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200),
    ],
)
def test_an_answer_counts_when_it_is_complete(text: bytes, status: int | None) -> None:
    assert answered(bytearray(text)) == status


def test_a_request_says_its_length_and_kind() -> None:
    head, _, body = request("/x", b"abc", [("content-type", "text/csv")]).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert {b"content-length: 3", b"content-type: text/csv"} <= set(head.split(b"\r\n"))
    assert body == b"abc"


def load(rate: float, p50_ms: float, failed: int = 0) -> Load:
    return Load(
        int(rate) + failed, failed, 1.0, p50_ms, 2 * p50_ms, 0.1, "HTTP/1.1 503" if failed else ""
    )


def test_ratios_are_of_medians_and_name_what_is_missing() -> None:
    found = serving.Found(
        missing={serving.MLSERVER: "it does not install"}, replica={"rss_mb": 300.0}
    )
    for vigil, nothing in ((900, 1000), (100, 1000), (950, 5000)):
        found.add(serving.SINGLE, serving.VIGIL, load(vigil, 3.0))
        found.add(serving.SINGLE, serving.NOTHING, load(nothing, 2.0))
    found.add(serving.SINGLE, serving.beside(serving.VIGIL, serving.FASTAPI), load(900, 3.0))
    found.add(serving.SINGLE, serving.FASTAPI, load(100, 9.0, failed=50))
    found.add(serving.BATCH, serving.BINARY, load(300, 3.0))
    throughput, p50, fastapi, mlserver, binary, captured, memory, start = serving.ratios(found)
    assert (throughput.value, throughput.met) == (0.9, True)
    assert (p50.value, p50.met) == (1.5, False)
    assert fastapi.value is None  # a third of its requests failed: that is no rate
    assert (mlserver.value, mlserver.note) == (None, "it does not install")
    assert binary.met is start.met is captured.met is None
    assert memory.met is True
    assert [row["server"] for row in serving.figures(found) if "not measured" in row["note"]] == [
        serving.MLSERVER
    ]
    assert "it does not install" in serving.page(found)
    json.dumps(serving.to_json(found))


def test_a_peer_is_compared_with_the_runs_that_took_turns_with_it() -> None:
    found = serving.Found()
    found.add(serving.SINGLE, serving.VIGIL, load(9000, 1.0))
    found.add(serving.SINGLE, serving.beside(serving.VIGIL, serving.FASTAPI), load(4000, 1.0))
    found.add(serving.SINGLE, serving.FASTAPI, load(100, 9.0))
    assert serving.ratios(found)[2].value == 40.0


def test_the_page_of_quality_says_which_transform_and_how_it_was_chosen() -> None:
    rows = [
        {
            "machine": "asd/omi-1",
            "for": "choosing",
            "AUROC: difference": 0.1,
            "average precision: difference": 0.2,
        },
        {
            "machine": "asd/omi-5",
            "for": "confirming",
            "AUROC: difference": -0.2,
            "average precision: difference": 0.0,
        },
    ]
    distributed = [{"table": "a", "difference": 0.001}, {"table": "b", "difference": -0.03}]
    ratios = quality.ratios(distributed, rows)
    assert [row["met"] for row in ratios] == ["NO", "NO", "yes", "yes", "yes", "NO", "NO"]
    candidates = [
        {"transform": name, "AUROC": x, "average precision": 0.2}
        for name, x in (("(none)", 0.6), ("sd:10", 0.7))
    ]
    text = quality.page(
        {"ratios": ratios, "distributed": distributed, "candidates": candidates, "machines": rows}
    )
    assert "`--over-time sd:10`" in text
    assert "| asd/omi-5 | confirming |" in text


def test_training_is_judged_by_its_heaviest_process() -> None:
    def run(rows: int, seconds: float, **held: int) -> training.Run:
        peaks = {name: size * 2**20 for name, size in held.items()}
        return training.Run(rows, seconds, training.Peaks(peaks, peaks))

    few, many = (
        run(10**6, 20.0, driver=400, fit=500),
        run(2 * 10**7, 100.0, driver=450, scan=700, tiny=1),
    )
    assert [row["met"] for row in training.ratios(few, many)] == ["NO", "NO", "yes"]
    assert [row["process"] for row in training.processes(few, many)] == ["scan", "fit", "driver"]
