"""The doors: decode a request into rows, encode scores into an answer. Pure, without Serve."""

from __future__ import annotations

import json
import reprlib
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from train.model.reasons import explain_rows
from vigil.arrays import Floats
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest

if TYPE_CHECKING:  # a client of the doors needs no MLflow
    from serve.model.loaded import LoadedModel
    from train.table.transform import Transform

FORMS = 'send {"features": [..]}, {"features": {"name": value}}, {"instances": [[..], ..]} or {"history": [[..], ..]}'
FLOAT32_MAX = float(np.finfo(np.float32).max)
NUMBERS = {int, float}
_short = reprlib.Repr()
_short.maxstring = 100


def abbreviate(value: Any) -> str:
    """What the caller sent, as an error says it: an answer does not grow with a hostile value."""
    return _short.repr(value)


class _Typed(msgspec.Struct):
    features: list[float] | dict[str, float] | UnsetType = UNSET
    instances: list[list[float] | dict[str, float]] | UnsetType = UNSET
    history: list[list[float] | dict[str, float]] | UnsetType = UNSET


class _Loose(msgspec.Struct):
    features: Any = UNSET
    instances: Any = UNSET
    history: Any = UNSET


_typed, _loose = msgspec.json.Decoder(_Typed), msgspec.json.Decoder(_Loose)


def decode_predict(
    body: bytes, names: tuple[str, ...], max_rows: int, transform: Transform | None = None
) -> tuple[Floats, bool]:
    """The rows [n, d] of a `/predict` body, and whether it is a single row. A `history` is the rows of one entity, oldest first:
    its last row is scored, as `transform` makes it with those before it.

    Raises MalformedRequest (400), InvalidFeatures (422, with feature and row) or BodyTooLarge (413).
    """
    found, typed = _read(body)
    past = found.history is not UNSET
    if (found.features is UNSET) + (found.instances is UNSET) + (not past) != 2:
        raise MalformedRequest(FORMS)
    single = found.features is not UNSET
    rows = [found.features] if single else found.history if past else found.instances
    if not isinstance(rows, list) or not rows:
        raise MalformedRequest(
            f"`{'history' if past else 'instances'}` must be a list of at least one row"
        )
    if len(rows) > max_rows:
        raise BodyTooLarge(
            f"{len(rows)} rows in one request, the limit is {max_rows}: send several requests"
        )
    X = to_matrix(rows, transform.names if past and transform else names, typed)
    refuse_duplicate_names(body, 1, rows)
    if past:
        X = X[-1:] if transform is None else transform.row(X[:-1], X[-1])[None, :]
    return X, single or past


def _read(body: bytes) -> tuple[_Typed | _Loose, bool]:
    """The document, and whether all values are known to be numbers; where they are not, the rows can say which is not."""
    try:
        return _typed.decode(body), True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _loose.decode(body), False
    except msgspec.ValidationError as error:
        raise MalformedRequest(FORMS) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from error


