"""`/predict`: one row or many, by position or by name, or the history of one entity. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from serve.http.category_rows import to_features
from serve.http.fields import (
    AlertThreshold,
    DriftScore,
    ModelDigest,
    PredictedLabel,
    Reasons,
    RequestId,
    SchemaHash,
    Score,
    Warming,
)
from serve.http.row_context import (
    ContextBody,
    context_colons,
    context_of_rows,
    has_context,
)
from serve.http.rows import (
    DECODE_ERRORS,
    AnyRow,
    JsonRows,
    check_row_count,
    decode_json,
    refuse_duplicate_names,
)
from serve.http.sent_values import read_float
from serve.model.report import RowContext
from serve.model.scored_batch import ScoredBatch
from train.model.reasons import Reason, explain_rows
from train.table.categories import CategoryCodec
from vigil.arrays import Floats
from vigil.errors import MalformedRequest

if TYPE_CHECKING:  # a client of the endpoints needs neither numba nor MLflow
    from serve.model.loaded import LoadedModel

_HINT = (
    'send {"features": [..]}, {"features": {"name": value}}, {"instances": [[..], ..]} '
    'or {"history": [[..], ..]}'
)


class PredictBody(ContextBody):
    """Exactly one of `features`, `instances` and `history`, and whose rows they are."""

    features: Annotated[
        AnyRow | UnsetType,
        msgspec.Meta(title="One row: values in the model's order, or by name"),
    ] = UNSET
    instances: Annotated[JsonRows | UnsetType, msgspec.Meta(title="Many rows")] = UNSET
    history: Annotated[
        JsonRows | UnsetType,
        msgspec.Meta(
            title="The rows of one entity, oldest first: the last is scored in the light of the "
            "others"
        ),
    ] = UNSET


class _LooseBody(msgspec.Struct):
    """The same where not all values are numbers: the rows can say which is not."""

    features: Any = UNSET
    instances: Any = UNSET
    history: Any = UNSET
    entity: Any = UNSET
    time: Any = UNSET
    entities: Any = UNSET
    times: Any = UNSET


class PredictRows(NamedTuple):
    """Rows [n, d] of a body, whether it is a single row, and whose they are where it says so.

    past [k, d]: the rows before the only one, where the body is a history
    """

    X: Floats
    is_single: bool
    context: RowContext | None
    past: Floats | None = None

    @property
    def whole(self) -> Floats:
        """All rows of the body, those of a history before the last."""
        return self.X if self.past is None else np.concatenate([self.past, self.X])

    def filled(self, whole: Floats) -> PredictRows:
        """Return the same body with other values."""
        if self.past is None:
            return self._replace(X=whole)
        return self._replace(past=whole[:-1], X=whole[-1:])


class Prediction(msgspec.Struct):
    """The answer to one row."""

    prediction: PredictedLabel
    is_anomaly: bool
    anomaly_score: Score
    reasons: Reasons
    threshold: AlertThreshold
    drift_score: DriftScore
    model_version: str
    model_digest: ModelDigest
    schema_hash: SchemaHash
    request_id: RequestId
    warming: Warming | UnsetType = UNSET


class PredictionColumns(msgspec.Struct):
    """The answer to many rows: a list for each column, with an entry for each row."""

    prediction: list[PredictedLabel]
    is_anomaly: list[bool]
    anomaly_score: list[Score]
    reasons: list[Reasons]
    threshold: AlertThreshold
    drift_score: DriftScore
    model_version: str
    model_digest: ModelDigest
    schema_hash: SchemaHash
    request_id: RequestId
    warming: list[Warming] | UnsetType = UNSET
    thresholds: list[AlertThreshold] | UnsetType = UNSET


_decode_typed = msgspec.json.Decoder(PredictBody).decode
_decode_loose = msgspec.json.Decoder(_LooseBody, float_hook=read_float).decode
_encode = msgspec.json.Encoder().encode


def decode_predict(
    body: bytes,
    names: tuple[str, ...],
    max_rows: int,
    *,
    unused: Collection[str] = (),
    may_miss: bool = False,
    categories: CategoryCodec | None = None,
) -> PredictRows:
    """Return the rows of a body.

    A `history` is the rows of one entity, oldest first: its last row is scored, in the light of
    those before it. `unused` are columns that rows may have and the model has not. Values that
    `may_miss` are NaN where they do; `categories` make numbers of words.

    Raises MalformedRequest (400), InvalidFeatures (422, with feature and row) or BodyTooLarge
    (413).
    """
    document, is_typed = _decode(body)
    rows, is_single = _rows_of(document, max_rows)
    X = to_features(
        rows,
        names,
        is_typed,
        unused=unused,
        may_miss=may_miss,
        categories=categories,
    )
    past: Floats | None = None
    if document.history is not UNSET:
        past = X[:-1]
        X = X[-1:]
    if not has_context(document):
        refuse_duplicate_names(body, 1, rows)
        return PredictRows(X, is_single, None, past)
    context = context_of_rows(document, len(X))
    refuse_duplicate_names(body, 1 + context_colons(document), rows)
    return PredictRows(X, is_single, context, past)


def _rows_of(document: PredictBody | _LooseBody, max_rows: int) -> tuple[list[Any], bool]:
    """The rows that a document has, and whether one is answered."""
    is_single = document.features is not UNSET
    has_history = document.history is not UNSET
    if is_single + has_history + (document.instances is not UNSET) != 1:
        raise MalformedRequest(_HINT)
    if is_single:
        return [document.features], True
    if has_history:
        return _checked_rows("history", document.history, max_rows), True
    return _checked_rows("instances", document.instances, max_rows), False


def _decode(body: bytes) -> tuple[PredictBody | _LooseBody, bool]:
    """The document, and whether all its values are known to be numbers."""
    try:
        return _decode_typed(body), True
    except DECODE_ERRORS:
        pass
    try:
        return _decode_loose(body), False
    except DECODE_ERRORS:
        pass
    try:
        return msgspec.convert(decode_json(body), _LooseBody), False
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"{_HINT} ({error})") from error


def _checked_rows(name: str, rows: Any, max_rows: int) -> list[Any]:
    if not isinstance(rows, list) or not rows:
        raise MalformedRequest(f"`{name}` must be a list of at least one row")
    check_row_count(len(rows), max_rows)
    return rows


def encode_predict(
    model: LoadedModel,
    scored: ScoredBatch,
    *,
    is_single: bool,
    drift_score: float,
    request_id: str,
    max_reasons: int,
) -> bytes:
    """Return the JSON answer: a Prediction for a single row, else PredictionColumns."""
    bundle = model.bundle
    threshold = bundle.threshold.value
    if is_single and scored.limits is not None:
        threshold = float(scored.limits[0])
    about = (threshold, drift_score, model.version, model.digest, bundle.schema_hash, request_id)
    warming = scored.warming_rows
    if is_single:
        is_anomaly = bool(scored.alerts[0])
        reasons = explain_rows(bundle, scored.rows, max_reasons)[0] if is_anomaly else []
        answer = Prediction(
            -1 if is_anomaly else 1,
            is_anomaly,
            float(scored.scores[0]),
            reasons,
            *about,
            warming=True if warming else UNSET,
        )
        return _encode(answer)
    columns = PredictionColumns(
        scored.labels.tolist(),
        scored.alerts.tolist(),
        scored.scores.tolist(),
        reasons_by_row(model, scored.rows, scored.alerts, max_reasons),
        *about,
        warming=warming or UNSET,
        thresholds=UNSET if scored.limits is None else scored.limits.tolist(),
    )
    return _encode(columns)


def line_answers(
    model: LoadedModel,
    scored: ScoredBatch,
    request_ids: Sequence[str],
    *,
    drift_score: float,
    max_reasons: int,
) -> list[Prediction]:
    """Return the answers to rows [n] that are requests of their own, with these ids [n]."""
    bundle = model.bundle
    about = (
        bundle.threshold.value,
        drift_score,
        model.version,
        model.digest,
        bundle.schema_hash,
    )
    limits = [] if scored.limits is None else scored.limits.tolist()
    alerts = scored.alerts.tolist()
    reasons = reasons_by_row(model, scored.rows, scored.alerts, max_reasons)
    columns = zip(alerts, scored.scores.tolist(), reasons, request_ids, strict=True)
    answers = [
        Prediction(-1 if is_anomaly else 1, is_anomaly, score, reasons_of_row, *about, request_id)
        for is_anomaly, score, reasons_of_row, request_id in columns
    ]
    for row in np.flatnonzero(scored.warming_rows):
        answers[row].warming = True
    for answer, limit in zip(answers, limits, strict=False):
        answer.threshold = limit
    return answers


def reasons_by_row(
    model: LoadedModel,
    rows: Floats,
    anomalous: NDArray[np.bool_],
    max_reasons: int,
) -> list[list[Reason]]:
    """Return for each anomalous row its first reasons; an empty list for the others."""
    reasons: list[list[Reason]] = [[] for _ in rows]
    where = np.flatnonzero(anomalous)
    explained = explain_rows(model.bundle, rows[where], max_reasons)
    for i, reasons_of_row in zip(where, explained, strict=True):
        reasons[i] = reasons_of_row
    return reasons
