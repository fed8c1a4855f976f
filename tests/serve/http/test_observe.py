"""The request log and traces: what they tell of a request, and of which."""

from __future__ import annotations

import gzip
import io
import json
import logging as logs
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from ray._common.formatters import JSONFormatter

from serve.http.request_log import FORMER_SUFFIX, KEEP_FILES_S, RequestLog
from serve.metrics import ServeMetrics
from serve.model.loaded import LoadedModel
from tests.serve.service import INFER, Service

ROW = {"features": [10.0, 10.0, 10.0, 10.0]}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def test_the_log_is_switched_on_and_off_while_the_replica_runs(
    model: LoadedModel, tmp_path: Path
) -> None:
    service = Service(model, home=tmp_path)
    for rate, seen in ((0.0, 0), (1.0, 1), (0.0, 1)):
        service.replica.observer.follow_settings(
            service.replica.settings.with_live_values({"request_log_rate": rate})
        )
        await service.ask("POST", "/predict", ROW)
        assert len(await lines(service)) == seen


async def lines(service: Service) -> list[dict[str, Any]]:
    await service.replica.observer.flush()
    file = service.replica.settings.home / "logs" / "requests" / "r.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def logging(model: LoadedModel, tmp_path: Path) -> Service:
    return Service(model, home=tmp_path, request_log_rate=1.0)


async def test_a_line_says_who_asked_and_what_was_answered_but_not_the_rows(
    logging: Service,
) -> None:
    parent = f"00-{TRACE}-{PARENT}-01"
    many = {"instances": [ROW["features"], [99.0, 99.0, 99.0, 99.0]]}
    assert (
        await logging.ask("POST", "/predict", many, x_request_id="r-1", traceparent=parent)
    ).status == 200
    assert (await logging.ask("POST", INFER, {"inputs": []}, x_request_id="r-2")).status == 400
    await logging.ask("GET", "/healthz")
    first, second = await lines(logging)
    assert abs(first.pop("time") - time.time()) < 60
    assert 0 < first.pop("latency_ms") < 60_000
    assert first == {
        "request_id": "r-1",
        "trace_id": TRACE,
        "path": "/predict",
        "status": 200,
        "rows": 2,
        "anomalies": 1,
        "model_version": "7",
    }
    assert (second["request_id"], second["trace_id"], second["status"]) == ("r-2", None, 400)
    assert "rows" not in second


async def test_whatever_a_caller_sends_it_stays_one_line(logging: Service) -> None:
    hostile = 'a"}\n{"status": 200, "x": "\x1b[2J'
    await logging.ask("POST", "/pre\ndict\u2028", ROW, x_request_id=hostile, traceparent="00-zz\n")
    (line,) = await lines(logging)
    assert (line["request_id"], line["path"], line["trace_id"], line["status"]) == (
        hostile,
        "/pre\ndict\u2028",
        None,
        404,
    )


class BrokenForest:
    def score(self, rows: Any, threads: int = 1) -> Any:
        raise ArithmeticError("no\n{score}")


async def test_a_fault_is_one_line_of_json_with_request_and_trace(model: LoadedModel) -> None:
    broken: Any = BrokenForest()
    service = Service(replace(model, bundle=replace(model.bundle, forest=broken)))
    out = io.StringIO()
    handler = logs.StreamHandler(out)
    handler.setFormatter(JSONFormatter())
    logger = logs.getLogger("ray.serve")
    logger.addHandler(handler)
    try:
        reply = await service.ask(
            "POST", "/predict", ROW, x_request_id='"\n', traceparent=f"00-{TRACE}-{PARENT}-01"
        )
    finally:
        logger.removeHandler(handler)
    assert reply.status == 500
    (line,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (line["levelname"], line["request_id"], line["trace_id"]) == ("ERROR", '"\n', TRACE)
    assert "ArithmeticError" in line["exc_text"]


async def test_a_share_of_the_requests_is_logged(model: LoadedModel, tmp_path: Path) -> None:
    service = Service(model, home=tmp_path, request_log_rate=0.2)
    for _ in range(200):
        await service.ask("POST", "/predict", ROW)
    assert 10 <= len(await lines(service)) <= 80


def dropped(metrics: ServeMetrics) -> float:
    return metrics.registry.get_sample_value("vigil_request_log_dropped_total") or 0.0


def test_lines_over_the_bound_are_dropped_and_counted(tmp_path: Path) -> None:
    metrics = ServeMetrics()
    log = RequestLog(tmp_path / "r.jsonl", metrics, max_lines=10)
    for i in range(17):
        log.add({"request_id": i})
    log.write(log.take())
    log.add({"request_id": "next"})
    log.write(log.take())
    told = [
        json.loads(line)["request_id"] for line in (tmp_path / "r.jsonl").read_text().splitlines()
    ]
    assert (told, dropped(metrics)) == ([*range(10), "next"], 7)


def test_the_files_are_bounded_and_those_of_replicas_long_gone_are_removed(
    tmp_path: Path,
) -> None:
    old, young = tmp_path / "old.jsonl", tmp_path / f"young.jsonl{FORMER_SUFFIX}"
    for file in (old, young):
        file.write_text("")
    os.utime(old, (0, time.time() - KEEP_FILES_S - 1))
    log = RequestLog(tmp_path / "r.jsonl", ServeMetrics(), max_bytes=1000)
    for _ in range(50):
        log.write([b"x" * 99 + b"\n"])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "r.jsonl",
        f"r.jsonl{FORMER_SUFFIX}",
        young.name,
    ]
    assert (tmp_path / f"r.jsonl{FORMER_SUFFIX}").stat().st_size == 1100


