"""Raw rows of a model that looks back in time: the same scores at every door and by a stream."""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.model.canary import RunningCanary
from serve.model.context_limits import ContextLimits
from serve.model.loaded import LoadedModel
from serve.model.shadow import Shadow
from serve.settings import ServeSettings
from serve.stream.scorer import HttpScorer
from tests.scoring import scoring
from tests.serve.contexts import BASELINE, BEGIN, CALENDAR, RAW_NAMES, EntityRows, looking_back
from tests.serve.grpc_door import grpc_client, infer_inputs
from tests.serve.service import INFER, LocalContext, Service, predict_lines
from tests.serve.stream.streams import read_lines, read_results, stream_consumer, write_records
from train.registry.canary import Canary

Answers = tuple[list[float], list[bool], list[int]]
Door = Callable[[Service, EntityRows, Path], Awaitable[Answers]]


@pytest.fixture(scope="module")
def looks_back() -> LoadedModel:
    return looking_back()


async def predict_each(service: Service, rows: EntityRows, _: Path) -> Answers:
    answers = []
    for row, entity, at in zip(rows.X.tolist(), rows.entities, rows.times, strict=True):
        body = {"features": row, "entity": entity, "time": at}
        answers.append((await service.ask("POST", "/predict", body)).json)
    return _columns(answers)


async def predict_all(service: Service, rows: EntityRows, _: Path) -> Answers:
    body = {"instances": rows.X.tolist(), "entities": rows.entities, "times": rows.times}
    answer = (await service.ask("POST", "/predict", body)).json
    return answer["anomaly_score"], answer["warming"], answer["prediction"]


async def invocations_records(service: Service, rows: EntityRows, _: Path) -> Answers:
    reply = await service.ask("POST", "/invocations", {"dataframe_records": rows.records()})
    return _columns(reply.json["predictions"])


async def invocations_split(service: Service, rows: EntityRows, _: Path) -> Answers:
    records = rows.records()
    data = [list(record.values()) for record in records]
    body = {"dataframe_split": {"columns": list(records[0]), "data": data}}
    return _columns((await service.ask("POST", "/invocations", body)).json["predictions"])


async def invocations_csv(service: Service, rows: EntityRows, _: Path) -> Answers:
    records = rows.records()
    lines = [list(records[0]), *(record.values() for record in records)]
    text = "\n".join(",".join(map(str, line)) for line in lines)
    reply = await service.ask("POST", "/invocations", text.encode(), content_type="text/csv")
    return _columns(reply.json["predictions"])


async def infer_json(service: Service, rows: EntityRows, _: Path) -> Answers:
    n = len(rows.X)
    features = {"name": "features", "datatype": "FP64", "shape": [n, 2], "data": rows.X.tolist()}
    entity = {"name": "entity", "datatype": "BYTES", "shape": [n], "data": rows.entities}
    at = {"name": "time", "datatype": "BYTES", "shape": [n], "data": rows.times}
    answer = (await service.ask("POST", INFER, {"inputs": [features, entity, at]})).json
    scores, labels, warming = (output["data"] for output in answer["outputs"])
    return scores, warming, labels


async def infer_binary(service: Service, rows: EntityRows, _: Path) -> Answers:
    n = len(rows.X)
    names = [entity.encode() for entity in rows.entities]
    tensors = [
        ("features", "FP64", [n, 2], rows.X.tobytes()),
        ("entity", "BYTES", [n], b"".join(struct.pack("<I", len(e)) + e for e in names)),
        ("time", "INT64", [n], (np.array(rows.seconds) * 1000).astype("<i8").tobytes()),
    ]
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": len(data)},
        }
        for name, datatype, shape, data in tensors
    ]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    reply = await service.ask(
        "POST",
        INFER,
        head + b"".join(data for *_, data in tensors),
        content_type="application/octet-stream",
        inference_header_content_length=str(len(head)),
    )
    body = reply.body[int(reply.headers["inference-header-content-length"]) :]
    scores = np.frombuffer(body, "<f8", n)
    labels = np.frombuffer(body, "<i8", n, 8 * n)
    return scores.tolist(), np.frombuffer(body, "?", n, 16 * n).tolist(), labels.tolist()


async def infer_grpc(service: Service, rows: EntityRows, _: Path) -> Answers:
    async with grpc_client(service) as client:
        found = await client.infer("vigil", infer_inputs(rows))
    outputs = ("anomaly_score", "warming", "prediction")
    scores, warming, labels = (found.as_numpy(name).tolist() for name in outputs)
    return scores, warming, labels


async def stream(service: Service, rows: EntityRows, folder: Path) -> Answers:
    """A consumer is stopped after each batch: what it knows is beside its checkpoint."""
    records = [
        {"id": i, "features": row, "entity": entity, "time": at}
        for i, (row, entity, at) in enumerate(
            zip(rows.X.tolist(), rows.entities, rows.times, strict=True)
        )
    ]
    with scoring(service.replica.model()) as server:
        for begin in range(0, len(records), 7):
            write_records(folder, records[begin : begin + 7])
            scorer = HttpScorer(server.url)
            stream_consumer(folder, scorer, ServeSettings.from_values(stream_batch=5)).run(
                until_end=True
            )
    return _columns(read_results(folder))


