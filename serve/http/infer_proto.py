"""The Open Inference Protocol's messages as the documents of its other form, and back. Pure.

A request has its values typed in each input, or raw behind all of them; its answer has them alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.http.infer_inputs import (
    CategoriesInput,
    EntityInput,
    FeaturesInput,
    InferInput,
    TimeInput,
)
from serve.http.infer_messages import MESSAGES
from serve.http.open_inference import (
    OUTPUT_TYPES,
    InferBody,
    InferRequest,
    RequestedOutput,
    column_bytes,
    output_column,
)
from serve.http.sent_values import abbreviate
from serve.model.loaded import LoadedModel
from serve.model.scored_batch import ScoredBatch
from vigil.errors import MalformedRequest
from vigil.json_types import Fields

_INPUTS = {
    "features": FeaturesInput,
    "entity": EntityInput,
    "time": TimeInput,
    "categories": CategoriesInput,
}
_CONTENTS = {
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "INT64": "int64_contents",
}


def document_of(message: Any) -> tuple[InferBody, memoryview]:
    """Return a ModelInferRequest as a document, and the bytes that follow it.

    Raises MalformedRequest.
    """
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise MalformedRequest(f"{len(raw)} raw contents for {len(message.inputs)} inputs")
    document = InferBody(
        [_input(tensor, raw[i] if raw else None) for i, tensor in enumerate(message.inputs)],
        id=message.id or None,
        outputs=[RequestedOutput(each.name) for each in message.outputs] or None,
        parameters=_parameters(message.parameters),
    )
    return document, memoryview(b"".join(raw))


def _input(tensor: Any, raw: bytes | None) -> InferInput:
    form = _INPUTS.get(tensor.name)
    if form is None:
        known = ", ".join(_INPUTS)
        raise MalformedRequest(f"there is no input {abbreviate(tensor.name)}; there are {known}")
    parameters = _parameters(tensor.parameters)
    parameters.pop("binary_data_size", None)
    if raw is not None:
        parameters["binary_data_size"] = len(raw)
    return form(
        tensor.datatype,
        list(tensor.shape),
        None if raw is not None else _contents(tensor),
        parameters,
    )


def _contents(tensor: Any) -> list[Any]:
    field = _CONTENTS.get(tensor.datatype)
    values = [] if field is None else list(getattr(tensor.contents, field))
    if tensor.datatype != "BYTES":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"{tensor.name!r} is no text in UTF-8: {error}") from error


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(value, kind)
    return found


def answer_message(
    request: InferRequest,
    name: str,
    model: LoadedModel,
    *,
    scored: ScoredBatch,
    request_id: str,
    max_reasons: int,
    is_raw: bool,
) -> Any:
    """Return the ModelInferResponse."""
    bundle = model.bundle
    answer = MESSAGES["ModelInferResponse"](
        model_name=name,
        model_version=model.version,
        id=request.id or request_id,
    )
    answer.parameters["threshold"].double_param = bundle.threshold.value
    answer.parameters["model_digest"].string_param = model.digest
    answer.parameters["schema_hash"].string_param = bundle.schema_hash
    for output, _ in request.outputs_of(scored):
        column = output_column(
            output,
            scored,
            model,
            max_reasons,
        )
        _add_output(answer, output, column, is_raw=is_raw)
    return answer


def _add_output(
    answer: Any,
    output: str,
    column: NDArray[Any] | list[bytes],
    *,
    is_raw: bool,
) -> None:
    datatype = OUTPUT_TYPES[output]
    tensor = answer.outputs.add(name=output, datatype=datatype, shape=[len(column)])
    if is_raw:
        answer.raw_output_contents.append(column_bytes(column))
        return
    values = column.tolist() if isinstance(column, np.ndarray) else column
    getattr(tensor.contents, _CONTENTS[datatype]).extend(values)


def metadata_message(metadata: Fields) -> Any:
    """Return the ModelMetadataResponse of what `model_metadata` says."""
    answer = MESSAGES["ModelMetadataResponse"](
        name=metadata["name"],
        versions=metadata["versions"],
        platform=metadata["platform"],
    )
    for side in ("inputs", "outputs"):
        for tensor in metadata[side]:
            getattr(answer, side).add(
                name=tensor["name"],
                datatype=tensor["datatype"],
                shape=tensor["shape"],
            )
    return answer
