"""Whose rows they are, by the Open Inference Protocol: in JSON, binary, and by Triton's client."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferInput

from serve.http.open_inference import decode_infer
from serve.model.report import RowContext
from vigil.errors import InvalidFeatures, MalformedRequest, VigilError

NAMES = ("cpu", "net")
ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])
TEN_MS = 1_795_946_400_000
FEATURES = {"name": "features", "datatype": "FP64", "shape": [2, 2], "data": [1, 2, 3, 4]}
ENTITY = {"name": "entity", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
TIME = {"name": "time", "datatype": "INT64", "shape": [2], "data": [TEN_MS, TEN_MS + 1000]}
CONTEXT = RowContext(["a", "b"], [TEN_MS / 1000, TEN_MS / 1000 + 1])


def decode(inputs: list[dict[str, Any]], binary: bytes = b"") -> Any:
    head = json.dumps({"inputs": inputs}).encode()
    return decode_infer(head + binary, str(len(head)), NAMES, 9)


def texts(*values: str) -> bytes:
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def without_data(tensor: dict[str, Any], size: int) -> dict[str, Any]:
    kept = {key: value for key, value in tensor.items() if key != "data"}
    return kept | {"parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    "inputs", [[FEATURES, ENTITY, TIME], [TIME, FEATURES, ENTITY], [ENTITY, TIME, FEATURES]]
)
def test_the_order_of_the_inputs_does_not_matter(inputs: list[dict[str, Any]]) -> None:
    request = decode(inputs)
    assert request.context == CONTEXT
    assert request.rows.tolist() == ROWS.tolist()


def test_times_may_be_texts() -> None:
    time = {"name": "time", "datatype": "BYTES", "shape": [2], "data": ["2026-11-29T10:00:00Z"] * 2}
    assert decode([FEATURES, time]).context == RowContext(None, [TEN_MS / 1000] * 2)


def test_binary_inputs_follow_the_json_in_their_order() -> None:
    parts = {
        "features": ROWS.astype("<f8").tobytes(),
        "entity": texts("a", "b"),
        "time": np.array([TEN_MS, TEN_MS + 1000], "<i8").tobytes(),
    }
    inputs = [
        without_data(tensor, len(parts[tensor["name"]])) for tensor in (ENTITY, FEATURES, TIME)
    ]
    request = decode(inputs, parts["entity"] + parts["features"] + parts["time"])
    assert request.context == CONTEXT
    assert request.rows.tolist() == ROWS.tolist()


@pytest.mark.parametrize("is_binary", [True, False])
def test_what_tritons_client_makes_is_read(is_binary: bool) -> None:
    tensors = {"features": ROWS, "entity": np.array(["a", "b"], object), "time": TIME["data"]}
    types = {"features": "FP64", "entity": "BYTES", "time": "INT64"}
    inputs = []
    binary = b""
    for name, values in tensors.items():
        array = np.array(values) if name == "time" else values
        tensor = InferInput(name, list(array.shape), types[name])
        tensor.set_data_from_numpy(array, binary_data=is_binary)
        inputs.append(tensor._get_tensor())  # what it sends
        binary += tensor._get_binary_data() or b""
    assert decode(inputs, binary).context == CONTEXT


@pytest.mark.parametrize(
    ("inputs", "binary", "kind", "message"),
    [
        ([ENTITY], b"", MalformedRequest, "there must be one input, 'features'"),
        ([FEATURES, ENTITY, ENTITY], b"", MalformedRequest, "there twice"),
        ([FEATURES, ENTITY | {"name": "host"}], b"", MalformedRequest, "host"),
        ([FEATURES, ENTITY | {"datatype": "INT64"}], b"", MalformedRequest, "must be BYTES"),
        ([FEATURES, ENTITY | {"shape": [3]}], b"", InvalidFeatures, "a value for each row"),
        ([FEATURES, ENTITY | {"data": ["a"]}], b"", InvalidFeatures, "a value for each row"),
        ([FEATURES, ENTITY | {"data": ["a", ""]}], b"", InvalidFeatures, "row 1, `entity`"),
        ([FEATURES, TIME | {"data": [1, 10**18]}], b"", InvalidFeatures, "row 1, `time`"),
        ([FEATURES, ENTITY], b"left over", MalformedRequest, "bytes follow the JSON"),
        ([FEATURES, without_data(ENTITY, 9)], texts("a", "b"), MalformedRequest, "10 bytes"),
        ([FEATURES, without_data(ENTITY, 6)], b"\xff" * 6, MalformedRequest, "no texts"),
        ([FEATURES, without_data(ENTITY, 7)], texts("a") + b"\0\0", MalformedRequest, "no texts"),
        ([FEATURES, without_data(TIME, 5)], b"12345", MalformedRequest, "no INT64"),
    ],
)
def test_what_is_no_context_is_refused(
    inputs: list[dict[str, Any]], binary: bytes, kind: type[VigilError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        decode(inputs, binary)
