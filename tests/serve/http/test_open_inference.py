"""The Open Inference Protocol v2: JSON and binary tensors say the same.

Malformed ones are refused.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.http.open_inference import InferRequest, decode_infer, encode_infer, model_metadata
from serve.model.loaded import LoadedModel
from serve.model.scored_batch import ScoredBatch
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest, VigilError

NAMES = ("cpu", "memory", "disk", "net")
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def tensor(**changes: Any) -> dict[str, Any]:
    return {
        "name": "features",
        "datatype": "FP64",
        "shape": [1, 4],
        "data": [1, 2, 3, 4],
        **changes,
    }


def decode(request: Any, binary: bytes = b"", most: int = 10) -> InferRequest:
    head = request if isinstance(request, bytes) else json.dumps(request).encode()
    return decode_infer(head + binary, str(len(head)) if binary else None, NAMES, most)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(FINITE, FINITE, FINITE, FINITE), min_size=1, max_size=5),
    st.sampled_from(["FP32", "FP64"]),
)
def test_json_flat_nested_and_binary_are_the_same_rows(
    rows: list[tuple[float, ...]], kind: str
) -> None:
    X = np.array(rows)
    shape = list(X.shape)
    flat = decode({"inputs": [tensor(datatype=kind, shape=shape, data=X.ravel().tolist())]}).rows
    nested = decode({"inputs": [tensor(datatype=kind, shape=shape, data=X.tolist())]}).rows
    raw = X.astype("<f4" if kind == "FP32" else "<f8").tobytes()
    head = {
        "name": "features",
        "datatype": kind,
        "shape": shape,
        "parameters": {"binary_data_size": len(raw)},
    }
    np.testing.assert_array_equal(flat, X)
    np.testing.assert_array_equal(nested, X)
    np.testing.assert_array_equal(decode({"inputs": [head]}, raw).rows, X)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ([], MalformedRequest),
        ([tensor(), tensor()], MalformedRequest),
        ([tensor(name="x")], MalformedRequest),
        ([tensor(datatype="BYTES")], MalformedRequest),
        ([tensor(shape=["a"])], MalformedRequest),
        ([tensor(shape=[4])], InvalidFeatures),
        ([tensor(shape=[-1, 4])], InvalidFeatures),
        ([tensor(shape=[0, 4], data=[])], InvalidFeatures),
        ([tensor(shape=[1, 3], data=[1, 2, 3])], InvalidFeatures),
        ([tensor(data=[1, 2, 3])], InvalidFeatures),
        ([tensor(data=[1, 2, 3, "x"])], InvalidFeatures),
        ([tensor(data=[1, 2, 3, None])], InvalidFeatures),
        ([tensor(data=None)], InvalidFeatures),
        ([tensor(shape=[11, 4], data=[0] * 44)], BodyTooLarge),
        ([tensor(shape=[2**40, 4], data=[])], BodyTooLarge),
        ([tensor(datatype="FP32", data=[1e39, 0, 0, 0])], InvalidFeatures),
    ],
)
def test_malformed_tensors(inputs: list[Any], error: type[VigilError]) -> None:
    with pytest.raises(error):
        decode({"inputs": inputs})


@pytest.mark.parametrize("size", [31, 33, -32, "32"])
def test_binary_of_another_size(size: Any) -> None:
    head = {
        "name": "features",
        "datatype": "FP64",
        "shape": [1, 4],
        "parameters": {"binary_data_size": size},
    }
    with pytest.raises(MalformedRequest):
        decode({"inputs": [head]}, b"\0" * (size if isinstance(size, int) and size > 0 else 32))


@pytest.mark.parametrize("length", ["-1", "x", "999999"])
def test_json_length_that_is_none(length: str) -> None:
    with pytest.raises(MalformedRequest):
        decode_infer(json.dumps({"inputs": [tensor()]}).encode(), length, NAMES, 10)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_request(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decode(body)


@pytest.mark.parametrize(
    "outputs", [[{"name": "nope"}], [{"name": "prediction"}, {"name": "prediction"}]]
)
def test_outputs_that_are_not_there(outputs: list[dict[str, str]]) -> None:
    with pytest.raises(MalformedRequest):
        decode({"inputs": [tensor()], "outputs": outputs})


def test_answers_in_json_and_binary(model: LoadedModel) -> None:
    scored = ScoredBatch(np.zeros((2, 4)), np.array([0.4, 0.99]), model.bundle.threshold.value)
    as_json, length = encode_infer(
        InferRequest(np.zeros((2, 4)), None, "mine", (("anomaly_score", False),)),
        "vigil",
        model,
        scored=scored,
        request_id="new",
        max_reasons=3,
    )
    assert length is None
    assert json.loads(as_json)["id"] == "mine"
    assert json.loads(as_json)["outputs"][0]["data"] == [0.4, 0.99]
    both = (("prediction", True), ("anomaly_score", True))
    body, length = encode_infer(
        InferRequest(np.zeros((2, 4)), None, None, both),
        "vigil",
        model,
        scored=scored,
        request_id="new",
        max_reasons=3,
    )
    assert length is not None
    assert json.loads(body[:length])["id"] == "new"
    assert np.frombuffer(body[length : length + 16], "<i8").tolist() == [1, -1]
    assert np.frombuffer(body[length + 16 :], "<f8").tolist() == [0.4, 0.99]


def test_metadata_names_inputs_and_outputs(model: LoadedModel) -> None:
    found = model_metadata("vigil", model)
    assert found["versions"] == ["7"]
    assert found["inputs"][0]["shape"] == [-1, 4]
    assert {output["name"] for output in found["outputs"]} == {
        "anomaly_score",
        "prediction",
        "reasons",
        "warming",
        "threshold",
    }
