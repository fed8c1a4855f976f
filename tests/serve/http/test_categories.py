"""A model with categories takes the same words at every door, and gives the same scores."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serve.http.infer_messages import MESSAGES
from serve.model.loaded import LoadedModel
from serve.model.row_format import RowFormat
from serve.stream.records import RawRecord, decode
from tests.serve.service import (
    Post,
    Service,
    as_binary_tensors,
    as_json,
    predict_lines,
    scores_of,
)
from train.model.bundle import ModelBundle
from train.table.categories import Category, CategoryCodec
from train.table.transform.feature_transform import FeatureTransform

PROTO = Category("proto", "one-hot", ("tcp", "udp"), (0.75, 0.25))
CODEC = CategoryCodec(("cpu", "proto", "net"), (PROTO,))
SENT: list[list[Any]] = [[11.0, "tcp", 9.0], [8.0, "icmp", 12.0], [10.0, "udp", 10.0]]
MEANT = np.array([[11.0, 1, 0, 9.0], [8.0, 0, 0, 12.0], [10.0, 0, 1, 10.0]])
WORDS = [row[1] for row in SENT]
NUMBERS = [[row[0], row[2]] for row in SENT]


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[[int], ModelBundle]) -> ModelBundle:
    plain = make_bundle(0)
    reference = replace(plain.reference, names=CODEC.outputs)
    return replace(plain, names=CODEC.outputs, reference=reference, categories=CODEC)


@pytest.fixture
def service(bundle: ModelBundle) -> Service:
    return Service(LoadedModel.warm("7", "d" * 64, bundle))


def named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(CODEC.names, row, strict=True))


def tensors(words: Sequence[Any] = WORDS, **more: Any) -> list[dict[str, Any]]:
    features = {"name": "features", "datatype": "FP64", "shape": [3, 2], "data": NUMBERS}
    categories = {"name": "categories", "datatype": "BYTES", "shape": [3, 1], "data": words}
    return [features, categories | more]


def as_binary() -> Post:
    numbers = np.array(NUMBERS, "<f8").tobytes()
    words = b"".join(struct.pack("<I", len(word)) + word.encode() for word in WORDS)
    inputs = tensors()
    for tensor, data in zip(inputs, (numbers, words), strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(data)}
    return as_binary_tensors(inputs, numbers + words)


CSV = "\n".join(",".join(map(str, row)) for row in SENT)
DOORS: dict[str, Post] = {
    "instances": as_json("/predict", {"instances": SENT}),
    "names": as_json("/predict", {"instances": list(map(named, SENT))}),
    "records": as_json("/invocations", {"dataframe_records": list(map(named, SENT))}),
    "split": as_json(
        "/invocations", {"dataframe_split": {"columns": list(CODEC.names), "data": SENT}}
    ),
    "csv": (
        "/invocations",
        f"{','.join(CODEC.names)}\n{CSV}".encode(),
        {"content_type": "text/csv"},
    ),
    "tensors": as_json("/v2/models/vigil/infer", {"inputs": tensors()}),
    "nested": as_json("/v2/models/vigil/infer", {"inputs": tensors([[w] for w in WORDS])}),
    "binary": as_binary(),
}


def unknown(service: Service) -> float:
    return service.replica.metrics.unknown_categories.labels("proto")._value.get()


@pytest.mark.parametrize("door", DOORS)
async def test_every_door_takes_the_same_words(
    door: str, service: Service, bundle: ModelBundle
) -> None:
    path, body, headers = DOORS[door]
    reply = await service.ask("POST", path, body, **headers)
    assert reply.status == 200, reply.body
    assert scores_of(reply.json) == bundle.forest.score(MEANT).tolist()
    assert unknown(service) == 1


async def test_lines_take_words(service: Service, bundle: ModelBundle) -> None:
    lines = [json.dumps({"features": row}).encode() for row in (*SENT, [1.0, 0.0, 0.0, 1.0])]
    *answers, refused = await predict_lines(service, b"\n".join(lines))
    scores = [answer["anomaly_score"] for answer in answers]
    assert scores == bundle.forest.score(MEANT).tolist()
    assert "row 0 has 4 features, the model needs 3" in refused["error"]["message"]
    assert unknown(service) == 1


async def test_grpc_takes_words(service: Service, bundle: ModelBundle) -> None:
    request: Any = MESSAGES["ModelInferRequest"](model_name="vigil")
    features = request.inputs.add(name="features", datatype="FP64", shape=[3, 2])
    features.contents.fp64_contents.extend([value for row in NUMBERS for value in row])
    categories = request.inputs.add(name="categories", datatype="BYTES", shape=[3, 1])
    categories.contents.bytes_contents.extend([word.encode() for word in WORDS])
    answer = await service.rpc.infer(request, {})
    assert list(answer.outputs[0].contents.fp64_contents) == bundle.forest.score(MEANT).tolist()


def test_a_stream_learns_the_words_with_the_features(bundle: ModelBundle) -> None:
    wire = json.loads(json.dumps(RowFormat.of(bundle).to_wire()))
    assert wire["features"] == list(CODEC.names)
    row_format = RowFormat.from_wire(wire)
    assert row_format == RowFormat.of(bundle)
    assert row_format.made_by == RowFormat.of(bundle).made_by != ""
    lines = [{"id": 0, "features": SENT[0]}, {"id": 1, "features": named(SENT[1])}]
    bad: list[Any] = [[1.0, 2.0, 3.0], [1.0, "", 3.0], [1.0, 0.0, 1.0, 1.0]]
    lines += [{"id": 2 + k, "features": row} for k, row in enumerate(bad)]
    raw = [RawRecord(str(k), json.dumps(line).encode()) for k, line in enumerate(lines)]
    records, letters = decode(raw, row_format.names, "s", categories=row_format.categories)
    assert records.X.tolist() == MEANT[:2].tolist()
    assert [letter.reason[:40] for letter in letters] == [
        "row 0, feature 'proto': 2.0 is no text, ",
        "row 0, feature 'proto': the value is mis",
        "row 0 has 4 features, the model needs 3:",
    ]


async def test_a_consumer_sends_the_rows_that_it_has_made(
    service: Service, bundle: ModelBundle
) -> None:
    row_format = RowFormat.of(bundle)
    features = {"name": "features", "datatype": "FP64", "shape": [3, 4], "data": MEANT.tolist()}
    document = {"inputs": [features], "parameters": {"made_by": row_format.made_by}}
    reply = await service.ask("POST", "/v2/models/vigil/infer", document)
    assert scores_of(reply.json) == bundle.forest.score(MEANT).tolist()
    document["parameters"] = {"made_by": "others"}
    assert (await service.ask("POST", "/v2/models/vigil/infer", document)).status == 422


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (6, "6 is no text, as a category is: write it in quotes"),
        (True, "true is no text"),
        (["tcp"], "['tcp'] is no text"),
        (None, "the value is missing: give what is not known a word of its own"),
        ("", "the value is missing"),
        (" \ufeff ", "the value is missing"),
        ("x" * 101, "has 101 characters, a category at most 100: shorten it"),
        ("a\x00b", "has characters that cannot be printed: remove them"),
        ("\ud800", "has characters that cannot be printed"),
        ("tcp\u202e", "has characters that cannot be printed"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/invocations"])
async def test_what_is_no_word_is_refused_with_what_to_do(
    value: Any, reason: str, path: str, service: Service
) -> None:
    rows = [SENT[0], [1.0, value, 2.0]]
    reply = await service.ask("POST", path, {"instances": rows})
    assert reply.status == 422
    error = reply.json.get("error", reply.json)
    assert error["message"].startswith("row 1, feature 'proto': ")
    assert reason in error["message"]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (tensors()[:1], "send the input 'categories', BYTES, with the columns proto"),
        (tensors(WORDS[:2]), "'categories' must have shape [3, 1]"),
        (tensors(shape=[3]), "'categories' must have shape [3, 1]"),
        (tensors(datatype="FP64"), "it must be BYTES"),
        (tensors(["tcp", "", "udp"]), "row 1, feature 'proto': the value is missing"),
    ],
)
async def test_tensors_that_lack_words_are_refused(
    inputs: list[dict[str, Any]], reason: str, service: Service
) -> None:
    reply = await service.ask("POST", "/v2/models/vigil/infer", {"inputs": inputs})
    assert reply.status in (400, 422)
    assert reason in reply.json["error"]


async def test_a_model_without_categories_takes_none(model: LoadedModel) -> None:
    service = Service(model)
    features = {"name": "features", "datatype": "FP64", "shape": [1, 4], "data": [1, 2, 3, 4]}
    words = {"name": "categories", "datatype": "BYTES", "shape": [1, 1], "data": ["tcp"]}
    reply = await service.ask("POST", "/v2/models/vigil/infer", {"inputs": [features, words]})
    assert reply.status == 400
    assert "the model has no categories" in reply.json["error"]


async def test_what_is_said_of_the_model_names_its_words(service: Service) -> None:
    metadata = (await service.ask("GET", "/v2/models/vigil")).json
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["features", "categories"]
    assert metadata["inputs"][0]["parameters"] == {"names": ["cpu", "net"]}
    ready = (await service.ask("GET", "/readyz")).json
    assert ready["features"] == list(CODEC.names)
    document = (await service.ask("GET", "/openapi.json")).json
    assert '"proto": "tcp"' in json.dumps(document)


async def test_a_transform_looks_back_on_words_as_on_numbers(bundle: ModelBundle) -> None:
    transform = FeatureTransform.parse("diff:1", ("proto=tcp", "proto=udp"))
    codec = CategoryCodec(("proto",), (PROTO,))
    looking_back = replace(bundle, names=transform.outputs, transform=transform, categories=codec)
    service = Service(LoadedModel.warm("8", "e" * 64, looking_back))
    reply = await service.ask("POST", "/predict", {"history": [["tcp"], ["udp"]]})
    expected = looking_back.forest.score(np.array([[0.0, 1, -1, 1]]))
    assert reply.json["anomaly_score"] == expected[0]


def test_models_of_other_words_are_not_run_beside_each_other(bundle: ModelBundle) -> None:
    others = CategoryCodec(CODEC.names, (replace(PROTO, shares=(0.5, 0.5)),))
    other = RowFormat.of(replace(bundle, categories=others))
    assert not other.takes_rows_of(RowFormat.of(bundle))
    assert RowFormat.of(bundle).takes_rows_of(RowFormat.of(bundle))
    assert replace(bundle, categories=others).schema_hash == bundle.schema_hash