async def lines(service: Service, rows: EntityRows, _: Path) -> Answers:
    """In chunks that end within lines."""
    sent = b"\n".join(
        json.dumps({"features": row, "entity": entity, "time": at}).encode()
        for row, entity, at in zip(rows.X.tolist(), rows.entities, rows.times, strict=True)
    )
    chunks = [sent[begin : begin + 1000] for begin in range(0, len(sent), 1000)]
    return _columns(await predict_lines(service, *chunks))


DOORS: list[Door] = [
    lines,
    predict_each,
    predict_all,
    invocations_records,
    invocations_split,
    invocations_csv,
    infer_json,
    infer_binary,
    infer_grpc,
    stream,
]


def _columns(answers: list[dict[str, Any]]) -> Answers:
    return (
        [answer["anomaly_score"] for answer in answers],
        [answer.get("warming", False) for answer in answers],
        [answer["prediction"] for answer in answers],
    )


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
async def test_raw_rows_are_scored_as_in_training(
    door: Door, looks_back: LoadedModel, tmp_path: Path
) -> None:
    rows = EntityRows()
    service = Service(looks_back)
    scores, warming, labels = await door(service, rows, tmp_path)
    np.testing.assert_allclose(scores, rows.expected(looks_back), rtol=0, atol=1e-12)
    assert warming == rows.warming(looks_back)
    over = np.array(scores) > looks_back.bundle.threshold.value
    assert labels == np.where(over & ~np.array(warming), -1, 1).tolist()


@pytest.mark.parametrize(
    "door", [predict_all, infer_binary, stream], ids=lambda door: door.__name__
)
async def test_level_spread_and_calendar_are_kept_too(door: Door, tmp_path: Path) -> None:
    steps = "baseline:50,calendar:Europe/Berlin,zscore:3,ewm:4"
    model = looking_back(steps, fitted=BASELINE | CALENDAR)
    rows = EntityRows(rows=200)
    service = Service(model)
    scores, warming, _ = await door(service, rows, tmp_path)
    np.testing.assert_allclose(scores, rows.expected(model), rtol=0, atol=1e-12)
    assert warming == rows.warming(model)
    assert (await service.ask("GET", "/openapi.json")).status == 200


async def test_a_model_of_the_calendar_needs_times_and_keeps_nothing() -> None:
    kept = LocalContext()
    model = looking_back("calendar:UTC", fitted=CALENDAR)
    service = Service(model, context=kept)
    rows = EntityRows()
    reply = await service.ask("POST", "/predict", {"instances": rows.X.tolist()})
    assert (reply.status, reply.json["error"]["field"]) == (422, "time")
    refused = await predict_lines(service, b'{"features": [1, 2]}\n' * 3)
    assert [answer["error"]["field"] for answer in refused] == ["time"] * 3
    body = {"instances": rows.X.tolist(), "times": rows.times}
    answer = (await service.ask("POST", "/predict", body)).json
    np.testing.assert_allclose(answer["anomaly_score"], rows.expected(model), rtol=0, atol=1e-12)
    assert "warming" not in answer
    assert kept.keeper.entities == 0


def test_a_record_without_a_time_that_the_model_needs_is_a_dead_letter(tmp_path: Path) -> None:
    model = looking_back("calendar:UTC", fitted=CALENDAR)
    timed = {"id": 2, "features": [1, 2], "time": 5}
    write_records(tmp_path, [{"id": 1, "features": [1, 2]}, timed])
    with scoring(model) as server:
        settings = ServeSettings.from_values()
        done = stream_consumer(tmp_path, HttpScorer(server.url), settings).run(until_end=True)
    assert done == {"scored": 1, "duplicate": 0, "dead": 1}
    (letter,) = read_lines(tmp_path / "dead")
    assert (letter["id"], "time" in letter["reason"]) == (1, True)


async def test_a_history_is_served_without_what_is_kept(looks_back: LoadedModel) -> None:
    rows = EntityRows()
    service = Service(looks_back)
    transform = looks_back.bundle.transform
    assert transform is not None
    body = {"history": rows.X[:5].tolist(), "entity": "host-0"}
    for _ in range(2):
        answer = (await service.ask("POST", "/predict", body)).json
        expected = looks_back.bundle.forest.score(transform.apply(rows.X[:5])[-1:])
        assert answer["anomaly_score"] == expected[0]
        assert "warming" not in answer


async def test_no_entity_is_another_one_than_that_of_the_name_none(
    looks_back: LoadedModel,
) -> None:
    service = Service(looks_back)
    rows = EntityRows(seed=3)
    for row in rows.X.tolist():
        await service.ask("POST", "/predict", {"features": row})
    body = {"features": rows.X[0].tolist(), "entity": "None"}
    assert (await service.ask("POST", "/predict", body)).json["warming"] is True
    body = {"features": rows.X[0].tolist()}
    assert "warming" not in (await service.ask("POST", "/predict", body)).json


