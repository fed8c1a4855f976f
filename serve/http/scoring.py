"""The endpoints that score rows: decode, score, encode."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from serve.http.context_columns import ContextColumns
from serve.http.entity_thresholds import find_thresholds, tell_margins
from serve.http.invocations import (
    decode_invocations,
    encode_invocations,
    load_csv_reader,
)
from serve.http.messages import Request, Response
from serve.http.missing_values import count_unknown, fill_missing
from serve.http.open_inference import JSON_LENGTH_HEADER, decode_infer, encode_infer
from serve.http.predict import PredictRows, decode_predict, encode_predict
from serve.http.replica import Replica
from serve.http.routes import require_content_type
from serve.model.loaded import LoadedModel, distinct_formats
from serve.model.prepared import (
    PreparedRows,
    already_made,
    as_they_are,
    in_light_of,
    with_context,
)
from serve.model.report import RowContext
from serve.model.row_format import MadeRows, RowFormat
from serve.model.scored_batch import ScoredBatch
from vigil.arrays import Floats
from vigil.errors import InvalidFeatures


class ModelScorer:
    """The one scoring path behind all endpoints: prepare, score, capture for the monitor, count."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._rows = replica.metrics.rows
        self._anomalies = replica.metrics.anomalies
        self._warming = replica.metrics.warming

    def formats(self, model: LoadedModel) -> list[RowFormat]:
        """Return what rows are made into: of `model` and of those that score the same requests.

        Empty where none of them has a transform: nearly always.
        """
        watch = self._replica.watch
        if watch.canary is None and watch.shadow is None:
            return [] if model.bundle.transform is None else [model.row_format]
        models = [model]
        if watch.canary is not None:
            models.append(watch.canary.candidate)
        if watch.shadow is not None:
            models.append(watch.shadow.challenger)
        if all(each.bundle.transform is None for each in models):
            return []
        return list(distinct_formats(models))

    def fill(
        self,
        model: LoadedModel,
        rows: Floats,
        context: RowContext | None,
    ) -> Floats:
        """Return raw rows without missing values; unknown words of them are counted.

        Raises InvalidFeatures where a value may not be missing.
        """
        metrics = self._replica.metrics
        count_unknown(rows, model.row_format.categories, metrics.unknown_categories)
        return fill_missing(
            rows,
            model.row_format.imputation,
            None if context is None else context.entities,
            counter=metrics.imputed,
        )

    async def prepare(
        self,
        rows: Floats,
        context: RowContext | None,
        formats: Sequence[RowFormat],
    ) -> PreparedRows:
        """Return raw rows in the context of their entities."""
        source = self._replica.context
        return await with_context(
            source,
            rows,
            context,
            formats=formats,
        )

    async def prepare_any(
        self,
        model: LoadedModel,
        rows: Floats,
        context: RowContext | None,
        *,
        made: MadeRows | None,
    ) -> PreparedRows:
        """Return rows that are raw, or the model's where the caller has made them.

        Raises InvalidFeatures for rows of another width, or made for another model.
        """
        row_format = model.row_format
        if made is not None:
            row_format.require_made_by(made.key)
            _check_shape(rows, len(row_format.model_names))
            return already_made(
                rows,
                context,
                replace(made, key=row_format.key),
            )
        _check_shape(rows, len(row_format.names))
        return await self.prepare_raw(model, self.fill(model, rows, context), context)

    async def prepare_raw(
        self,
        model: LoadedModel,
        rows: Floats,
        context: RowContext | None,
    ) -> PreparedRows:
        """Return raw rows, none of whose values are missing, for the models that score them."""
        formats = self.formats(model)
        if not formats:
            return as_they_are(rows, context)
        return await self.prepare(
            rows,
            context,
            formats,
        )

    def score(
        self,
        model: LoadedModel,
        rows: PreparedRows,
        request: Request,
        request_ids: Sequence[str] | None = None,
    ) -> tuple[LoadedModel, ScoredBatch]:
        """Return the scored rows, and the model that scored them.

        It is `model`, or the canary where that takes the request. `request_ids` [n] are those of
        the rows where each is a request of its own.
        """
        observation = request.observation
        if observation is not None:
            observation.begin_scoring(len(rows))
        model, scores = self._score(
            model,
            rows,
            request,
        )
        scored = model.scored(rows, scores)
        if scored.limits is not None:
            tell_margins(self._replica.context, model, rows, scored)
        anomalies = int(np.count_nonzero(scored.alerts))
        if observation is not None:
            observation.end_scoring(model.version, anomalies)
        self._capture(
            model,
            rows,
            scored,
            request_ids or [request.request_id] * len(rows),
        )
        self._count(scored, anomalies)
        return model, scored

    def _count(
        self,
        scored: ScoredBatch,
        anomalies: int,
    ) -> None:
        self._rows.inc(len(scored.scores))
        if anomalies:
            self._anomalies.inc(anomalies)
        if scored.warming is not None:
            self._warming.inc(int(scored.warming.sum()))

    def _score(
        self,
        model: LoadedModel,
        rows: PreparedRows,
        request: Request,
    ) -> tuple[LoadedModel, Floats]:
        canary = self._replica.watch.canary
        threads = self._replica.settings.score_threads
        if canary is None or request.model_version is not None:
            return model, model.bundle.forest.score(model.rows_of(rows), threads)
        return canary.score(
            model,
            rows,
            request.body,
            threads,
        )

    def _capture(
        self,
        model: LoadedModel,
        rows: PreparedRows,
        scored: ScoredBatch,
        request_ids: Sequence[str],
    ) -> None:
        """Keep a sample for the drift monitor, and one for the challenger in the shadow."""
        replica = self._replica
        settings = replica.settings
        if settings.capture_rate >= 1 or random.random() < settings.capture_rate:
            replica.capture.add(model.captured(rows, scored, request_ids))
        shadow = replica.watch.shadow
        if shadow is None or model is not shadow.champion:
            return
        if random.random() < settings.shadow_rate:
            shadow.offer(rows, scored.scores)


