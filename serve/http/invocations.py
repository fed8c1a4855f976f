"""MLflow's scoring protocol (`/invocations`): JSON in one of four forms, or text/csv. Pure."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Collection, Sized
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, UnsetType

from serve.http.category_rows import to_features
from serve.http.context_columns import ContextColumns
from serve.http.fields import (
    AlertThreshold,
    ModelDigest,
    PredictedLabel,
    SchemaHash,
    Score,
    Warming,
)
from serve.http.plain_csv import read_plain_csv
from serve.http.rows import (
    DECODE_ERRORS,
    ColumnMatcher,
    JsonRows,
    ListRow,
    NamedRow,
    check_row_count,
    decode_json,
    refuse_duplicate_names,
)
from serve.http.sent_values import read_float
from serve.model.report import RowContext
from serve.model.scored_batch import ScoredBatch
from train.table.categories import CategoryCodec
from vigil.arrays import Floats
from vigil.errors import InvalidFeatures, MalformedRequest
from vigil.json_types import is_list_of_texts

if TYPE_CHECKING:
    from serve.model.loaded import LoadedModel

_CSV_READER = "serve.http.csv_body"
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_NO_COLUMNS = ContextColumns()
_NOT_EMPTY = msgspec.Meta(extra_json_schema={"minItems": 1})
_DISTINCT = msgspec.Meta(extra_json_schema={"uniqueItems": True})
_Columns = Annotated[
    dict[str, ListRow], msgspec.Meta(extra_json_schema={"minProperties": 1})
]  # values of each feature


class InvocationRows(NamedTuple):
    """Rows [n, d] of a body, and whose they are where it says so."""

    X: Floats
    context: RowContext | None


class SplitFrame(TypedDict):
    """A DataFrame as names of columns and rows of values, as pandas writes it with `split`."""

    data: Annotated[list[ListRow], _NOT_EMPTY]
    columns: NotRequired[Annotated[list[str], _DISTINCT]]
    index: NotRequired[Any]


class InvocationsBody(TypedDict, total=False):
    """Exactly one of the forms."""

    dataframe_split: SplitFrame
    dataframe_records: Annotated[list[NamedRow], _NOT_EMPTY]
    instances: JsonRows
    inputs: JsonRows | _Columns


class ScoredRow(msgspec.Struct):
    """The answer to one row."""

    prediction: PredictedLabel
    is_anomaly: bool
    anomaly_score: Score
    warming: Warming | UnsetType = UNSET
    threshold: AlertThreshold | UnsetType = UNSET


class InvocationsResult(msgspec.Struct):
    """The answer to all rows, with the model that scored them."""

    predictions: list[ScoredRow]
    threshold: AlertThreshold
    model_version: str
    model_digest: ModelDigest
    schema_hash: SchemaHash


_decode_typed = msgspec.json.Decoder(InvocationsBody).decode
_decode_loose = msgspec.json.Decoder(float_hook=read_float).decode
_encode = msgspec.json.Encoder().encode


async def load_csv_reader() -> None:
    """Load what reads text/csv, off the event loop.

    It takes a quarter of a second and 70 MB, which few replicas need.
    """
    if _CSV_READER not in sys.modules:
        await asyncio.to_thread(importlib.import_module, _CSV_READER)


def decode_invocations(
    body: bytes,
    content_type: str,
    names: tuple[str, ...],
    max_rows: int,
    *,
    unused: Collection[str] = (),
    whose: ContextColumns = _NO_COLUMNS,
    charset: str | None = None,
    may_miss: bool = False,
    categories: CategoryCodec | None = None,
) -> InvocationRows:
    """Return the rows; `content_type` is text/csv, of this `charset`, or JSON's.

    `unused` are columns that rows may have and the model has not; `whose` those that say whose a
    row is, and of when.

    Raises MalformedRequest (400), InvalidFeatures (422) or BodyTooLarge (413).
    """
    if content_type == "text/csv":
        rows = _csv_rows(
            body,
            charset,
            names,
            unused=unused,
            whose=whose,
            may_miss=may_miss,
            categories=categories,
        )
        _check_rows(rows.X, max_rows)
        return rows
    document, is_typed = _decode(body)
    form = _given_form(document)
    rows = _json_rows(form, document[form])
    _check_rows(rows, max_rows)
    context, colons = whose.take_from_rows(rows)
    X = to_features(
        rows,
        names,
        is_typed,
        unused=unused,
        may_miss=may_miss,
        categories=categories,
    )
    _refuse_duplicate_names(body, document, form, others=colons)
    return InvocationRows(X, context)


def _csv_rows(
    body: bytes,
    charset: str | None,
    names: tuple[str, ...],
    *,
    unused: Collection[str],
    whose: ContextColumns,
    may_miss: bool,
    categories: CategoryCodec | None,
) -> InvocationRows:
    X: Floats | None = None
    if categories is None:
        X = read_plain_csv(
            body,
            charset,
            names,
            unused=set(unused).difference((whose.entity, whose.time)),
        )
    if X is not None:
        return InvocationRows(X, None)
    from serve.http.csv_body import decode_csv  # here: it brings pandas (load_csv_reader)

    matcher = ColumnMatcher(names, unused)
    X, context = decode_csv(
        body,
        charset,
        matcher,
        names=names,
        whose=whose,
        may_miss=may_miss,
        categories=categories,
    )
    return InvocationRows(X, context)


def _check_rows(rows: Sized, max_rows: int) -> None:
    if not len(rows):
        raise MalformedRequest("there is no row to score")
    check_row_count(len(rows), max_rows)


def _decode(body: bytes) -> tuple[Any, bool]:
    """The document, and whether all its values are known to be of their types.

    Where they are not, the rows can say which is not.
    """
    try:
        return _decode_typed(body), True
    except DECODE_ERRORS:
        pass
    try:
        return _decode_loose(body), False
    except DECODE_ERRORS:
        return decode_json(body), False


def _given_form(document: Any) -> str:
    forms = [form for form in _FORMS if form in document] if isinstance(document, dict) else []
    if len(forms) != 1:
        raise MalformedRequest(f"send one of {', '.join(_FORMS)}")
    return forms[0]


def _refuse_duplicate_names(
    body: bytes,
    document: dict[str, Any],
    form: str,
    *,
    others: int,
) -> None:
    """Raise MalformedRequest for a name that is there twice; `others`: colons beside the names."""
    value = document[form]
    others += len(document)
    if form == "dataframe_split":
        colons = sum(name.count(":") for name in value.get("columns") or ())
        refuse_duplicate_names(body, others + len(value) + colons, [None])
    else:
        objects = [value] if isinstance(value, dict) else value
        refuse_duplicate_names(body, others, objects)


def _json_rows(form: str, value: Any) -> list[Any]:
    if form == "dataframe_split":
        return _rows_of_split(value)
    if form == "inputs" and isinstance(value, dict):
        return _rows_of_columns(value)
    if not isinstance(value, list):
        raise MalformedRequest(f"{form} must be a list of rows")
    return value


def _rows_of_split(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise MalformedRequest('dataframe_split must be {"columns": [..], "data": [[..], ..]}')
    columns = value.get("columns")
    if columns is None:
        return value["data"]
    return _named_rows(columns, value["data"])


def _rows_of_columns(value: dict[str, Any]) -> list[Any]:
    columns = list(value.values())
    if not _are_lists_of_one_length(columns):
        raise MalformedRequest("inputs by column must be lists of the same length")
    return _named_rows(list(value), [list(row) for row in zip(*columns, strict=True)])


def _are_lists_of_one_length(columns: list[Any]) -> bool:
    are_lists = all(isinstance(column, list) for column in columns)
    return are_lists and len({len(column) for column in columns}) == 1


def _named_rows(columns: Any, data: list[Any]) -> list[Any]:
    if not _are_different_names(columns):
        raise MalformedRequest("columns must be different names")
    width = len(columns)
    for i, row in enumerate(data):
        if not isinstance(row, list) or len(row) != width:
            raise InvalidFeatures(
                f"row {i} does not have {width} values, one for each column", row=i
            )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _are_different_names(columns: Any) -> bool:
    return is_list_of_texts(columns) and len(set(columns)) == len(columns)


def encode_invocations(model: LoadedModel, scored: ScoredBatch) -> bytes:
    """Return the JSON answer, an InvocationsResult."""
    bundle = model.bundle
    labels = scored.labels.tolist()
    predictions = list(map(ScoredRow, labels, scored.alerts.tolist(), scored.scores.tolist()))
    for row, is_warming in zip(predictions, scored.warming_rows, strict=False):
        row.warming = True if is_warming else UNSET
    if scored.limits is not None:
        for row, limit in zip(predictions, scored.limits.tolist(), strict=True):
            row.threshold = limit
    result = InvocationsResult(
        predictions,
        scored.threshold,
        model_version=model.version,
        model_digest=model.digest,
        schema_hash=bundle.schema_hash,
    )
    return _encode(result)
