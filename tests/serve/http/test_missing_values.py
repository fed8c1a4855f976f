"""Values that are missing: what stands for them by the model's policies, the same at every door."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serve.model.loaded import LoadedModel
from serve.model.row_format import RowFormat
from serve.stream.records import RawRecord, decode
from tests.serve.service import Post, Service, as_binary_tensors, as_json, scores_of
from train.model.bundle import ModelBundle
from train.table.impute import Imputation
from vigil.arrays import Floats

NAMES = ("cpu", "memory", "disk", "net")
IMPUTATION = Imputation(NAMES, ("median", "last", "refuse", "median"), (9.0, 8.0, 0.0, 7.0), 0.5)
NAN = math.nan
SENT = [[11.0, 12.0, 10.0, NAN], [NAN, NAN, 10.5, 9.5], [10.0, 11.5, 9.0, 10.0]]
MEANT = [[11.0, 12.0, 10.0, 7.0], [9.0, 12.0, 10.5, 9.5], [10.0, 11.5, 9.0, 10.0]]
CSV = "\n".join(",".join("" if math.isnan(x) else str(x) for x in row) for row in SENT)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[[int], ModelBundle]) -> ModelBundle:
    return replace(make_bundle(0), imputation=IMPUTATION)


@pytest.fixture
def service(bundle: ModelBundle) -> Service:
    return Service(LoadedModel.warm("7", "d" * 64, bundle))


def nulled(row: list[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in row]


def named(row: list[float]) -> dict[str, float | None]:
    return dict(zip(NAMES, nulled(row), strict=True))


def tensor(**more: Any) -> dict[str, Any]:
    return {"name": "features", "datatype": "FP64", "shape": [3, 4]} | more


def as_binary() -> Post:
    data = np.array(SENT, "<f8").tobytes()
    about = tensor(parameters={"binary_data_size": len(data)})
    return as_binary_tensors([about], data)


DOORS: dict[str, Post] = {
    "instances": as_json("/predict", {"instances": [nulled(row) for row in SENT]}),
    "names": as_json("/predict", {"instances": [named(row) for row in SENT]}),
    "NaN": as_json("/predict", {"instances": SENT}),
    "records": as_json("/invocations", {"dataframe_records": [named(row) for row in SENT]}),
    "split": as_json(
        "/invocations",
        {"dataframe_split": {"columns": list(NAMES), "data": [nulled(row) for row in SENT]}},
    ),
    "csv": ("/invocations", f"{','.join(NAMES)}\n{CSV}".encode(), {"content_type": "text/csv"}),
    "tensor": as_json(
        "/v2/models/vigil/infer",
        {"inputs": [tensor(data=[nulled(row) for row in SENT])]},
    ),
    "binary": as_binary(),
}


def expected(bundle: ModelBundle) -> Floats:
    return bundle.forest.score(np.array(MEANT))


def counted(service: Service) -> dict[str, float]:
    (family,) = service.replica.metrics.imputed.collect()
    totals = [sample for sample in family.samples if sample.name.endswith("_total")]
    return {sample.labels["feature"]: sample.value for sample in totals}


@pytest.mark.parametrize("door", DOORS)
async def test_every_door_fills_in_the_same(
    door: str, service: Service, bundle: ModelBundle
) -> None:
    path, body, headers = DOORS[door]
    reply = await service.ask("POST", path, body, **headers)
    assert reply.status == 200, reply.body
    assert scores_of(reply.json) == expected(bundle).tolist()
    counts = service.replica.metrics.imputed
    counted = [counts.labels(name)._value.get() for name in NAMES]
    assert counted == [1, 1, 0, 1]


async def test_the_last_value_is_that_of_the_entity_or_of_the_history(
    service: Service, bundle: ModelBundle
) -> None:
    document = {"instances": [nulled(row) for row in SENT], "entities": ["a", "b", "a"]}
    reply = await service.ask("POST", "/predict", document)
    alone = np.array(MEANT)
    alone[1, 1] = 8.0
    assert reply.json["anomaly_score"] == bundle.forest.score(alone).tolist()

    history = await service.ask("POST", "/predict", {"history": [nulled(row) for row in SENT[:2]]})
    assert history.json["anomaly_score"] == expected(bundle)[1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1, 2, None, 4], "row 1, feature 'disk': the value is missing"),
        ([None, None, 3, None], "the value is missing, as are 75% of the row"),
        (["", 2, 3, 4], "is not a number"),
    ],
)
async def test_what_may_not_be_missing_is_refused(
    row: list[Any], reason: str, service: Service
) -> None:
    reply = await service.ask("POST", "/predict", {"instances": [[1, 2, 3, 4], row]})
    assert reply.status == 422
    assert reason in reply.json["error"]["message"]


async def test_text_in_a_csv_is_not_missing(service: Service) -> None:
    body = f"{','.join(NAMES)}\n1,2,3,four\n,2,3,4\n".encode()
    reply = await service.ask("POST", "/invocations", body, content_type="text/csv")
    assert reply.status == 422
    assert "four' is not a number (line 2)" in reply.json["message"]


def test_records_of_a_stream_keep_their_gaps_until_they_are_filled() -> None:
    lines = [named(SENT[1]), named([1, 2, NAN, 4]), named([NAN, NAN, 1, NAN])]
    raw = [
        RawRecord(str(k), json.dumps({"id": k, "features": line}).encode())
        for k, line in enumerate(lines)
    ]
    records, letters = decode(raw, NAMES, "s", IMPUTATION)
    assert [letter.reason for letter in letters] == [
        "feature 'disk': the value is missing",
        "feature 'cpu': the value is missing",
    ]
    assert IMPUTATION.fill(records.X).tolist() == [[9.0, 8.0, 10.5, 9.5]]
    refused, all_letters = decode(raw, NAMES, "s")
    assert (len(refused.rows), len(all_letters)) == (0, 3)


def test_a_stream_learns_the_policies_with_the_features(bundle: ModelBundle) -> None:
    wire = json.loads(json.dumps(RowFormat.of(bundle).to_wire()))
    assert RowFormat.from_wire(wire).imputation == IMPUTATION