@pytest.mark.parametrize("jump_s", [-1e8, 1e8])
def test_a_clock_that_jumps_removes_no_file_of_another_replica(
    tmp_path: Path, jump_s: float
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("")
    log = RequestLog(tmp_path / "r.jsonl", ServeMetrics(), clock=lambda: time.time() + jump_s)
    log.write([b"{}\n"])
    assert other.exists()


def test_a_disk_that_takes_nothing_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    metrics = ServeMetrics()
    RequestLog(tmp_path / "file" / "r.jsonl", metrics).write([b"{}\n"])
    assert dropped(metrics) == 1


class Collector(ThreadingHTTPServer):
    """Takes traces as an OpenTelemetry collector does: protobuf over HTTP."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.resource: dict[str, str] = {}
        self.paths: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Take)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans.values() if span.name == name]


class _Take(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collector = cast(Collector, self.server)
        asked = ExportTraceServiceRequest()
        asked.ParseFromString(
            _unpacked(self.rfile.read(int(self.headers["content-length"])), self.headers)
        )
        for resource in asked.resource_spans:
            collector.resource = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                collector.spans |= {span.span_id.hex(): span for span in scope.spans}
        collector.paths.add(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


def _unpacked(body: bytes, headers: Any) -> bytes:
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, Any]:
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}


async def test_spans_from_the_door_through_decode_score_and_encode(
    collector: Collector, model: LoadedModel, tmp_path: Path
) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    service = Service(
        model, home=tmp_path, traces_endpoint=endpoint, traces_rate=0.0, request_log_rate=1.0
    )
    await service.ask("POST", "/predict", ROW)  # by the rate
    await service.ask(
        "POST", "/predict", ROW, traceparent=f"00-{TRACE}-{PARENT}-00"
    )  # the caller does not want it
    await service.ask(
        "POST", "/predict", ROW, x_request_id="r-1", traceparent=f"00-{TRACE}-{PARENT}-01"
    )
    await service.ask("POST", INFER, b"{", traceparent=f"00-{TRACE}-{PARENT}-01")
    service.replica.observer.close()
    door, refused = collector.named("POST /predict")[0], collector.named("POST /v2")[0]
    assert collector.paths == {"/v1/traces"}
    assert {span.trace_id.hex() for span in collector.spans.values()} == {TRACE}
    assert door.parent_span_id.hex() == refused.parent_span_id.hex() == PARENT
    assert attributes(door) == {
        "http.request.method": "POST",
        "url.path": "/predict",
        "http.response.status_code": 200,
        "vigil.request_id": "r-1",
        "vigil.rows": 1,
        "vigil.anomalies": 0,
        "vigil.model_version": "7",
    }
    parts = [collector.named(name) for name in ("decode", "score", "encode")]
    assert [len(found) for found in parts] == [1, 1, 1]
    assert {part.parent_span_id for (part,) in parts} == {door.span_id}
    times = [t for (part,) in parts for t in (part.start_time_unix_nano, part.end_time_unix_nano)]
    assert [door.start_time_unix_nano, *times, door.end_time_unix_nano] == sorted(
        [door.start_time_unix_nano, *times, door.end_time_unix_nano]
    )
    assert attributes(refused)["http.response.status_code"] == 400
    assert (collector.resource["service.name"], collector.resource["service.instance.id"]) == (
        "vigil",
        "r",
    )
    assert [line["trace_id"] for line in await lines(service)][1:] == [TRACE] * 3


async def test_a_collector_that_is_away_costs_no_answer(model: LoadedModel) -> None:
    service = Service(model, traces_endpoint="http://127.0.0.1:9", traces_rate=1.0)
    assert (await service.ask("POST", "/predict", ROW)).status == 200
    service.replica.observer.close()
