"""The Open Inference Protocol v2 over HTTP: metadata, and infer in JSON and with binary tensors.

Source: the protocol's `predict-api-v2/required_api` and `extension_binary_data`, as KServe and
Triton implement them. Inputs: serve/http/infer_inputs.py; outputs `anomaly_score`
FP64 [n], `prediction` INT64 [n]; where a row is warming, or when it is asked for, `warming` BOOL
[n]; and when it is asked for `reasons` BYTES [n]: for each row the JSON of what `/predict` calls
its reasons. Pure.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from serve.http.fields import AlertThreshold, ModelDigest, SchemaHash
from serve.http.infer_inputs import FeaturesInput, InferInputs, decode_inputs, parameter
from serve.http.predict import reasons_by_row
from serve.http.rows import DECODE_ERRORS, decode_json
from serve.http.sent_values import abbreviate
from serve.model.report import RowContext
from serve.model.row_format import MadeRows, RowFormat
from serve.model.scored_batch import ScoredBatch
from vigil.arrays import Floats
from vigil.errors import MalformedRequest

if TYPE_CHECKING:
    from serve.model.loaded import LoadedModel

JSON_LENGTH_HEADER = "inference-header-content-length"
_LENGTH = re.compile("[0-9]{1,15}")
OUTPUT_TYPES = {
    "anomaly_score": "FP64",
    "prediction": "INT64",
    "reasons": "BYTES",
    "warming": "BOOL",
    "threshold": "FP64",
}
_BINARY_TYPES = {"f": "<f8", "i": "<i8", "b": "?"}
_WARMING = "warming"
_DEFAULT_OUTPUTS = ("anomaly_score", "prediction")

_OutputName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(OUTPUT_TYPES)})]


class RequestedOutput(msgspec.Struct):
    """An output that the client wants; its parameter `binary_data` says how."""

    name: _OutputName
    parameters: dict[str, Any] | None = None


class InferBody(msgspec.Struct):
    """A request of the protocol."""

    inputs: InferInputs
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: dict[str, Any] | None = None


class ModelParameters(msgspec.Struct):
    """What the answer says of the model."""

    threshold: AlertThreshold
    model_digest: ModelDigest
    schema_hash: SchemaHash


class OutputTensor(msgspec.Struct):
    """A column of the answer; without `data` it follows the JSON."""

    name: _OutputName
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class InferResult(msgspec.Struct):
    """An answer of the protocol."""

    model_name: str
    model_version: str
    id: str
    parameters: ModelParameters
    outputs: list[OutputTensor]


@dataclass(frozen=True)
class InferRequest:
    """A decoded request: rows [n, d], and whose they are where it says so.

    outputs: (name, whether as binary) in their order; all_binary: what is answered unasked is so;
    made: how the client made rows of the model of raw ones, None where they are raw
    """

    rows: Floats
    context: RowContext | None
    id: str | None
    outputs: tuple[tuple[str, bool], ...]
    all_binary: bool = False
    made: MadeRows | None = None

    def outputs_of(self, scored: ScoredBatch) -> tuple[tuple[str, bool], ...]:
        """Return the outputs that are answered: rows that are warming are not passed over."""
        asked = {name for name, _ in self.outputs}
        if not scored.warming_rows or _WARMING in asked:
            return self.outputs
        return (*self.outputs, (_WARMING, self.all_binary))


_decode = msgspec.json.Decoder(InferBody).decode
_encode = msgspec.json.Encoder().encode


def server_metadata(version: str) -> dict[str, Any]:
    """Return the metadata of the server."""
    return {"name": "vigil", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str, model: LoadedModel) -> dict[str, Any]:
    """Return the metadata of the model that is served under `name`."""
    categories = model.row_format.categories
    names = list(model.row_format.names if categories is None else categories.numbers)
    features = {
        "name": "features",
        "datatype": "FP64",
        "shape": [-1, len(names)],
        "parameters": {"names": names},
    }
    inputs = [features]
    if categories is not None:
        words = list(categories.words)
        about = {"datatype": "BYTES", "shape": [-1, len(words)], "parameters": {"names": words}}
        inputs.append({"name": "categories", **about})
    outputs = [
        {"name": output, "datatype": datatype, "shape": [-1]}
        for output, datatype in OUTPUT_TYPES.items()
    ]
    return {
        "name": name,
        "versions": [model.version],
        "platform": "vigil-isolation-forest",
        "inputs": inputs,
        "outputs": outputs,
    }


def decode_infer(
    body: bytes,
    json_length: str | None,
    names: tuple[str, ...],
    max_rows: int,
    *,
    row_format: RowFormat | None = None,
) -> InferRequest:
    """Return the decoded request.

    `json_length` is the header Inference-Header-Content-Length when tensors are binary. The rows
    have the features `names`, or those of the model where the parameter `made_by` names the
    transform of `row_format`.
    Raises MalformedRequest (400), InvalidFeatures (422) or BodyTooLarge (413).
    """
    end = len(body) if json_length is None else _json_end(json_length, len(body))
    document, is_typed = _decode_document(memoryview(body)[:end])
    return infer_request(
        document,
        memoryview(body)[end:],
        row_format or RowFormat(names),
        max_rows=max_rows,
        is_typed=is_typed,
    )


def infer_request(
    document: InferBody,
    binary: memoryview,
    row_format: RowFormat,
    *,
    max_rows: int,
    is_typed: bool = True,
) -> InferRequest:
    """Return the request of a document and the bytes that follow it.

    is_typed: all values of `features` are known to be numbers

    Raises MalformedRequest (400), InvalidFeatures (422) or BodyTooLarge (413).
    """
    made = _made(document, row_format)
    rows, context = decode_inputs(
        document.inputs,
        binary,
        _expected_names(row_format, made),
        max_rows=max_rows,
        is_typed=is_typed,
        may_miss=made is None and row_format.imputation is not None,
        categories=row_format.categories if made is None else None,
    )
    return InferRequest(
        rows,
        context,
        document.id,
        outputs=_requested_outputs(document),
        all_binary=bool(parameter(document, "binary_data_output", False)),
        made=made,
    )


def _expected_names(row_format: RowFormat, made: MadeRows | None) -> tuple[str, ...]:
    """The columns of `features`."""
    if made is not None:
        return row_format.model_names
    return row_format.names if row_format.categories is None else row_format.categories.numbers


def _made(document: InferBody, row_format: RowFormat) -> MadeRows | None:
    """How the rows were made; raises InvalidFeatures for another transform than the model's."""
    key = parameter(document, "made_by")
    if key is None:
        return None
    made = MadeRows(str(key), bool(parameter(document, "warming", False)))
    row_format.require_made_by(made.key)
    return made