def refuse_duplicate_names(body: bytes, others: int, objects: list[Any]) -> None:
    """Raise MalformedRequest when an object of the JSON `body` has a name twice: which of the two is meant cannot be known.

    The decoder keeps the last of them and says nothing. Each name has its colon: a body with no more colons than `objects`
    have names, and `others` beside them, is spared the second look.
    """
    names = objects[0] if isinstance(objects[0], dict) else ()
    if body.count(b":") > others + len(objects) * sum(1 + name.count(":") for name in names):
        try:
            json.loads(body, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise MalformedRequest(f"the body is not valid JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise MalformedRequest(f"{abbreviate(name)} is there twice in one object")
        seen.add(name)


def to_matrix(rows: list[Any], names: tuple[str, ...], typed: bool = False) -> Floats:
    """The rows as [n, d] in the order of `names`; `typed` says that all values are floats.

    Raises InvalidFeatures (422) that names the feature and the row.
    """
    if isinstance(rows[0], dict):
        rows = [_ordered(row, names, i) for i, row in enumerate(rows)]
    elif (
        typed
        and len(rows) == 1
        and len(rows[0]) == len(names)
        and -FLOAT32_MAX <= min(rows[0]) <= max(rows[0]) <= FLOAT32_MAX
    ):
        return np.array(
            rows, np.float64
        )  # one row is checked faster without numpy; JSON has no NaN
    X: NDArray[Any] = np.empty(0)
    # numpy takes booleans for numbers, and makes of one long string an array in which each value has its length.
    if typed or all(type(row) is list and NUMBERS.issuperset(map(type, row)) for row in rows):
        with suppress(ValueError, TypeError, OverflowError):
            X = np.array(rows, np.float64)
    if X.ndim != 2 or X.shape[1] != len(names) or not (np.abs(X) <= FLOAT32_MAX).all():
        _explain(rows, names)
    return X


def _ordered(row: Any, names: tuple[str, ...], i: int) -> list[Any]:
    if not isinstance(row, dict):
        raise InvalidFeatures("rows must be all lists or all objects", row=i)
    for name in row:
        if name not in names:
            told = f"row {i}: the model has no feature {abbreviate(name)}; it has {_listed(names)}"
            raise InvalidFeatures(told, field=name[:100], row=i)
    for name in names:
        if name not in row:
            raise InvalidFeatures(f"row {i}: feature {name!r} is missing", field=name, row=i)
    return [row[name] for name in names]


def _explain(rows: list[Any], names: tuple[str, ...]) -> None:
    """Raise InvalidFeatures for the first value that keeps the rows from being a matrix of finite float32 numbers."""
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidFeatures(f"row {i} is not a list of numbers", row=i)
        if len(row) != len(names):
            missing = (
                f", {names[len(row)]!r} is the first that is missing"
                if len(row) < len(names)
                else ""
            )
            raise InvalidFeatures(
                f"row {i} has {len(row)} features, the model needs {len(names)}{missing}: {_listed(names)}",
                row=i,
            )
        for name, value in zip(names, row, strict=True):
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not abs(value) <= FLOAT32_MAX
            ):
                raise InvalidFeatures(
                    f"row {i}, feature {name!r}: {abbreviate(value)} is not a finite number",
                    field=name,
                    row=i,
                )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


class _Mode(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["observe", "suggest", "auto"] | None


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    anomaly: bool
    row: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[_Label], msgspec.Meta(min_length=1)]


def decode_mode(body: bytes) -> str | None:
    """The mode of a `/drift/mode` body; raises MalformedRequest."""
    return decode_body(body, _Mode, 'send {"mode": "observe" | "suggest" | "auto" | null}').mode


def decode_feedback(body: bytes, most: int) -> list[tuple[str, bool, int]]:
    """Request id, label and row of a `/feedback` body; raises MalformedRequest or BodyTooLarge."""
    said = 'send {"labels": [{"request_id": "..", "anomaly": true | false, "row": 0}, ..]}'
    labels = decode_body(body, _Labels, said).labels
    if len(labels) > most:
        raise BodyTooLarge(
            f"{len(labels)} labels in one request, the limit is {most}: send several requests"
        )
    return [(label.request_id, label.anomaly, label.row) for label in labels]


def decode_body(body: bytes, form: type[Any], said: str) -> Any:
    """The body as a `form`; raises MalformedRequest, which says what to send."""
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"{said} ({error})") from error


def encode_predict(
    snapshot: LoadedModel,
    rows: Floats,
    scores: Floats,
    single: bool,
    drift_score: float,
    request_id: str,
    reasons: int,
) -> bytes:
    """The JSON answer: values for a single row, else columns."""
    limit = snapshot.bundle.threshold.value
    about = {
        "threshold": limit,
        "drift_score": drift_score,
        "model_version": snapshot.version,
        "model_digest": snapshot.digest,
        "schema_hash": snapshot.bundle.schema_hash,
        "request_id": request_id,
    }
    if single:
        score = float(scores[0])
        told = reasons_by_row(snapshot, rows, scores > limit, reasons)[0] if score > limit else []
        columns: dict[str, Any] = _columns(-1 if score > limit else 1, score > limit, score, told)
    else:
        anomalous = scores > limit
        told = reasons_by_row(snapshot, rows, anomalous, reasons)
        columns = _columns(
            np.where(anomalous, -1, 1).tolist(), anomalous.tolist(), scores.tolist(), told
        )
    return msgspec.json.encode(columns | about)


def _columns(prediction: Any, is_anomaly: Any, score: Any, reasons: Any) -> dict[str, Any]:
    return {
        "prediction": prediction,
        "is_anomaly": is_anomaly,
        "anomaly_score": score,
        "reasons": reasons,
    }


def reasons_by_row(
    snapshot: LoadedModel, rows: Floats, anomalous: NDArray[np.bool_], most: int
) -> list[list[dict[str, Any]]]:
    """For each anomalous row the `most` features that count most as reasons; an empty list for the others."""
    told: list[list[dict[str, Any]]] = [[] for _ in rows]
    where = np.flatnonzero(anomalous)
    for i, reasons in zip(where, explain_rows(snapshot.bundle, rows[where], most), strict=True):
        told[i] = reasons
    return told