def _check_shape(rows: Floats, features: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != features:
        raise InvalidFeatures(f"rows of shape {rows.shape}; the model has {features} features")


class ScoringEndpoints:
    """Handlers of `/predict`, `/invocations` and Open Inference's `infer`."""

    def __init__(
        self,
        replica: Replica,
        scorer: ModelScorer,
    ) -> None:
        self._replica = replica
        self._scorer = scorer

    async def predict(self, request: Request) -> Response:
        """Score one row or many."""
        # What curl -d says when nobody says otherwise is taken for what it nearly always is.
        require_content_type(
            request,
            "application/json",
            "application/x-www-form-urlencoded",
        )
        replica = self._replica
        model = replica.model()
        sent = self.decode_rows(request.body, model)
        rows = await self._prepare(sent, model)
        if model.has_entity_thresholds and sent.past is None:
            await find_thresholds(replica.context, rows)
        model, scored = self._scorer.score(
            model,
            rows,
            request,
        )
        body = encode_predict(
            model,
            scored,
            is_single=sent.is_single,
            drift_score=replica.reporter.drift_score,
            request_id=request.request_id,
            max_reasons=replica.settings.reasons,
        )
        return Response(body, headers=model.headers)

    def decode_rows(self, body: bytes, model: LoadedModel) -> PredictRows:
        """Return the rows of a body of /predict, with values for those that are missing.

        Raises what decode_predict raises.
        """
        row_format = model.row_format
        may_miss = row_format.imputation is not None
        sent = decode_predict(
            body,
            row_format.sent_names,
            self._replica.settings.max_rows,
            unused=model.bundle.unused_columns,
            may_miss=may_miss,
            categories=row_format.categories,
        )
        if not may_miss and row_format.categories is None:
            return sent
        # A history is of one entity, whatever its context says of its last row.
        whose = sent.context if sent.past is None else None
        filled = self._scorer.fill(model, sent.whole, whose)
        return sent.filled(filled)

    async def _prepare(self, sent: PredictRows, model: LoadedModel) -> PreparedRows:
        formats = self._scorer.formats(model)
        if not formats:
            return as_they_are(sent.X, sent.context)
        if sent.past is None:
            return await self._scorer.prepare(sent.X, sent.context, formats)
        return in_light_of(
            sent.past,
            sent.X,
            sent.context,
            formats=formats,
        )

    async def invocations(self, request: Request) -> Response:
        """Score by MLflow's protocol."""
        require_content_type(
            request,
            "application/json",
            "text/csv",
        )
        if request.content_type == "text/csv":
            await load_csv_reader()
        model = self._replica.model()
        sent = decode_invocations(
            request.body,
            request.content_type,
            model.row_format.sent_names,
            max_rows=self._replica.settings.max_rows,
            unused=model.bundle.unused_columns,
            whose=ContextColumns.of(model.bundle),
            charset=request.charset,
            may_miss=model.row_format.imputation is not None,
            categories=model.row_format.categories,
        )
        filled = self._scorer.fill(model, sent.X, sent.context)
        rows = await self._scorer.prepare_raw(model, filled, sent.context)
        if model.has_entity_thresholds:
            await find_thresholds(self._replica.context, rows)
        model, scored = self._scorer.score(
            model,
            rows,
            request,
        )
        return Response(encode_invocations(model, scored), headers=model.headers)

    async def infer(self, request: Request) -> Response:
        """Score by the Open Inference Protocol v2."""
        require_content_type(
            request,
            "application/json",
            "application/octet-stream",
        )
        settings = self._replica.settings
        model = self._replica.named_model(request.model_name, request.model_version)
        row_format = model.row_format
        inference = decode_infer(
            request.body,
            _json_length(request),
            row_format.names,
            max_rows=settings.max_rows,
            row_format=row_format,
        )
        rows = await self._scorer.prepare_any(
            model, inference.rows, inference.context, made=inference.made
        )
        if model.has_entity_thresholds:
            await find_thresholds(self._replica.context, rows)
        model, scored = self._scorer.score(
            model,
            rows,
            request,
        )
        body, json_length = encode_infer(
            inference,
            settings.model_name,
            model,
            scored=scored,
            request_id=request.request_id,
            max_reasons=settings.reasons,
        )
        if json_length is None:
            return Response(body, headers=model.headers)
        length_header = (JSON_LENGTH_HEADER.encode(), b"%d" % json_length)
        return Response(
            body,
            b"application/octet-stream",
            (*model.headers, length_header),
        )


def _json_length(request: Request) -> str | None:
    length = request.headers.get(JSON_LENGTH_HEADER.encode())
    if length:
        return length.decode("latin-1")
    return None
