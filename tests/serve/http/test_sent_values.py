"""What a message shows of a value that was sent, and numbers that no float holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve.http.invocations import decode_invocations
from serve.http.open_inference import decode_infer
from serve.http.predict import decode_predict
from serve.http.sent_values import OutOfRangeNumber, abbreviate, read_float
from serve.stream.records import RawRecord
from serve.stream.records import decode as decode_records
from vigil.errors import InvalidFeatures, MalformedRequest

NAMES = ("cpu", "mem")
HUGE = ("1e400", "-1e400", "1E+999", "1" * 310 + ".5", "1" + "0" * 400)


def predict_list(value: str) -> Any:
    return decode_predict(b'{"features": [2, %s]}' % value.encode(), NAMES, 9)


def predict_object(value: str) -> Any:
    return decode_predict(b'{"features": {"mem": %s, "cpu": 2}}' % value.encode(), NAMES, 9)


def predict_instances(value: str) -> Any:
    return decode_predict(b'{"instances": [[2, %s]]}' % value.encode(), NAMES, 9)


def predict_history(value: str) -> Any:
    return decode_predict(b'{"history": [{"cpu": 2, "mem": %s}]}' % value.encode(), NAMES, 9)


def invoke_split(value: str) -> Any:
    body = b'{"dataframe_split": {"columns": ["cpu", "mem"], "data": [[2, %s]]}}' % value.encode()
    return decode_invocations(body, "application/json", NAMES, 9)


def invoke_inputs(value: str) -> Any:
    body = b'{"inputs": {"cpu": [2], "mem": [%s]}}' % value.encode()
    return decode_invocations(body, "application/json", NAMES, 9)


def infer(value: str) -> Any:
    tensor = b'{"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [2, %s]}'
    return decode_infer(b'{"inputs": [%s]}' % (tensor % value.encode()), None, NAMES, 9)


def infer_rows(value: str) -> Any:
    tensor = b'{"name": "features", "shape": [1, 2], "datatype": "FP32", "data": [[2, %s]]}'
    return decode_infer(b'{"inputs": [%s]}' % (tensor % value.encode()), None, NAMES, 9)


PROTOCOLS = (
    predict_list,
    predict_object,
    predict_instances,
    predict_history,
    invoke_split,
    invoke_inputs,
    infer,
    infer_rows,
)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
@pytest.mark.parametrize("value", HUGE, ids=lambda value: value[:6])
def test_a_number_that_no_float_holds_is_refused_by_its_feature(protocol: Any, value: str) -> None:
    with pytest.raises(
        InvalidFeatures, match=r"row 0, feature 'mem': .* is not a finite"
    ) as caught:
        protocol(value)
    assert (caught.value.field, caught.value.row) == ("mem", 0)
    assert "inf" not in caught.value.message.replace("finite", "")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
@pytest.mark.parametrize("value", ["null", "[true]", "[false]", "[null]"])
def test_values_are_shown_as_json_has_them(protocol: Any, value: str) -> None:
    with pytest.raises((InvalidFeatures, MalformedRequest)) as caught:
        protocol(value)
    assert not {"None", "True", "False"} & set(caught.value.message.split())
    assert "None" not in caught.value.message


@pytest.mark.parametrize("value", [*HUGE, "null", '"x"'], ids=lambda value: value[:6])
@pytest.mark.parametrize("form", ["[2, %s]", '{"cpu": 2, "mem": %s}'])
def test_a_record_of_a_stream_is_refused_in_the_same_words(form: str, value: str) -> None:
    data = ('{"id": "a", "features": ' + form % value + "}").encode()
    decoded, letters = decode_records([RawRecord("0", data)], NAMES, "s")
    assert len(decoded.X) == 0
    (letter,) = letters
    with pytest.raises(InvalidFeatures) as caught:
        decode_predict(('{"features": ' + form % value + "}").encode(), NAMES, 9)
    assert letter.reason == caught.value.message
    assert letter.id == "a"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        ([False, None], "[false, null]"),
        ({"a": None}, "{'a': null}"),
        ("None", "'None'"),
        (1.5, "1.5"),
        (OutOfRangeNumber("1e400"), "1e400"),
    ],
)
def test_what_is_shown(value: Any, shown: str) -> None:
    assert abbreviate(value) == shown
    assert len(abbreviate(["x" * 10_000] * 100)) < 1000


def test_other_numbers_are_floats() -> None:
    for text in ("1e308", "-0.0", "1e-400", "0.1"):
        assert read_float(text) == json.loads(text)


@pytest.mark.parametrize("place", ["request", "input", "outputs", "output"])
def test_parameters_that_are_null_are_not_there(place: str) -> None:
    tensor: dict[str, Any] = {
        "name": "features",
        "shape": [1, 2],
        "datatype": "FP64",
        "data": [1, 2],
    }
    body: dict[str, Any] = {"id": None, "inputs": [tensor]}
    if place == "request":
        body["parameters"] = None
    elif place == "input":
        tensor["parameters"] = {"binary_data_size": None}
    elif place == "outputs":
        body["outputs"] = None
    else:
        body["outputs"] = [{"name": "prediction", "parameters": None}]
    request = decode_infer(json.dumps(body).encode(), None, NAMES, 9)
    assert request.rows.tolist() == [[1, 2]]
    assert [is_binary for _, is_binary in request.outputs] == [False] * len(request.outputs)
