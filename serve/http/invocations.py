"""MLflow's scoring protocol (`/invocations`): dataframe_split, dataframe_records, instances, inputs, text/csv."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from serve.http.protocols import refuse_duplicate_names, to_matrix
from serve.model.loaded import LoadedModel
from vigil.arrays import Floats
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def decode_invocations(
    body: bytes, content_type: str, names: tuple[str, ...], max_rows: int
) -> Floats:
    """The rows [n, d]; `content_type` is text/csv or JSON's.

    Raises MalformedRequest (400), InvalidFeatures (422) or BodyTooLarge (413).
    """
    document = None if content_type == "text/csv" else _read(body)
    rows = _from_csv(body) if document is None else _from_json(document)
    if not rows:
        raise MalformedRequest("there is no row to score")
    if len(rows) > max_rows:
        raise BodyTooLarge(
            f"{len(rows)} rows in one request, the limit is {max_rows}: send several requests"
        )
    X = to_matrix(rows, names)
    if document is not None:
        _no_name_twice(body, document)
    return X


def _read(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, dict) or len(document.keys() & set(FORMS)) != 1:
        raise MalformedRequest(f"send one of {', '.join(FORMS)}")
    return document


def _form(document: dict[str, Any]) -> tuple[str, Any]:
    return next((form, document[form]) for form in FORMS if form in document)


def _no_name_twice(body: bytes, document: dict[str, Any]) -> None:
    form, value = _form(document)
    if form == "dataframe_split":
        colons = sum(name.count(":") for name in value.get("columns") or ())
        refuse_duplicate_names(body, len(document) + len(value) + colons, [None])
    else:
        refuse_duplicate_names(body, len(document), [value] if isinstance(value, dict) else value)


def _from_json(document: dict[str, Any]) -> list[Any]:
    form, value = _form(document)
    if form == "dataframe_split":
        return _from_split(value)
    if form == "inputs" and isinstance(value, dict):  # columns by name
        return _from_columns(value)
    if not isinstance(value, list):
        raise MalformedRequest(f"{form} must be a list of rows")
    return value


def _from_split(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise MalformedRequest('dataframe_split must be {"columns": [..], "data": [[..], ..]}')
    columns = value.get("columns")
    if columns is None:
        return value["data"]
    return _named(columns, value["data"])


def _from_columns(value: dict[str, Any]) -> list[Any]:
    columns = list(value.values())
    if (
        not all(isinstance(column, list) for column in columns)
        or len({len(column) for column in columns}) != 1
    ):
        raise MalformedRequest("inputs by column must be lists of the same length")
    return _named(list(value), [list(row) for row in zip(*columns, strict=True)])


def _named(columns: Any, data: list[Any]) -> list[Any]:
    if (
        not isinstance(columns, list)
        or not all(isinstance(name, str) for name in columns)
        or len(set(columns)) != len(columns)
    ):
        raise MalformedRequest("columns must be different names")
    for i, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise InvalidFeatures(
                f"row {i} does not have {len(columns)} values, one for each column", row=i
            )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _from_csv(body: bytes) -> list[Any]:
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"))) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedRequest(f"the body is not CSV: {error}") from error
    if not lines:
        return []
    return _named(
        [name.strip() for name in lines[0]],
        [[_number(cell) for cell in line] for line in lines[1:]],
    )


def _number(cell: str) -> Any:
    try:
        return float(cell) if "_" not in cell else cell  # Python's own 1_000 is nobody's CSV
    except ValueError:
        return cell  # the matrix says which feature and row it is


def encode_invocations(snapshot: LoadedModel, scores: Floats) -> bytes:
    """`{"predictions": [{"prediction", "is_anomaly", "anomaly_score"}, ..]}` with the model that made them."""
    limit = snapshot.bundle.threshold.value
    return msgspec.json.encode(
        {
            "predictions": [
                {
                    "prediction": -1 if score > limit else 1,
                    "is_anomaly": bool(score > limit),
                    "anomaly_score": score,
                }
                for score in scores.tolist()
            ],
            "threshold": limit,
            "model_version": snapshot.version,
            "model_digest": snapshot.digest,
            "schema_hash": snapshot.bundle.schema_hash,
        }
    )
