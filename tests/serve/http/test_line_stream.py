"""`/predict` with a row a line: each line as a request would be answered, over one connection."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.http.api_keys import KeyRing
from serve.model.canary import RunningCanary
from serve.model.loaded import LoadedModel
from tests.serve.service import LineClient, Service, predict_lines
from train.registry.canary import Canary

ROW = [10.0, 10.0, 90.0, 10.0]
NAMES = ("cpu", "memory", "disk", "net")
LINE = json.dumps({"features": ROW}).encode() + b"\n"

VALUES = st.one_of(
    st.floats(-100, 100),
    st.sampled_from([10, True, None, "x", "7", 1e39, [], {}, "\ud800"]),
)
ROWS = st.one_of(
    st.lists(st.floats(0, 20), min_size=4, max_size=4),
    st.lists(VALUES, max_size=5),
    st.fixed_dictionaries({name: st.floats(0, 20) for name in NAMES}),
    st.dictionaries(st.sampled_from((*NAMES, " cpu", "swap", "a:b")), VALUES, max_size=5),
    VALUES,
)
DOCUMENTS = st.builds(
    lambda row, others: {"features": row} | others,
    ROWS,
    st.dictionaries(
        st.sampled_from(["entity", "time", "entities", "times", "other"]),
        st.sampled_from(["host:1", "2026-11-29T10:00:00Z", 5, None, "", ["a"], 1.5, "x" * 201]),
        max_size=2,
    ),
)
TEXTS = st.one_of(
    DOCUMENTS.map(lambda document: json.dumps(document).encode()),
    st.sampled_from(
        [
            b"{",
            b"[]",
            b"7",
            b'{"features": [1, 2, 3, 4]}{"features": [1, 2, 3, 4]}',
            b'{"features": [1, 2, 3, 4], "features": [4, 3, 2, 1]}',
            b'{"features": {"cpu": 1, "cpu": 2, "memory": 1, "disk": 1, "net": 1}}',
            b'{"features": [1, 2, 3, NaN]}',
            b'{"features":',
            b'\xef\xbb\xbf{"features": [1, 2, 3, 4]}',
            b"\xff\xfe",
            b"[" * 2000,
            b'{"features": [1' + b"0" * 5000 + b", 2, 3, 4]}",
        ]
    ),
    st.binary(max_size=20).filter(lambda text: b"\n" not in text and bool(text.strip())),
)


async def asked(service: Service, text: bytes) -> Any:
    """What `/predict` says to the line as a body of its own."""
    return (await service.ask("POST", "/predict", text)).json


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("request_id", "line")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), cuts=st.lists(st.integers(0, 500)))
async def test_each_line_is_answered_as_a_request_would_be(
    model: LoadedModel,
    texts: list[bytes],
    cuts: list[int],
) -> None:
    body = b"\n".join(texts)
    borders = [0, *sorted(cuts), len(body)]
    pairs = pairwise(borders)
    chunks = [body[begin:end] for begin, end in pairs]
    service = Service(model)
    answers = await predict_lines(service, *chunks)
    assert [without_ids(answer) for answer in answers] == [
        without_ids(await asked(service, text)) for text in texts
    ]
    numbers = [answer["line"] for answer in answers if "error" in answer]
    assert numbers == [i for i, answer in enumerate(answers, 1) if "error" in answer]


async def test_a_bad_line_is_one_error_with_its_number_and_the_rest_go_on(
    service: Service,
) -> None:
    bad = b'{"features": [1, 2, "x", 4], "id": "r-9"}\n'
    first, second, third = await predict_lines(service, LINE + b"\n" + bad, LINE)
    assert second["error"]["type"] == "InvalidFeatures"
    assert (second["error"]["field"], second["line"], second["request_id"]) == ("disk", 3, "r-9")
    assert (first["request_id"], third["request_id"]) == ("s/1", "s/4")
    assert first["anomaly_score"] == third["anomaly_score"]
    sample = service.replica.metrics.registry.get_sample_value
    assert sample("vigil_requests_total", {"outcome": "ok"}) == 2
    assert sample("vigil_requests_total", {"outcome": "InvalidFeatures"}) == 1


@pytest.mark.parametrize("value", ['"r:1"', "17", '"\\u0072-1"'])
async def test_an_answer_and_the_captured_row_have_the_id_of_the_line(
    service: Service,
    value: str,
) -> None:
    line = json.dumps({"features": ROW})[:-1] + f', "id": {value}}}'
    (answer,) = await predict_lines(service, line.encode())
    assert answer["request_id"] == str(json.loads(value))
    (captured,) = service.replica.capture.take()
    assert captured.requests == [answer["request_id"]]


@pytest.mark.parametrize("value", ["true", "[]", '""', '"\\ud800"', f'"{"x" * 129}"', "1.5"])
async def test_what_is_no_id_is_refused(service: Service, value: str) -> None:
    line = json.dumps({"features": ROW})[:-1] + f', "id": {value}}}'
    (answer,) = await predict_lines(service, line.encode())
    assert (answer["error"]["type"], answer["request_id"]) == ("MalformedRequest", "s/1")


@pytest.mark.parametrize("field", ["instances", "history"])
async def test_a_line_is_one_row(service: Service, field: str) -> None:
    line = json.dumps({field: [ROW]}).encode()
    answer, after = await predict_lines(service, line + b"\n" + LINE)
    assert "a line is one row" in answer["error"]["message"]
    assert "prediction" in after


async def test_lines_that_come_together_are_scored_together_up_to_the_bound(
    model: LoadedModel,
) -> None:
    service = Service(model, micro_batch_rows=4)
    assert len(await predict_lines(service, LINE * 10)) == 10
    count = service.replica.metrics.registry.get_sample_value("vigil_request_seconds_count")
    assert count == 3


async def test_a_row_waits_for_others_where_it_is_told_to(model: LoadedModel) -> None:
    service = Service(model, micro_batch_rows=3, micro_batch_ms=60_000)
    client = LineClient(service)
    for _ in range(3):
        client.send(LINE)
    assert await client.status() == 200
    assert (await client.part()).count(b"\n") == 3
    client.send(LINE, is_last=True)
    assert len(await client.rest()) == 1


async def test_a_lone_row_is_answered_before_the_next_is_sent(service: Service) -> None:
    client = LineClient(service)
    assert await client.status() == 200
    for number in range(1, 4):
        client.send(LINE)
        assert json.loads(await client.part())["request_id"] == f"s/{number}"
    client.send(b"", is_last=True)
    assert await client.rest() == []


async def test_another_model_answers_from_the_next_lines_on(
    service: Service,
    make_bundle: Any,
) -> None:
    client = LineClient(service)
    client.send(LINE)
    assert await client.status() == 200
    first = json.loads(await client.part())
    watch: Any = service.replica.watch
    watch.model = LoadedModel.warm("8", "e" * 64, make_bundle(1))
    client.send(LINE, is_last=True)
    (second,) = await client.rest()
    assert (first["model_version"], second["model_version"]) == ("7", "8")
    assert second["model_digest"] == "e" * 64


async def test_a_client_that_does_not_read_is_read_no_further_and_let_go(
    model: LoadedModel,
) -> None:
    service = Service(model, request_timeout_s=0.05)
    client = LineClient(service, window=2)
    for _ in range(50):
        client.send(LINE)
    await asyncio.wait_for(client.running, 10)
    assert client.unread >= 47  # one was answered, one waited to be sent
    assert await client.status() == 200
    again = LineClient(service)
    again.send(LINE, is_last=True)
    assert await again.status() == 200


async def test_a_client_that_goes_away_ends_its_stream_without_an_error(service: Service) -> None:
    client = LineClient(service)
    client.send(LINE + b'{"features"')
    assert await client.status() == 200
    await client.part()
    client.leave()
    assert await client.rest() == []
    sample = service.replica.metrics.registry.get_sample_value
    assert sample("vigil_requests_total", {"outcome": "TooSlow"}) is None
    assert sample("vigil_pending_bytes") == 0


async def test_a_line_over_the_limit_of_a_body_is_refused_and_the_next_is_not(
    model: LoadedModel,
) -> None:
    service = Service(model, max_body_bytes=1024)
    long = b'{"features": [' + b" " * 5000 + b"1, 2, 3, 4]}\n"
    answers = await predict_lines(service, long[:2000], long[2000:] + LINE + long, LINE)
    assert [answer.get("line") for answer in answers] == [1, None, 3, None]
    assert answers[0]["error"]["type"] == "BodyTooLarge"


async def test_long_lines_that_have_not_ended_count_among_the_bytes_in_work(
    model: LoadedModel,
) -> None:
    service = Service(model, max_pending_bytes=300_000)
    pending = service.replica.metrics.registry.get_sample_value
    first, second = LineClient(service), LineClient(service)
    first.send(b" " * 200_000)
    assert await first.status() == 200
    second.send(LINE)
    second.send(b" " * 200_000)
    assert await second.status() == 200
    await second.part()
    (refused,) = await second.rest()
    assert (refused["error"]["type"], refused["line"]) == ("Overloaded", 2)
    assert pending("vigil_pending_bytes") == 200_000
    first.send(LINE, is_last=True)
    (answer,) = await first.rest()
    assert "prediction" in answer
    await asyncio.sleep(0)
    assert pending("vigil_pending_bytes") == 0


async def test_a_stream_without_a_line_in_time_ends_and_a_blank_line_keeps_it(
    model: LoadedModel,
) -> None:
    service = Service(model, body_timeout_s=0.3)
    client = LineClient(service)
    assert await client.status() == 200
    for _ in range(4):
        client.send(b"\n")
        await asyncio.sleep(0.1)
    client.send(b'{"features"')
    (last,) = await client.rest()
    assert (last["error"]["type"], last["line"]) == ("TooSlow", 5)
    assert "0.3 s" in last["error"]["message"]


async def test_half_of_the_slots_stay_for_requests(model: LoadedModel) -> None:
    service = Service(model, max_ongoing_requests=4)
    clients = [LineClient(service) for _ in range(2)]
    for client in clients:
        assert await client.status() == 200
    assert await LineClient(service).status() == 503
    clients[0].send(LINE, is_last=True)
    assert len(await clients[0].rest()) == 1
    assert await LineClient(service).status() == 200


async def test_a_stream_is_let_in_as_a_request_is(model: LoadedModel, tmp_path: Any) -> None:
    guarded = Service(model, auth="required", home=tmp_path)
    assert await LineClient(guarded).status() == 401
    key = KeyRing(guarded.replica.settings.key_file).new("device")
    assert await LineClient(guarded, x_api_key=key).status() == 200
    assert await LineClient(Service(model), content_encoding="gzip").status() == 415
    assert await LineClient(Service(None)).status() == 503


async def test_a_fault_of_the_service_is_an_error_of_its_lines_alone(
    model: LoadedModel,
    make_bundle: Any,
) -> None:
    service = Service(model)
    broken: Any = LoadedModel.warm("8", "e" * 64, make_bundle(1))
    broken.bundle.forest.__dict__["score"] = None
    watch: Any = service.replica.watch
    watch.model = broken
    client = LineClient(service)
    client.send(LINE)
    assert await client.status() == 200
    assert json.loads(await client.part())["error"]["type"] == "InternalError"
    watch.model = model
    client.send(LINE, is_last=True)
    assert "prediction" in (await client.rest())[0]


async def test_a_canary_answers_the_lines_that_it_would_answer_as_requests(
    model: LoadedModel,
    make_bundle: Any,
) -> None:
    service = Service(model)
    candidate = LoadedModel.warm("8", "e" * 64, make_bundle(1))
    plan = Canary("8", "7", 0.0, ((0.5, 60.0),))
    watch: Any = service.replica.watch
    watch.canary = RunningCanary(plan, candidate, lambda: 1.0)
    texts = [json.dumps({"features": [10, 10, 10, i]}).encode() for i in range(30)]
    answers = await predict_lines(service, b"\n".join(texts))
    alone = [await asked(service, text) for text in texts]
    assert [without_ids(answer) for answer in answers] == [without_ids(each) for each in alone]
    assert {answer["model_version"] for answer in answers} == {"7", "8"}


async def test_lines_with_and_without_an_entity_mix(service: Service) -> None:
    lines = [
        {"features": ROW, "entity": "a"},
        {"features": ROW},
        {"features": ROW, "entity": "b", "time": 5},
        {"features": dict(zip(NAMES, ROW, strict=True)), "entity": "c", "time": 6},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    answers = await predict_lines(service, body)
    assert [answer["request_id"] for answer in answers] == ["s/1", "s/2", "s/3", "s/4"]
    captured = service.replica.capture.take()
    contexts = [batch.context for batch in captured]
    assert [context and context.entities for context in contexts] == [["a"], None, ["b", "c"]]
