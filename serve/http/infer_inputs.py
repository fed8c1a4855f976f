"""Inputs of the Open Inference Protocol: rows, and whose they are, in JSON or binary. Pure.

`features`, FP32 or FP64, shape [n, d]; and where the client has them `entity`, BYTES [n], and
`time`, BYTES (ISO 8601) or INT64 (milliseconds since 1970) [n]. A model with categories has
`features` without them, and `categories`, BYTES [n, c]. The bytes of binary inputs follow
the JSON in the order of the inputs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from serve.http.category_rows import join_words
from serve.http.row_context import check_context
from serve.http.rows import check_row_count, to_matrix
from serve.http.sent_row import FeatureNumber
from serve.http.sent_values import abbreviate
from serve.model.report import RowContext
from train.table.categories import CategoryCodec
from train.table.cells import find_flaw
from vigil.arrays import Floats
from vigil.errors import InvalidFeatures, MalformedRequest

_INPUT = "features"
_INPUT_TYPES = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_SIZE_PARAMETER = "binary_data_size"
_COLUMN_TYPES = {"entity": ("BYTES",), "time": ("BYTES", "INT64"), "categories": ("BYTES",)}

# What a refusal says better than the decoder would is in the document alone.
_Length = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})]
_FeaturesType = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(_INPUT_TYPES)})]
_FeaturesShape = Annotated[
    list[_Length], msgspec.Meta(extra_json_schema={"minItems": 2, "maxItems": 2})
]
_ColumnShape = Annotated[
    list[_Length], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": 1})
]
_EntityType = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["BYTES"]})]
_TimeType = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["BYTES", "INT64"]})]


class FeaturesInput(msgspec.Struct, tag_field="name", tag="features"):
    """Rows [n, d]; without `data` they follow the JSON, `binary_data_size` bytes of them."""

    datatype: _FeaturesType
    shape: _FeaturesShape
    data: list[FeatureNumber | list[FeatureNumber]] | None = None
    parameters: dict[str, Any] | None = None


class EntityInput(msgspec.Struct, tag_field="name", tag="entity"):
    """The entity of each row."""

    datatype: _EntityType
    shape: _ColumnShape
    data: list[str] | None = None
    parameters: dict[str, Any] | None = None


class TimeInput(msgspec.Struct, tag_field="name", tag="time"):
    """The time of each row."""

    datatype: _TimeType
    shape: _ColumnShape
    data: list[str | int] | None = None
    parameters: dict[str, Any] | None = None


class CategoriesInput(msgspec.Struct, tag_field="name", tag="categories"):
    """The words of each row [n, c], in the order of the model's categories."""

    datatype: _EntityType
    shape: _FeaturesShape
    data: list[str | list[str]] | None = None
    parameters: dict[str, Any] | None = None


InferInput = FeaturesInput | EntityInput | TimeInput | CategoriesInput
InferInputs = Annotated[
    list[InferInput], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": 4})
]


class _Tensor(NamedTuple):
    """An input, and the bytes that follow the JSON for it."""

    input: Any
    binary: memoryview


def decode_inputs(
    inputs: list[InferInput],
    binary: memoryview,
    names: tuple[str, ...],
    max_rows: int,
    *,
    is_typed: bool = True,
    may_miss: bool = False,
    categories: CategoryCodec | None = None,
) -> tuple[Floats, RowContext | None]:
    """Return the rows [n, d] of the inputs, and whose they are where the client says so.

    binary: what follows the JSON; is_typed: all values of `features` are known to be floats
    may_miss: values may be missing, and are NaN then
    categories: make numbers of words; `names` are the other features

    Raises MalformedRequest, InvalidFeatures or BodyTooLarge.
    """
    tensors = _by_name(inputs, binary)
    if _INPUT not in tensors:
        raise MalformedRequest(f"there must be one input, {_INPUT!r}")
    rows = _feature_rows(
        tensors[_INPUT],
        names,
        max_rows,
        is_typed=is_typed,
        may_miss=may_miss,
    )
    if categories is not None:
        rows = join_words(rows, _words(tensors, len(rows), categories), categories)
    elif "categories" in tensors:
        raise MalformedRequest("the model has no categories: leave the input 'categories' out")
    if len(tensors) == 1:
        return rows, None
    entities = _column(tensors.get("entity"), "entity", len(rows))
    times = _column(tensors.get("time"), "time", len(rows))
    return rows, check_context(entities, times)