def _decode_document(head: memoryview) -> tuple[InferBody, bool]:
    """The request, and whether all values of `features` are known to be numbers.

    Where they are not, the rows can say which is not.
    """
    try:
        return _decode(head), True
    except DECODE_ERRORS:
        pass
    document = decode_json(head)
    data = _take_features(document)
    try:
        request = msgspec.convert(document, InferBody)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"not a v2 inference request: {error}") from error
    for tensor in request.inputs:
        if isinstance(tensor, FeaturesInput):
            tensor.data = data
    return request, False


def _take_features(document: Any) -> list[Any] | None:
    """The data of `features`, which the document lacks then."""
    inputs = document.get("inputs") if isinstance(document, dict) else None
    for tensor in inputs if isinstance(inputs, list) else []:
        if isinstance(tensor, dict) and tensor.get("name") == "features":
            data = tensor.pop("data", None)
            return data if isinstance(data, list) else None
    return None


def _json_end(json_length: str, body_length: int) -> int:
    if not _LENGTH.fullmatch(json_length) or int(json_length) > body_length:
        length = abbreviate(json_length)
        raise MalformedRequest(
            f"{JSON_LENGTH_HEADER} is {length}, the body has {body_length} bytes"
        )
    return int(json_length)


def _requested_outputs(document: InferBody) -> tuple[tuple[str, bool], ...]:
    all_binary = parameter(document, "binary_data_output", False)
    outputs = document.outputs or [RequestedOutput(name) for name in _DEFAULT_OUTPUTS]
    requested: dict[str, bool] = {}
    for output in outputs:
        if output.name not in OUTPUT_TYPES:
            known = ", ".join(OUTPUT_TYPES)
            raise MalformedRequest(
                f"there is no output {abbreviate(output.name)}; there are {known}"
            )
        requested[output.name] = bool(parameter(output, "binary_data", all_binary))
    if len(requested) != len(outputs):
        raise MalformedRequest("an output is asked for twice")
    return tuple(requested.items())


def encode_infer(
    request: InferRequest,
    name: str,
    model: LoadedModel,
    *,
    scored: ScoredBatch,
    request_id: str,
    max_reasons: int,
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the length of its JSON when binary tensors follow it."""
    bundle = model.bundle
    threshold = bundle.threshold.value
    outputs: list[OutputTensor] = []
    tensors: list[bytes] = []
    for output, is_binary in request.outputs_of(scored):
        column = output_column(output, scored, model, max_reasons)
        tensor = OutputTensor(output, OUTPUT_TYPES[output], [len(scored.scores)])
        if is_binary:
            tensors.append(column_bytes(column))
            tensor.parameters = {"binary_data_size": len(tensors[-1])}
        else:
            tensor.data = _to_list(column)
        outputs.append(tensor)
    result = InferResult(
        name,
        model.version,
        id=request.id or request_id,
        parameters=ModelParameters(threshold, model.digest, bundle.schema_hash),
        outputs=outputs,
    )
    head = _encode(result)
    return b"".join([head, *tensors]), len(head) if tensors else None


def output_column(
    output: str,
    scored: ScoredBatch,
    model: LoadedModel,
    max_reasons: int,
) -> NDArray[Any] | list[bytes]:
    """Return the values [n] of an output."""
    match output:
        case "anomaly_score":
            return scored.scores
        case "prediction":
            return scored.labels
        case "threshold":
            return scored.thresholds
        case "warming":
            return np.array(scored.warming_rows or [False] * len(scored.scores), bool)
        case _:
            reasons = reasons_by_row(model, scored.rows, scored.alerts, max_reasons)
            return [_encode(reasons_of_row) for reasons_of_row in reasons]


def _to_list(column: NDArray[Any] | list[bytes]) -> list[Any]:
    if isinstance(column, list):
        return [text.decode() for text in column]
    return column.tolist()


def column_bytes(column: NDArray[Any] | list[bytes]) -> bytes:
    """Return little-endian numbers; of BYTES each element after its length in four bytes."""
    if isinstance(column, list):
        return b"".join(struct.pack("<I", len(text)) + text for text in column)
    return column.astype(_BINARY_TYPES[column.dtype.kind]).tobytes()