async def test_rows_that_are_warming_alert_nobody_and_are_captured_as_such(
    looks_back: LoadedModel,
) -> None:
    service = Service(looks_back)
    odd = [1000.0] * len(RAW_NAMES)
    for number in range(4):
        answer = (await service.ask("POST", "/predict", {"features": odd})).json
        is_warming = number < 2
        assert answer.get("warming", False) is is_warming
        assert answer["anomaly_score"] > looks_back.bundle.threshold.value
        assert answer["is_anomaly"] is not is_warming
        assert (answer["reasons"] == []) is is_warming
    (captured,) = service.replica.capture.take()
    assert captured.warming is not None
    assert captured.warming.tolist() == [True, True, False, False]
    assert len(captured.judged().rows) == 2
    sample = service.replica.metrics.registry.get_sample_value
    assert sample("vigil_rows_warming_total") == 2
    assert sample("vigil_anomalies_total") == 2


async def test_a_model_with_another_transform_knows_the_rows_of_the_former_one(
    looks_back: LoadedModel,
) -> None:
    service = Service(looks_back)
    longer = looking_back("mean:6,sd:6", version="8")
    rows = EntityRows(rows=60)
    body = {"instances": rows.X.tolist(), "entities": rows.entities, "times": rows.times}
    first = {name: values[:40] for name, values in body.items()}
    await service.ask("POST", "/predict", first)
    watch: Any = service.replica.watch
    watch.model = longer
    second = {name: values[40:] for name, values in body.items()}
    answer = (await service.ask("POST", "/predict", second)).json
    assert "warming" not in answer
    expected = rows.expected(longer)[40:]
    np.testing.assert_allclose(answer["anomaly_score"], expected, rtol=0, atol=1e-12)


async def test_canary_and_shadow_get_rows_of_their_own_transforms(
    looks_back: LoadedModel,
) -> None:
    other = looking_back("mean:2", version="8")
    service = Service(looks_back, shadow_rate=1.0)
    watch: Any = service.replica.watch
    plan = Canary("8", "7", started=0.0, steps=((1.0, 1e9),))
    watch.canary = RunningCanary(plan, other, lambda: 0.0)
    rows = EntityRows()
    body = {"instances": rows.X.tolist(), "entities": rows.entities, "times": rows.times}
    answer = (await service.ask("POST", "/predict", body)).json
    assert answer["model_version"] == "8"
    np.testing.assert_allclose(answer["anomaly_score"], rows.expected(other), rtol=0, atol=1e-12)
    watch.canary = None
    shadow = watch.shadow = Shadow(looks_back, other)
    await service.ask("POST", "/predict", body)
    report = shadow.score(shadow.take())
    assert report.scores is not None
    judged = ~np.array(rows.warming(looks_back))
    np.testing.assert_allclose(report.scores[1], rows.expected(other)[judged], rtol=0, atol=1e-12)


BAD = [
    ({"entity": ""}, "entity"),
    ({"entity": "x" * 201}, "entity"),
    ({"entity": {"$ne": None}}, "entity"),
    ({"entity": "\ud800"}, "entity"),
    ({"time": "yesterday"}, "time"),
    ({"time": 1e30}, "time"),
]


@pytest.mark.parametrize(("context", "field"), BAD)
async def test_an_entity_or_a_time_that_is_none_is_refused_and_changes_nothing(
    looks_back: LoadedModel, context: dict[str, Any], field: str
) -> None:
    kept = LocalContext()
    service = Service(looks_back, context=kept)
    reply = await service.ask("POST", "/predict", {"features": [1, 2], **context})
    assert reply.status == 422
    assert reply.json["error"]["field"] == field
    assert kept.keeper.entities == 0


async def test_a_time_has_an_answer_whatever_it_is(looks_back: LoadedModel) -> None:
    """In the future it is now; without a zone it is UTC; before the last one it is sorted in, or
    too late; missing it is that of the last row."""
    now = BEGIN + 1000
    kept = LocalContext(ContextLimits(late_s=60), now)
    service = Service(looks_back, context=kept)

    async def warming(time: Any) -> bool:
        body = {"features": [float(len(sent)), 2.0], "entity": "e", "time": time}
        sent.append(time)
        return (await service.ask("POST", "/predict", body)).json.get("warming", False)

    sent: list[Any] = []
    assert [await warming(BEGIN * 1000 + 1000 * i) for i in range(3)] == [True, True, False]
    assert not await warming("2031-01-01T00:00:00Z")  # it is of now
    assert not await warming((now + 1) * 1000)  # and does not shut out what comes next
    assert not await warming((now - 10) * 1000)  # late, but two rows are before it
    assert await warming((BEGIN - 100) * 1000)  # too late: nothing is known to be before it
    counts = kept.keeper.counts
    assert (counts.late, counts.too_late) == (1, 1)
    assert not await warming(None)
