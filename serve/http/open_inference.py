"""The Open Inference Protocol v2 over HTTP: metadata, and infer in JSON and with the binary tensor extension.

Source: the protocol's `predict-api-v2/required_api` and `extension_binary_data`, as KServe and Triton implement them. One
input `features`, FP32 or FP64, shape [n, d]; outputs `anomaly_score` FP64 [n], `prediction` INT64 [n] and, when it is asked
for, `reasons` BYTES [n]: for each row the JSON of what `/predict` calls its reasons.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serve.http.protocols import FLOAT32_MAX, abbreviate, reasons_by_row
from serve.model.loaded import LoadedModel
from vigil.arrays import Floats
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest

JSON_LENGTH_HEADER = "inference-header-content-length"
LENGTH = re.compile("[0-9]{1,15}")
INPUT = "features"
INPUT_TYPES = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
OUTPUT_TYPES = {"anomaly_score": "FP64", "prediction": "INT64", "reasons": "BYTES"}
USUAL_OUTPUTS = ("anomaly_score", "prediction")


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[float | list[float]] | None = None
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Infer(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Infer)


@dataclass(frozen=True)
class InferRequest:
    """rows [n, d]; `outputs` are (name, whether as binary) in the order asked for."""

    rows: Floats
    id: str | None
    outputs: tuple[tuple[str, bool], ...]


def server_metadata(version: str) -> dict[str, Any]:
    return {"name": "vigil", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str, snapshot: LoadedModel) -> dict[str, Any]:
    d = len(snapshot.bundle.names)
    return {
        "name": name,
        "versions": [snapshot.version],
        "platform": "vigil-isolation-forest",
        "inputs": [
            {
                "name": INPUT,
                "datatype": "FP64",
                "shape": [-1, d],
                "parameters": {"names": list(snapshot.bundle.names)},
            }
        ],
        "outputs": [
            {"name": output, "datatype": kind, "shape": [-1]}
            for output, kind in OUTPUT_TYPES.items()
        ],
    }


def decode_infer(
    body: bytes, json_length: str | None, names: tuple[str, ...], max_rows: int
) -> InferRequest:
    """Decode an infer request; `json_length` is the header Inference-Header-Content-Length when tensors are binary.

    Raises MalformedRequest (400), InvalidFeatures (422) or BodyTooLarge (413).
    """
    end = len(body)
    if json_length is not None:
        if not LENGTH.fullmatch(json_length) or int(json_length) > len(body):
            raise MalformedRequest(
                f"{JSON_LENGTH_HEADER} is {abbreviate(json_length)}, the body has {len(body)} bytes"
            )
        end = int(json_length)
    try:
        request = _decoder.decode(memoryview(body)[:end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"not a v2 inference request: {error}") from error
    if len(request.inputs) != 1 or request.inputs[0].name != INPUT:
        raise MalformedRequest(f"there must be one input, {INPUT!r}")
    rows = _tensor(request.inputs[0], memoryview(body)[end:], len(names), max_rows)
    bad = ~(np.abs(rows) <= FLOAT32_MAX)
    if bad.any():
        i, j = (int(k) for k in np.argwhere(bad)[0])
        raise InvalidFeatures(
            f"row {i}, feature {names[j]!r}: {rows[i, j]} is not a finite float32 number",
            field=names[j],
            row=i,
        )
    return InferRequest(rows, request.id, _outputs(request))


def _tensor(tensor: _Tensor, binary: memoryview, d: int, max_rows: int) -> Floats:
    dtype, shape = INPUT_TYPES.get(tensor.datatype), tensor.shape
    if dtype is None:
        raise MalformedRequest(
            f"datatype {abbreviate(tensor.datatype)} of {INPUT!r}; it must be {' or '.join(INPUT_TYPES)}"
        )
    if len(shape) != 2 or shape[0] < 1 or shape[1] != d:
        raise InvalidFeatures(
            f"shape {abbreviate(shape)} of {INPUT!r}; it must be [n, {d}] with n at least 1",
            field=INPUT,
        )
    if shape[0] > max_rows:
        raise BodyTooLarge(
            f"{shape[0]} rows in one request, the limit is {max_rows}: send several requests"
        )
    size = tensor.parameters.get("binary_data_size")
    if size is not None:
        expected = shape[0] * d * dtype.itemsize
        if not isinstance(size, int) or size != expected or len(binary) != expected:
            raise MalformedRequest(
                f"binary_data_size {abbreviate(size)}, {len(binary)} bytes follow the JSON; shape and datatype need {expected}"
            )
        return np.frombuffer(binary, dtype).reshape(shape).astype(np.float64)
    if len(binary):
        raise MalformedRequest(
            f"{len(binary)} bytes follow the JSON, but {INPUT!r} has no binary_data_size"
        )
    try:
        values = np.array(tensor.data or [], np.float64)
        if values.size != shape[0] * d:
            raise ValueError(f"there are {values.size}")
    except ValueError as error:
        raise InvalidFeatures(
            f"data of {INPUT!r} are not {shape[0]} x {d} numbers: {error}", field=INPUT
        ) from error
    # What the client called FP32 is rounded to it, so that JSON and binary give the same score.
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
        return values.reshape(shape).astype(dtype, copy=False).astype(np.float64, copy=False)


def _outputs(request: _Infer) -> tuple[tuple[str, bool], ...]:
    all_binary = bool(request.parameters.get("binary_data_output", False))
    asked = request.outputs or [_Output(name) for name in USUAL_OUTPUTS]
    for output in asked:
        if output.name not in OUTPUT_TYPES:
            raise MalformedRequest(
                f"there is no output {abbreviate(output.name)}; there are {', '.join(OUTPUT_TYPES)}"
            )
    if len({output.name for output in asked}) != len(asked):
        raise MalformedRequest("an output is asked for twice")
    return tuple(
        (output.name, bool(output.parameters.get("binary_data", all_binary))) for output in asked
    )


def encode_infer(
    request: InferRequest,
    name: str,
    snapshot: LoadedModel,
    scores: Floats,
    request_id: str,
    reasons: int,
) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON part when binary tensors follow it."""
    anomalous = scores > snapshot.bundle.threshold.value
    values: dict[str, NDArray[Any] | list[bytes]] = {
        "anomaly_score": scores,
        "prediction": np.where(anomalous, -1, 1),
    }
    if "reasons" in dict(request.outputs):
        values["reasons"] = [
            msgspec.json.encode(told)
            for told in reasons_by_row(snapshot, request.rows, anomalous, reasons)
        ]
    outputs, tail = [], []
    for output, binary in request.outputs:
        column = values[output]
        tensor: dict[str, Any] = {
            "name": output,
            "datatype": OUTPUT_TYPES[output],
            "shape": [len(scores)],
        }
        if binary:
            tail.append(_bytes(column))
            tensor["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            tensor["data"] = (
                [text.decode() for text in column] if isinstance(column, list) else column.tolist()
            )
        outputs.append(tensor)
    about = {
        "threshold": snapshot.bundle.threshold.value,
        "model_digest": snapshot.digest,
        "schema_hash": snapshot.bundle.schema_hash,
    }
    head = msgspec.json.encode(
        {
            "model_name": name,
            "model_version": snapshot.version,
            "id": request.id or request_id,
            "parameters": about,
            "outputs": outputs,
        }
    )
    return b"".join([head, *tail]), len(head) if tail else None


def _bytes(column: NDArray[Any] | list[bytes]) -> bytes:
    """Little-endian numbers; of BYTES each element after its length in four bytes."""
    if isinstance(column, list):
        return b"".join(struct.pack("<I", len(text)) + text for text in column)
    return column.astype("<f8" if column.dtype.kind == "f" else "<i8").tobytes()
