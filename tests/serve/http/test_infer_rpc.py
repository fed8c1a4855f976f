"""The Open Inference Protocol over gRPC, asked by tritonclient and by plain messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2
from tritonclient.utils import InferenceServerException

from serve.http.api_keys import KeyRing
from serve.http.infer_messages import FIELDS, MESSAGES, SERVICE
from serve.http.infer_proto import document_of
from serve.http.open_inference import infer_request
from serve.model.loaded import LoadedModel
from serve.model.row_format import RowFormat
from tests.serve.grpc_door import grpc_client, grpc_door
from tests.serve.service import INFER, Service
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest

ROWS = [[10.0, 10.0, 10.0, 10.0], [10.0, 10.0, 90.0, 10.0]]
NAMES = ("cpu", "memory", "disk", "net")


def features(rows: Any = ROWS, datatype: str = "FP64") -> InferInput:
    X = np.array(rows, np.float64 if datatype == "FP64" else np.float32)
    tensor = InferInput("features", list(X.shape), datatype)
    tensor.set_data_from_numpy(X)
    return tensor


def typed_request(**changes: Any) -> Any:
    """A request whose values are typed, as clients without raw contents send them."""
    request = MESSAGES["ModelInferRequest"](**({"model_name": "vigil", "id": "r"} | changes))
    tensor = request.inputs.add(name="features", datatype="FP64", shape=[2, 4])
    tensor.contents.fp64_contents.extend(np.ravel(ROWS).tolist())
    return request


def _serialized(message: Any) -> bytes:
    return message.SerializeToString()


async def called(address: str, method: str, request: Any) -> Any:
    """What a plain client gets."""
    answer: Any = MESSAGES[f"{method}Response"]
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=_serialized,
            response_deserializer=answer.FromString,
        )
        return await call(request)


def test_messages_are_those_of_tritonclient() -> None:
    for name in FIELDS:
        top, *nested = name.split(".")
        theirs = service_pb2.DESCRIPTOR.message_types_by_name[top]
        for part in nested:
            theirs = theirs.nested_types_by_name[part]
        ours: Any = MESSAGES[name]
        assert described(ours.DESCRIPTOR) == described(theirs), name


def described(message: Any) -> list[tuple[Any, ...]]:
    return [
        (
            field.name,
            field.number,
            field.type,
            field.is_repeated if hasattr(field, "is_repeated") else field.label,
            field.message_type and field.message_type.full_name,
            field.containing_oneof and field.containing_oneof.name,
        )
        for field in message.fields
    ]


async def test_rows_have_the_scores_of_every_other_door(service: Service) -> None:
    expected = (await service.ask("POST", "/predict", {"instances": ROWS})).json
    async with grpc_client(service) as client:
        found = await client.infer("vigil", [features()], request_id="r-1")
    async with grpc_door(service) as address:
        typed = await called(address, "ModelInfer", typed_request())
    answer = found.get_response()
    assert found.as_numpy("anomaly_score").tolist() == expected["anomaly_score"]
    assert found.as_numpy("prediction").tolist() == expected["prediction"]
    assert (answer.model_name, answer.model_version, answer.id) == ("vigil", "7", "r-1")
    assert answer.parameters["model_digest"].string_param == expected["model_digest"]
    assert answer.parameters["threshold"].double_param == expected["threshold"]
    assert list(typed.outputs[0].contents.fp64_contents) == expected["anomaly_score"]
    assert list(typed.outputs[1].contents.int64_contents) == expected["prediction"]
    (captured,) = service.replica.capture.take()
    assert captured.requests[2:] == ["r-1", "r-1", "r", "r"]


async def test_outputs_are_those_that_are_asked_for(service: Service) -> None:
    outputs = [InferRequestedOutput("reasons"), InferRequestedOutput("warming")]
    async with grpc_client(service) as client:
        found = await client.infer("vigil", [features()], outputs=outputs)
    reasons = [json.loads(text) for text in found.as_numpy("reasons")]
    assert found.as_numpy("warming").tolist() == [False, False]
    assert len(reasons) == 2


async def test_what_is_served_is_told(service: Service) -> None:
    async with grpc_client(service) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("vigil", "7")
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            await client.is_model_ready("other")
        assert (await client.get_server_metadata()).name == "vigil"
        found = await client.get_model_metadata("vigil", as_json=True)
    told = (await service.ask("GET", "/v2/models/vigil")).json
    assert (found["name"], found["versions"]) == (told["name"], told["versions"])
    assert [tensor["name"] for tensor in found["outputs"]] == [
        tensor["name"] for tensor in told["outputs"]
    ]


REFUSED = [
    ({}, {"model_name": "other"}, [features()], "NOT_FOUND"),
    ({}, {"model_version": "9"}, [features()], "NOT_FOUND"),
    ({}, {}, [features([[1.0, 2.0]])], "INVALID_ARGUMENT"),
    ({}, {}, [features([[1.0, 2.0, np.nan, 4.0]])], "INVALID_ARGUMENT"),
    ({}, {}, [features(), features()], "INVALID_ARGUMENT"),
    ({}, {"outputs": [InferRequestedOutput("cause")]}, [features()], "INVALID_ARGUMENT"),
    ({"max_rows": 1}, {}, [features()], "RESOURCE_EXHAUSTED"),
    ({"max_body_bytes": 1024}, {}, [features(ROWS * 50)], "RESOURCE_EXHAUSTED"),
    ({"auth": "required"}, {}, [features()], "UNAUTHENTICATED"),
]


@pytest.mark.parametrize(("settings", "given", "inputs", "code"), REFUSED)
async def test_refusals_have_the_status_of_their_kind(
    model: LoadedModel,
    settings: dict[str, Any],
    given: dict[str, Any],
    inputs: list[InferInput],
    code: str,
) -> None:
    service = Service(model, **settings)
    asked = {"model_name": "vigil"} | given
    async with grpc_client(service) as client:
        with pytest.raises(InferenceServerException) as caught:
            await client.infer(inputs=inputs, **asked)
    assert caught.value.status() == f"StatusCode.{code}"
    assert caught.value.message()


async def test_a_service_without_a_model_or_with_a_fault_says_so(
    model: LoadedModel,
    make_bundle: Any,
) -> None:
    broken: Any = LoadedModel.warm("8", "e" * 64, make_bundle(1))
    broken.bundle.forest.__dict__["score"] = None
    for served, code in ((None, "UNAVAILABLE"), (broken, "INTERNAL")):
        service = Service(served)
        async with grpc_client(service) as client:
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("vigil", [features()])
        assert caught.value.status() == f"StatusCode.{code}"
        assert "Traceback" not in str(caught.value)


async def test_a_key_in_the_metadata_opens_the_door(model: LoadedModel, tmp_path: Any) -> None:
    service = Service(model, auth="required", home=tmp_path)
    key = KeyRing(service.replica.settings.key_file).new("device")
    async with grpc_client(service) as client:
        assert await client.is_server_live()
        with pytest.raises(InferenceServerException, match="send `Authorization"):
            await client.get_model_metadata("vigil")
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            found = await client.infer("vigil", [features()], headers=headers)
            assert len(found.as_numpy("prediction")) == 2


async def test_a_message_that_is_refused_ends_no_stream(service: Service) -> None:
    sent = [features(), features([[1.0]]), features(ROWS[:1])]

    async def messages() -> AsyncIterator[dict[str, Any]]:
        for number, tensor in enumerate(sent):
            yield {"model_name": "vigil", "inputs": [tensor], "request_id": f"r{number}"}

    async with grpc_client(service) as client:
        answers = [answer async for answer in client.stream_infer(messages())]
    (first, _), (_, refused), (last, _) = answers
    assert len(first.as_numpy("anomaly_score")) == 2
    assert "shape" in refused.message()
    assert last.get_response().id == "r2"
    sample = service.replica.metrics.registry.get_sample_value
    assert sample("vigil_requests_total", {"outcome": "ok"}) == 2
    assert sample("vigil_requests_total", {"outcome": "InvalidFeatures"}) == 1


async def test_streams_leave_half_of_the_slots_to_requests(model: LoadedModel) -> None:
    service = Service(model, max_ongoing_requests=2)
    with service.rpc.slots.taken():
        async with grpc_client(service) as client:

            async def message() -> AsyncIterator[dict[str, Any]]:
                yield {"model_name": "vigil", "inputs": [features()]}

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [answer async for answer in client.stream_infer(message())]
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["features", "entity", "time", "other", ""]),
        "datatype": st.sampled_from(["FP64", "FP32", "INT64", "BYTES", "BOOL", "", "x"]),
        "shape": st.lists(st.integers(-2, 5), max_size=3),
    }
)
RAW = st.lists(st.binary(max_size=40), max_size=3)
CONTENTS = st.fixed_dictionaries(
    {
        "fp64_contents": st.lists(st.floats(), max_size=8),
        "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
        "bytes_contents": st.lists(st.binary(max_size=5), max_size=4),
    }
)


@given(tensors=st.lists(TENSORS, max_size=3), contents=CONTENTS, raw=RAW)
def test_whatever_is_sent_is_read_or_refused(
    tensors: list[dict[str, Any]],
    contents: dict[str, Any],
    raw: list[bytes],
) -> None:
    request: Any = MESSAGES["ModelInferRequest"](raw_input_contents=raw)
    for tensor in tensors:
        request.inputs.add(**tensor, contents=MESSAGES["InferTensorContents"](**contents))
    with suppress(MalformedRequest, InvalidFeatures, BodyTooLarge):
        document, binary = document_of(request)
        found = infer_request(document, binary, RowFormat(NAMES), max_rows=4)
        assert found.rows.shape[1] == len(NAMES)


async def test_the_protocols_two_forms_refuse_alike(service: Service) -> None:
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}
    rest = (await service.ask("POST", INFER, {"inputs": [tensor]})).json["error"]
    async with grpc_client(service) as client:
        with pytest.raises(InferenceServerException) as caught:
            await client.infer("vigil", [features([[1.0, 2.0]])])
    assert caught.value.message() == rest