def _feature_rows(
    features: _Tensor,
    names: tuple[str, ...],
    max_rows: int,
    *,
    is_typed: bool,
    may_miss: bool,
) -> Floats:
    """The rows [n, d] of `features`."""
    dtype = _check_tensor(features.input, len(names), max_rows)
    if not _is_binary(features.input):
        return _json_rows(
            features,
            dtype,
            names,
            is_typed=is_typed,
            may_miss=may_miss,
        )
    rows = _binary_rows(features, dtype)
    _check_finite(rows, names, may_miss)
    return rows


def _by_name(inputs: list[InferInput], binary: memoryview) -> dict[str, _Tensor]:
    """The inputs by name with their bytes; what is left belongs to the last that is binary."""
    tensors: dict[str, _Tensor] = {}
    last_binary = _last_binary(inputs)
    for tensor in inputs:
        name = str(tensor.__struct_config__.tag)
        if name in tensors:
            raise MalformedRequest(f"the input {name!r} is there twice")
        size = len(binary) if tensor is last_binary else _size_of(tensor)
        tensors[name] = _Tensor(tensor, binary[:size])
        binary = binary[size:]
    return tensors


def parameter(part: Any, name: str, default: Any = None) -> Any:
    """Return a parameter of a request, an input or an output; null is what is not there."""
    value = (part.parameters or {}).get(name)
    return default if value is None else value


def _last_binary(inputs: list[InferInput]) -> InferInput | None:
    binary = [tensor for tensor in inputs if _is_binary(tensor)]
    features = [tensor for tensor in inputs if isinstance(tensor, FeaturesInput)]
    return next(iter([*reversed(binary), *features]), None)


def _is_binary(tensor: InferInput) -> bool:
    return parameter(tensor, _SIZE_PARAMETER) is not None


def _size_of(tensor: InferInput) -> int:
    size = parameter(tensor, _SIZE_PARAMETER, 0)
    if isinstance(size, int) and size > 0:
        return size
    return 0


def _column(tensor: _Tensor | None, name: str, rows: int) -> list[Any] | None:
    """The values of `entity` or `time`, one for each row."""
    return None if tensor is None else _values(tensor, name, [rows])


def _values(tensor: _Tensor, name: str, shape: list[int]) -> list[Any]:
    """The values of an input of this shape, one after the other."""
    given = tensor.input
    allowed = _COLUMN_TYPES[name]
    if given.datatype not in allowed:
        raise MalformedRequest(
            f"datatype {abbreviate(given.datatype)} of {name!r}; it must be {' or '.join(allowed)}"
        )
    values = given.data
    if _is_binary(given):
        values = _binary_values(tensor, name)
    flat = list(_flattened(values or []))
    if given.shape != shape or len(flat) != math.prod(shape):
        raise InvalidFeatures(f"{name!r} must have shape {shape}, a value for each row", field=name)
    return flat


