"""The endpoints that score rows: decode, score, encode."""

from __future__ import annotations

import random

import numpy as np

from serve.http.invocations import decode_invocations, encode_invocations
from serve.http.messages import Request, Response
from serve.http.open_inference import JSON_LENGTH_HEADER, decode_infer, encode_infer
from serve.http.predict import decode_predict, encode_predict
from serve.http.replica import Replica
from serve.http.routes import require_content_type
from serve.model.loaded import LoadedModel
from serve.model.report import CapturedRows, RowContext
from vigil.arrays import Floats


class ModelScorer:
    """The one scoring path behind all endpoints: score, capture for the monitor, count."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._rows = replica.metrics.rows
        self._anomalies = replica.metrics.anomalies

    def score(
        self,
        model: LoadedModel,
        rows: Floats,
        request: Request,
        *,
        context: RowContext | None = None,
    ) -> tuple[LoadedModel, Floats]:
        """Return the scores [n] of rows [n, d], and the model that gave them.

        It is `model`, or the canary where that takes the request. `context`: whose rows they are.
        """
        observation = request.observation
        if observation is not None:
            observation.begin_scoring(len(rows))
        model, scores = self._score(model, rows, request)
        anomalies = int(np.count_nonzero(scores > model.bundle.threshold.value))
        if observation is not None:
            observation.end_scoring(model.version, anomalies)
        requests = [request.request_id] * len(rows)
        self._capture(model, rows, scores, requests, context=context)
        self._rows.inc(len(rows))
        if anomalies:
            self._anomalies.inc(anomalies)
        return model, scores

    def _score(
        self,
        model: LoadedModel,
        rows: Floats,
        request: Request,
    ) -> tuple[LoadedModel, Floats]:
        canary = self._replica.watch.canary
        threads = self._replica.settings.score_threads
        if canary is None or request.model_version is not None:
            return model, model.bundle.forest.score(rows, threads)
        return canary.score(model, rows, request.body, threads)

    def _capture(
        self,
        model: LoadedModel,
        rows: Floats,
        scores: Floats,
        requests: list[str],
        *,
        context: RowContext | None,
    ) -> None:
        """Keep a sample for the drift monitor, and one for the challenger in the shadow."""
        replica = self._replica
        settings = replica.settings
        if settings.capture_rate >= 1 or random.random() < settings.capture_rate:
            threshold = model.bundle.threshold.value
            batch = CapturedRows(model.version, rows, scores, requests, threshold, context)
            replica.capture.add(batch)
        shadow = replica.watch.shadow
        if shadow is None or model is not shadow.champion:
            return
        if random.random() < settings.shadow_rate:
            shadow.offer(rows, scores)


class ScoringEndpoints:
    """Handlers of `/predict`, `/invocations` and Open Inference's `infer`."""

    def __init__(self, replica: Replica, scorer: ModelScorer) -> None:
        self._replica = replica
        self._scorer = scorer

    async def predict(self, request: Request) -> Response:
        """Score one row or many."""
        # What curl -d says when nobody says otherwise is taken for what it nearly always is.
        require_content_type(request, "application/json", "application/x-www-form-urlencoded")
        replica = self._replica
        settings = replica.settings
        model = replica.model()
        bundle = model.bundle
        rows, is_single, context = decode_predict(
            request.body,
            bundle.names,
            settings.max_rows,
            transform=bundle.transform,
            unused=bundle.unused_columns,
        )
        model, scores = self._scorer.score(model, rows, request, context=context)
        body = encode_predict(
            model,
            rows,
            scores,
            is_single=is_single,
            drift_score=replica.reporter.drift_score,
            request_id=request.request_id,
            max_reasons=settings.reasons,
        )
        return Response(body, headers=model.headers)

    async def invocations(self, request: Request) -> Response:
        """Score by MLflow's protocol."""
        require_content_type(request, "application/json", "text/csv")
        model = self._replica.model()
        bundle = model.bundle
        rows = decode_invocations(
            request.body,
            request.content_type,
            bundle.names,
            max_rows=self._replica.settings.max_rows,
            unused=bundle.unused_columns,
            charset=request.charset,
        )
        model, scores = self._scorer.score(model, rows, request)
        return Response(encode_invocations(model, scores), headers=model.headers)

    async def infer(self, request: Request) -> Response:
        """Score by the Open Inference Protocol v2."""
        require_content_type(request, "application/json", "application/octet-stream")
        settings = self._replica.settings
        model = self._replica.named_model(request.model_name, request.model_version)
        names = model.bundle.names
        inference = decode_infer(
            request.body, _json_length(request), names, max_rows=settings.max_rows
        )
        model, scores = self._scorer.score(
            model, inference.rows, request, context=inference.context
        )
        body, json_length = encode_infer(
            inference,
            settings.model_name,
            model,
            scores=scores,
            request_id=request.request_id,
            max_reasons=settings.reasons,
        )
        if json_length is None:
            return Response(body, headers=model.headers)
        length_header = (JSON_LENGTH_HEADER.encode(), b"%d" % json_length)
        return Response(body, b"application/octet-stream", (*model.headers, length_header))


def _json_length(request: Request) -> str | None:
    length = request.headers.get(JSON_LENGTH_HEADER.encode())
    if length:
        return length.decode("latin-1")
    return None
