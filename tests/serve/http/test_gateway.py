"""What the gateway lets in, what it refuses, and that each refusal has the form of its protocol."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.exposition import collect_metrics, render_exposition
from serve.http.api_keys import KeyRing
from serve.model.loaded import LoadedModel
from serve.model.reporting import NoMonitor
from tests.serve.linted import lint
from tests.serve.service import INFER, SCORING, Service, told

ROW = [10.0, 10.0, 90.0, 10.0]
TENSOR = {"name": "features", "datatype": "FP64", "shape": [1, 4], "data": ROW}
GOOD: dict[str, dict[str, Any]] = {
    "/predict": {"features": ROW},
    "/invocations": {"instances": [ROW]},
    INFER: {"inputs": [TENSOR]},
}
OPEN = ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready")
READS = (
    "/version",
    "/v2",
    "/v2/models/vigil",
    "/v2/models/vigil/ready",
    "/v2/models/vigil/versions/7",
    "/drift",
    "/metrics",
    "/docs",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
    "/openapi.json",
)


async def test_the_same_row_has_one_score_at_every_endpoint(
    service: Service, model: LoadedModel
) -> None:
    expected = float(model.bundle.forest.score(np.array([ROW]))[0])
    answers = {path: await service.ask("POST", path, body) for path, body in GOOD.items()}
    assert {reply.status for reply in answers.values()} == {200}
    assert answers["/predict"].json["anomaly_score"] == expected
    assert answers["/invocations"].json["predictions"][0]["anomaly_score"] == expected
    assert answers[INFER].json["outputs"][0]["data"] == [expected]
    assert len(service.replica.capture) == 3


@pytest.mark.parametrize("path", SCORING)
async def test_answers_say_which_model_gave_them(
    service: Service, model: LoadedModel, path: str
) -> None:
    reply = await service.ask("POST", path, GOOD[path], X_Request_Id="mine")
    assert reply.headers["x-vigil-model-version"] == "7"
    assert reply.headers["x-vigil-model-digest"] == "d" * 64
    assert float(reply.headers["x-vigil-threshold"]) == model.bundle.threshold.value
    assert reply.headers["x-vigil-schema-hash"] == model.bundle.schema_hash
    about = reply.json.get("parameters", reply.json)
    assert (about["threshold"], about["schema_hash"]) == (
        model.bundle.threshold.value,
        model.bundle.schema_hash,
    )
    assert [batch.requests for batch in service.replica.capture.take()] == [["mine"]]


@pytest.mark.parametrize("path", OPEN + READS)
async def test_head_is_a_get_without_its_body(service: Service, path: str) -> None:
    get, head = await service.ask("GET", path), await service.ask("HEAD", path)
    assert (get.status, head.status, head.body) == (200, 200, b"")
    assert int(head.headers["content-length"]) == len(get.body) > 0


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/predict/",
        "/v2/nothing",
        "/v2/models/vigil/infer\n",
        "/v2/models//infer",
        "/v2/models/vigil/versions/7/nothing",
        "/docs/../app",
        "",
        "/v2/models/vigil/nothing",
    ],
)
async def test_paths_that_are_not_there(service: Service, path: str) -> None:
    reply = await service.ask("POST", path, GOOD["/predict"])
    assert reply.status == 404
    assert told(path, reply)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other/infer",
        "/v2/models/vigil/versions/8/infer",
        "/v2/models/vigil/versions/07/infer",
    ],
)
async def test_models_and_versions_that_are_not_served(service: Service, path: str) -> None:
    reply = await service.ask("POST", path, GOOD[INFER])
    assert reply.status == 404
    assert "'vigil' version 7 is" in told(path, reply)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", path, "POST") for path in SCORING]
    + [("HEAD", "/predict", "POST"), ("DELETE", "/predict", "POST"), ("\u00e9", "/predict", "POST")]
    + [("POST", path, "GET, HEAD") for path in ("/healthz", "/ping", "/v2", "/drift", "/docs")],
)
async def test_methods_that_a_path_does_not_have(
    service: Service, method: str, path: str, allowed: str
) -> None:
    reply = await service.ask(method, path, b"{}")
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert told(path, reply)


def malformed(path: str, body: bytes, status: int = 400, **headers: str) -> Any:
    return pytest.param(path, body, status, headers, id=f"{path} {body[:30]!r} {headers}")


DEEP = b"[" * 100_000
LONG = b'"' + b"x" * 100_000 + b'"'
EVERYWHERE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'"\xff"',
    DEEP,
    b'{"a":' * 5000,
    b"NaN",
    b"1" * 10_000,
    b"{}",
    b'{"x": 1}',
]


@pytest.mark.parametrize(
    ("path", "body", "status", "headers"),
    [malformed(path, body) for path in SCORING for body in EVERYWHERE]
    + [
        malformed("/predict", b'{"features": [' + value + b", 1, 1, 1]}")
        for value in (b"nan", b"-inf", b"1e")
    ]
    + [
        malformed("/invocations", b'{"instances": [[' + value + b", 1, 1, 1]]}")
        for value in (b"nan", b"inf", b"1e")
    ]
    + [
        malformed("/predict", b'{"features": "\xff"}'),
        malformed("/invocations", b'{"instances": "\xff"}'),
    ]
    + [
        malformed(
            "/predict", b'{"features": {"cpu": 1, "cpu": 2, "memory": 1, "disk": 1, "net": 1}}'
        )
    ]
    + [malformed("/predict", b'{"features": [1, 1, 1, 1], "features": [2, 1, 1, 1]}')]
    + [
        malformed(
            "/invocations",
            b'{"dataframe_records": [{"cpu": 1, "cpu": 2, "memory": 1, "disk": 1, "net": 1}]}',
        )
    ]
    + [
        malformed(
            "/invocations",
            b'{"inputs": {"cpu": [1], "cpu": [2], "memory": [1], "disk": [1], "net": [1]}}',
        )
    ]
    + [malformed("/invocations", b'{"instances": [[1, 1, 1, 1]], "instances": [[2, 1, 1, 1]]}')]
    + [malformed("/invocations", b"cpu,cpu,memory,disk\n1,2,3,4\n", Content_Type="text/csv")]
    + [malformed("/invocations", b"\xff", Content_Type="text/csv")]
    + [
        malformed("/predict", b'{"features": [' + value + b", 1, 1, 1]}", 422)
        for value in (LONG, b"[" * 900 + b"]" * 900)
    ]
    + [malformed("/predict", b'{"features": {' + LONG + b": 1}}", 422)]
    + [malformed("/invocations", b'{"instances": [[' + LONG + b", 1, 1, 1]]}", 422)]
    + [
        malformed(
            "/invocations", b"cpu,memory,disk,net\n1_000,2,3,4\n", 422, Content_Type="text/csv"
        )
    ]
    + [
        malformed(INFER, b"{}", Inference_Header_Content_Length=length)
        for length in ("-1", "3", "\u00b2", "9" * 5000, "1 ", "")
    ]
    + [
        malformed(
            INFER, b'{"inputs": [{"name": "features", "datatype": ' + LONG + b', "shape": [1, 4]}]}'
        )
    ]
    + [
        malformed(
            INFER,
            b'{"inputs": [{"name": "features", "datatype": "FP64", "shape": ['
            + b"9, " * 9999
            + b"4]}]}",
            422,
        )
    ],
)
async def test_malformed_bodies(
    service: Service, path: str, body: bytes, status: int, headers: dict[str, str]
) -> None:
    reply = await service.ask("POST", path, body, **headers)
    assert reply.status == status
    assert told(path, reply)
    assert len(service.replica.capture) == 0


async def test_a_long_string_among_many_rows_takes_no_memory(service: Service) -> None:
    """numpy would give each of the values the length of the longest: here 160 GB."""
    rows = (
        b'{"instances": [["'
        + b"x" * 1_000_000
        + b'", 1, 1, 1]'
        + b', ["a", 1, 1, 1]' * 10_000
        + b"]}"
    )
    for path in ("/predict", "/invocations"):
        assert (await service.ask("POST", path, rows)).status == 422


@pytest.mark.parametrize("path", SCORING)
@pytest.mark.parametrize(
    "kind",
    ["text/xml", "application/ndjson", "multipart/form-data; boundary=x", "\u00e9", ";", "json"],
)
async def test_content_types_that_an_endpoint_does_not_read(
    service: Service, path: str, kind: str
) -> None:
    reply = await service.ask("POST", path, GOOD[path], content_type=kind)
    if kind == ";":  # says nothing
        assert reply.status == 200
    else:
        assert (reply.status, bool(told(path, reply))) == (415, True)


@pytest.mark.parametrize("path", SCORING)
async def test_compressed_bodies_are_refused(service: Service, path: str) -> None:
    reply = await service.ask("POST", path, GOOD[path], content_encoding="gzip")
    assert reply.status == 415
    assert "compressed" in told(path, reply)
    assert (await service.ask("POST", path, GOOD[path], content_encoding="Identity")).status == 200


@pytest.mark.parametrize("path", SCORING)
@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b"x" * 2000, "2000"),
        (b"", "2000"),
        (b"", "9" * 5000),
        ([b"x" * 600, b"x" * 600], ""),
        ([b"x" * 2000], "10"),
    ],
)
async def test_bodies_over_the_limit(
    model: LoadedModel, path: str, body: Any, declared: str
) -> None:
    """By what they say of themselves, and by what comes when that was nothing or not true."""
    reply = await Service(model, max_body_bytes=1024).ask(
        "POST", path, body, content_length=declared
    )
    assert reply.status == 413
    assert "1024 bytes" in told(path, reply)


async def test_a_body_of_just_the_limit_is_read(model: LoadedModel) -> None:
    body = b'{"features": [10, 10, 90, 10]}'.ljust(1024)
    assert (await Service(model, max_body_bytes=1024).ask("POST", "/predict", body)).status == 200
    assert (
        await Service(model, max_body_bytes=1024).ask("POST", "/predict", [body[:9], body[9:]])
    ).status == 200


@pytest.mark.parametrize("path", SCORING)
async def test_rows_over_the_limit(model: LoadedModel, path: str) -> None:
    many = {
        "/predict": {"instances": [ROW] * 3},
        "/invocations": {"instances": [ROW] * 3},
        INFER: {"inputs": [TENSOR | {"shape": [3, 4], "data": [ROW] * 3}]},
    }
    reply = await Service(model, max_rows=2).ask("POST", path, many[path])
    assert reply.status == 413
    assert "3 rows" in told(path, reply)


async def test_slow_bodies_never_take_all_slots(model: LoadedModel) -> None:
    """Half of the slots may wait for long.

    Whoever comes then is waited for shortly, and ready bodies pass.
    """
    service = Service(model, max_ongoing_requests=4, body_timeout_s=60)
    patient = [
        asyncio.create_task(service.ask("POST", "/predict", [b"{"], stuck=True)) for _ in range(3)
    ]
    reply = await asyncio.wait_for(service.ask("POST", "/predict", [b"{"], stuck=True), 10)
    assert reply.status == 408
    assert (await service.ask("POST", "/predict", {"features": ROW})).status == 200
    assert not any(task.done() for task in patient)
    for task in patient:
        task.cancel()
    await asyncio.gather(*patient, return_exceptions=True)
    again = asyncio.create_task(service.ask("POST", "/predict", [b"{"], stuck=True))
    assert not (await asyncio.wait([again], timeout=0.7))[0]  # the slots are free: there is time
    again.cancel()


@pytest.mark.parametrize("path", SCORING)
async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_the_limit(
    model: LoadedModel, path: str
) -> None:
    slow = Service(model, body_timeout_s=0.01)
    reply = await asyncio.wait_for(slow.ask("POST", path, [b'{"features": ['], stuck=True), 5)
    assert reply.status == 408
    assert "0.01 s" in told(path, reply)


async def test_more_bytes_than_can_be_scored_soon_are_refused_and_one_row_is_not(
    model: LoadedModel,
) -> None:
    service = Service(model, max_pending_bytes=4000, overload_status=429, retry_after_s=3)
    row = json.dumps({"features": [1.0] * len(model.bundle.names)}).encode()

    async def ask(size: int, *, stuck: bool = False) -> Any:
        return await service.ask("POST", "/predict", [row], stuck=stuck, content_length=str(size))

    assert (await ask(9000)).status == 200  # alone it may be large
    first = asyncio.create_task(ask(3000, stuck=True))
    await asyncio.sleep(0)
    refused = await ask(1200)
    assert (refused.status, refused.headers["retry-after"]) == (429, "3")
    assert "overloaded" in told("/predict", refused)
    assert (await ask(len(row))).status == 200
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await ask(1200)).status == 200
    together = await asyncio.gather(
        *(ask(1200) for _ in range(5))
    )  # read in one go, scored one after the other
    assert [answer.status for answer in together] == [200] * 3 + [429] * 2
    assert (await ask(1200)).status == 200


@pytest.mark.parametrize("path", [*SCORING, "/healthz"])
async def test_headers_over_the_limit(model: LoadedModel, path: str) -> None:
    method = "POST" if path in SCORING else "GET"
    small = Service(model, max_header_bytes=2048)
    reply = await small.ask(method, path, GOOD.get(path, b""), x_long="x" * 2048)
    assert reply.status == 431
    assert "2048" in told(path, reply)
    assert (await small.ask(method, path, GOOD.get(path, b""), x_long="x" * 1900)).status == 200


async def test_a_client_that_goes_away_is_counted_not_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await service.gateway(
        {"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send
    )
    assert sent[0]["status"] == 408
    assert not caplog.records


class Faulty:
    """A watch that has no model to give because it has a fault."""

    @property
    def model(self) -> Any:
        raise RuntimeError("a secret")


@pytest.mark.parametrize("path", [*SCORING, "/v2/models/vigil"])
async def test_a_fault_is_logged_and_not_shown(
    service: Service, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    faulty: Any = Faulty()
    service.replica.watch = faulty
    with caplog.at_level(logging.ERROR, "ray.serve"):
        logging.getLogger("ray.serve").addHandler(caplog.handler)
        reply = await service.ask("POST" if path in SCORING else "GET", path, GOOD.get(path, b""))
        logging.getLogger("ray.serve").removeHandler(caplog.handler)
    assert reply.status == 500
    assert "secret" not in told(path, reply)
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    "path", [*SCORING, "/readyz", "/ping", "/v2/health/ready", "/v2/models/vigil"]
)
async def test_without_a_model(path: str) -> None:
    reply = await Service(None).ask("POST" if path in SCORING else "GET", path, GOOD.get(path, b""))
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert "vigil train" in told(path, reply)


async def test_requests_are_counted_by_how_they_ended(service: Service) -> None:
    for body in (GOOD["/predict"], {"features": [1]}):
        await service.ask("POST", "/predict", body)
    text = render_exposition([collect_metrics(service.replica.metrics.registry)]).decode()
    assert 'outcome="ok"} 1.0' in text
    assert 'outcome="InvalidFeatures"} 1.0' in text


async def test_while_the_monitor_is_away_a_replica_tells_its_counts_under_its_name(
    model: LoadedModel,
) -> None:
    async def away(method: str, *args: Any) -> Any:
        raise NoMonitor("away")

    service = Service(model, ask_monitor=away)
    await service.ask("POST", "/predict", GOOD["/predict"])
    reply = await service.ask("GET", "/metrics")
    told = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
    assert 'vigil_rows_scored_total{replica="r"} 1.0' in told
    assert all(
        'replica="r"' in line for line in told
    )  # in the series of the sum they would look like a counter that began anew
    assert lint(reply.body) == ""


@pytest.fixture
def locked(model: LoadedModel, tmp_path: Path) -> tuple[Service, str]:
    """A service that asks for a key, and a key."""
    file = tmp_path / "keys.json"
    key = KeyRing(file).new("mine")
    return Service(model, auth="required", keys_file=file), key


@pytest.mark.parametrize("path", [*SCORING, *READS])
async def test_who_shows_no_key_is_not_let_in(locked: tuple[Service, str], path: str) -> None:
    service, key = locked
    method, body = ("POST", GOOD[path]) if path in SCORING else ("GET", b"")
    for wrong in (
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {key}x"},
        {"authorization": f"Basic {key}"},
        {"authorization": "Bearer \u00e9"},
        {"x_api_key": key[:-1]},
        {"authorization": key},
    ):
        reply = await service.ask(method, path, body, **wrong)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert told(path, reply)
        assert key not in reply.body.decode()
    for right in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key} "},
        {"x_api_key": key},
    ):
        assert (await service.ask(method, path, body, **right)).status == 200


@pytest.mark.parametrize("path", OPEN)
async def test_probes_need_no_key(locked: tuple[Service, str], path: str) -> None:
    assert (await locked[0].ask("GET", path)).status == 200


async def test_a_body_is_not_read_before_the_key(locked: tuple[Service, str]) -> None:
    assert (
        await asyncio.wait_for(locked[0].ask("POST", "/predict", [], stuck=True), 5)
    ).status == 401


async def test_lifespan_and_websockets(service: Service) -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await service.gateway({"type": "lifespan"}, receive, send)
    await service.gateway({"type": "websocket", "path": "/predict"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