def _flattened(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _words(
    tensors: dict[str, _Tensor],
    rows: int,
    categories: CategoryCodec,
) -> list[list[Any]]:
    """The words [n][c] of the rows."""
    tensor = tensors.get("categories")
    if tensor is None:
        raise MalformedRequest(
            "the model has categories: send the input 'categories', BYTES, with the columns "
            + ", ".join(categories.words)
        )
    columns = len(categories.words)
    values = _values(tensor, "categories", [rows, columns])
    return np.array(values, object).reshape(rows, columns).tolist()


def _binary_values(tensor: _Tensor, name: str) -> list[Any]:
    if parameter(tensor.input, _SIZE_PARAMETER) != len(tensor.binary):
        raise MalformedRequest(
            f"binary_data_size of {name!r} is not the {len(tensor.binary)} bytes that follow"
        )
    if tensor.input.datatype == "INT64":
        return _integers(tensor.binary, name)
    try:
        return list(_texts(tensor.binary))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise MalformedRequest(f"the bytes of {name!r} are no texts: {error}") from error


def _integers(binary: memoryview, name: str) -> list[int]:
    if len(binary) % 8:
        raise MalformedRequest(f"the {len(binary)} bytes of {name!r} are no INT64 numbers")
    return np.frombuffer(binary, "<i8").tolist()


def _texts(binary: memoryview) -> list[str]:
    """Texts of BYTES: each after its length in four bytes."""
    texts: list[str] = []
    at = 0
    while at < len(binary):
        (length,) = struct.unpack_from("<I", binary, at)
        at += 4
        if at + length > len(binary):
            raise ValueError("the last is cut off")
        texts.append(str(binary[at : at + length], "utf-8"))
        at += length
    return texts


def _check_tensor(tensor: FeaturesInput, features: int, max_rows: int) -> np.dtype[Any]:
    """Check type and shape; return the type of the values."""
    dtype = _INPUT_TYPES.get(tensor.datatype)
    if dtype is None:
        allowed = " or ".join(_INPUT_TYPES)
        raise MalformedRequest(
            f"datatype {abbreviate(tensor.datatype)} of {_INPUT!r}; it must be {allowed}"
        )
    shape = tensor.shape
    if len(shape) != 2 or shape[0] < 1 or shape[1] != features:
        raise InvalidFeatures(
            f"shape {abbreviate(shape)} of {_INPUT!r}; "
            f"it must be [n, {features}] with n at least 1",
            field=_INPUT,
        )
    check_row_count(shape[0], max_rows)
    return dtype


def _binary_rows(features: _Tensor, dtype: np.dtype[Any]) -> Floats:
    """The rows [n, d] from the bytes that follow the JSON."""
    shape = features.input.shape
    size = parameter(features.input, _SIZE_PARAMETER)
    _check_binary_size(size, len(features.binary), shape, itemsize=dtype.itemsize)
    return np.frombuffer(features.binary, dtype).reshape(shape).astype(np.float64)


def _json_rows(
    features: _Tensor,
    dtype: np.dtype[Any],
    names: tuple[str, ...],
    *,
    is_typed: bool,
    may_miss: bool,
) -> Floats:
    """The rows [n, d] from the JSON."""
    if len(features.binary):
        raise MalformedRequest(
            f"{len(features.binary)} bytes follow the JSON, but {_INPUT!r} has no binary_data_size"
        )
    values = _json_values(features.input, np.float64 if is_typed else object)
    if not is_typed:
        values = to_matrix(values.tolist(), names, may_miss=may_miss)
    _check_finite(values, names, may_miss)
    # What the client called FP32 is rounded to it, so that JSON and binary give the same score.
    return values.astype(dtype, copy=False).astype(np.float64, copy=False)


def _check_binary_size(
    size: Any,
    follow: int,
    shape: list[int],
    *,
    itemsize: int,
) -> None:
    expected = shape[0] * shape[1] * itemsize
    if not isinstance(size, int) or size != expected or follow != expected:
        raise MalformedRequest(
            f"binary_data_size {abbreviate(size)}, {follow} bytes follow the JSON; "
            f"shape and datatype need {expected}"
        )


def _json_values(tensor: FeaturesInput, dtype: type[Any]) -> NDArray[Any]:
    """The values of `data`, flat or nested, in their shape."""
    rows, features = tensor.shape
    try:
        return np.array(tensor.data or [], dtype).reshape(rows, features)
    except ValueError as error:
        message = f"data of {_INPUT!r} are not {rows} x {features} numbers: {error}"
        raise InvalidFeatures(message, field=_INPUT) from error


def _check_finite(
    X: Floats,
    names: tuple[str, ...],
    may_miss: bool,
) -> None:
    flaw = find_flaw(X, allow_missing=may_miss)
    if flaw is None:
        return
    name = names[flaw.column]
    raise InvalidFeatures(
        f"row {flaw.row}, feature {name!r}: {flaw.reason}", field=name, row=flaw.row
    )
