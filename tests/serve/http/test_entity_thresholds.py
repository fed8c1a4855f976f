"""Entities alert by thresholds of their own, the same at every door, which answers carry."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from tritonclient.grpc import InferRequestedOutput

from serve.model.loaded import LoadedModel
from tests.serve.contexts import EntityRows, looking_back
from tests.serve.grpc_door import grpc_client, infer_inputs
from tests.serve.service import INFER, Service, predict_lines
from train.model.entity_threshold import EntityThresholdRule
from vigil.arrays import Floats

WIDTH = 0.05
Thresholds = Callable[[Service, EntityRows], Awaitable[list[float]]]


def with_width(model: LoadedModel, width: float) -> LoadedModel:
    threshold = replace(model.bundle.threshold, entity_width=width)
    return replace(model, bundle=replace(model.bundle, threshold=threshold))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return with_width(looking_back(), WIDTH)


async def one_by_one(service: Service, rows: EntityRows) -> list[float]:
    found: list[float] = []
    for row, entity, at in zip(rows.X.tolist(), rows.entities, rows.times, strict=True):
        body = {"features": row, "entity": entity, "time": at}
        answer = (await service.ask("POST", "/predict", body)).json
        assert answer["is_anomaly"] <= (answer["anomaly_score"] > answer["threshold"])
        found.append(answer["threshold"])
    return found


async def all_at_once(service: Service, rows: EntityRows) -> list[float]:
    body = {"instances": rows.X.tolist(), "entities": rows.entities, "times": rows.times}
    return (await service.ask("POST", "/predict", body)).json["thresholds"]


async def invocations(service: Service, rows: EntityRows) -> list[float]:
    reply = await service.ask("POST", "/invocations", {"dataframe_records": rows.records()})
    return [row["threshold"] for row in reply.json["predictions"]]


async def infer(service: Service, rows: EntityRows) -> list[float]:
    n = len(rows.X)
    features = {"name": "features", "datatype": "FP64", "shape": [n, 2], "data": rows.X.tolist()}
    entity = {"name": "entity", "datatype": "BYTES", "shape": [n], "data": rows.entities}
    at = {"name": "time", "datatype": "BYTES", "shape": [n], "data": rows.times}
    body = {"inputs": [features, entity, at], "outputs": [{"name": "threshold"}]}
    answer = (await service.ask("POST", INFER, body)).json
    return answer["outputs"][0]["data"]


async def lines(service: Service, rows: EntityRows) -> list[float]:
    sent = [
        json.dumps({"features": row, "entity": entity, "time": at}).encode()
        for row, entity, at in zip(rows.X.tolist(), rows.entities, rows.times, strict=True)
    ]
    chunks = [b"\n".join(sent[:20]), b"\n", b"\n".join(sent[20:])]
    return [answer["threshold"] for answer in await predict_lines(service, *chunks)]


async def infer_grpc(service: Service, rows: EntityRows) -> list[float]:
    inputs = infer_inputs(rows)
    async with grpc_client(service) as client:
        asked = [InferRequestedOutput("threshold")]
        found = await client.infer("vigil", inputs, outputs=asked)
    return found.as_numpy("threshold").tolist()


def expected(model: LoadedModel, rows: EntityRows) -> Floats:
    value = model.bundle.threshold.value
    margins = rows.expected(model) - value
    names = sorted(set(rows.entities))
    places = np.array([names.index(entity) for entity in rows.entities])
    learns = ~np.array(rows.warming(model))
    rule = EntityThresholdRule.of(model.bundle.threshold)
    return value + rule.follow(margins, places, np.zeros((len(names), 2)), learns)


@pytest.mark.parametrize("door", [one_by_one, all_at_once, invocations, infer, lines, infer_grpc])
async def test_every_door_has_the_thresholds_of_training(
    model: LoadedModel, door: Thresholds
) -> None:
    rows = EntityRows(60)
    found = await door(Service(model), rows)
    np.testing.assert_allclose(found, expected(model, rows), rtol=0, atol=1e-9)
    assert len(set(found)) > 3


async def test_what_is_captured_alerts_by_the_thresholds_of_its_entities(
    model: LoadedModel,
) -> None:
    service = Service(model)
    rows = EntityRows(60)
    found = await all_at_once(service, rows)
    (batch,) = service.replica.capture.take()
    assert batch.limits is not None
    np.testing.assert_array_equal(batch.limits, found)
    np.testing.assert_array_equal(batch.alerts(0.0), batch.scores > np.array(found))


async def test_rows_without_an_entity_alert_by_the_models_threshold(model: LoadedModel) -> None:
    body = {"instances": EntityRows(5).X.tolist()}
    answer = (await Service(model).ask("POST", "/predict", body)).json
    assert "thresholds" not in answer
    assert answer["threshold"] == model.bundle.threshold.value


async def test_a_model_with_one_threshold_for_all_asks_nobody() -> None:
    service = Service(looking_back())
    rows = EntityRows(5)
    body = {"instances": rows.X.tolist(), "entities": rows.entities, "times": rows.times}
    answer = (await service.ask("POST", "/predict", body)).json
    assert "thresholds" not in answer
    (batch,) = service.replica.capture.take()
    assert batch.limits is None
