"""The Detector deployment: routes only. `build(args)` is the one application builder, local and on the cluster."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve.capture import Capture
from serve.invocations import decode_invocations, encode_invocations
from serve.metrics import ServeMetrics, exposition, snapshot
from serve.model_watch import ModelWatch, Snapshot
from serve.open_inference import JSON_LENGTH_HEADER, decode_infer, encode_infer, model_metadata, server_metadata
from serve.protocols import decode_predict, encode_predict
from serve.schemas import PREDICT_OPERATION
from serve.settings import ServeSettings
from train.errors import BodyTooLarge, NoModel, VigilError
from train.home import Home
from train.registry import Registry

log = logging.getLogger("ray.serve")
Route = Callable[[Request], Awaitable[Response]]
VIGIL, MLFLOW = importlib.metadata.version("vigil"), importlib.metadata.version("mlflow")
MONITOR = "drift"  # the Serve application of the drift monitor
MONITOR_TIMEOUT_S = 5.0
NO_MODEL = "no model is loaded yet: train and promote one with `vigil train --data P` and `vigil promote V`"


@serve.ingress()
class Detector:
    """Scores rows with the champion. One frozen model snapshot per request."""

    def __init__(self, args: dict[str, Any]) -> None:
        self.settings = ServeSettings(**args)
        self.metrics = ServeMetrics()
        self.replica = f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
        registry = Registry(self.settings.tracking_uri, self.settings.model_name)
        self.watch = ModelWatch(registry, Home(self.settings.home).cache, self.metrics, self.settings.poll_s)
        self.capture = Capture(self.settings.capture_rows)
        self.capture_rate = 1.0
        self.drift_score = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve awaits this before it routes traffic here: the first model is loaded in it."""
        self.watch.poll_s = float(config.get("poll_s", self.settings.poll_s))
        self.capture_rate = float(config.get("capture_rate", 1.0))
        if not self._tasks:
            await self.watch.poll()
            self._tasks = [asyncio.create_task(self.watch.run()), asyncio.create_task(self._report_loop())]

    def hurry(self) -> None:
        """Look at the champion alias now (broadcast after a promotion)."""
        self.watch.hurry()

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = FastAPI(title="Vigil", description="Real-time anomaly detection", openapi_url="/openapi.json")
        # Plain Starlette routes: request models on the hot path cost half the throughput.
        app.add_route("/predict", self._answering(self.predict), methods=["POST"])
        app.add_route("/invocations", self._answering(self.invocations, _mlflow_error), methods=["POST"])
        for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
            app.add_route(path, self._answering(self.infer, _v2_error), methods=["POST"])
        for path, route in self._v2_routes().items():
            app.add_api_route(path, self._answering(route, _v2_error), methods=["GET"], response_class=Response)
        reads = {"/healthz": self.healthz, "/ping": self.readyz, "/version": self.version, "/readyz": self.readyz}
        for path, route in {**reads, "/drift": self.drift, "/metrics": self.expose}.items():
            app.add_api_route(path, self._answering(route), methods=["GET"], response_class=Response)
        app.openapi = lambda: _openapi(app)
        return app

    def _v2_routes(self) -> dict[str, Route]:
        return {
            "/v2": self.v2_server,
            "/v2/health/live": self.healthz,
            "/v2/health/ready": self.readyz,
            "/v2/models/{name}": self.v2_model,
            "/v2/models/{name}/ready": self.v2_model,
            "/v2/models/{name}/versions/{version}": self.v2_model,
            "/v2/models/{name}/versions/{version}/ready": self.v2_model,
        }

    async def predict(self, request: Request) -> Response:
        """Score one row or many."""
        body, model = await _body(request, self.settings.max_body_bytes), self._model()
        rows, single = decode_predict(body, model.bundle.names, self.settings.max_rows)
        scores = self._score(model, rows)
        answer = encode_predict(model, rows, scores, single, self.drift_score, _request_id(request), self.settings.reasons)
        return Response(answer, media_type="application/json")

    async def invocations(self, request: Request) -> Response:
        """MLflow's scoring protocol."""
        body, model = await _body(request, self.settings.max_body_bytes), self._model()
        kind = request.headers.get("content-type", "application/json")
        scores = self._score(model, decode_invocations(body, kind, model.bundle.names, self.settings.max_rows))
        return Response(encode_invocations(model, scores), media_type="application/json")

    async def infer(self, request: Request) -> Response:
        """The Open Inference Protocol v2."""
        body, model = await _body(request, self.settings.max_body_bytes), self._named_model(request)
        length = request.headers.get(JSON_LENGTH_HEADER)
        asked = decode_infer(body, length, model.bundle.names, self.settings.max_rows)
        scores = self._score(model, asked.rows)
        answer, json_length = encode_infer(asked, self.settings.model_name, model, scores, _request_id(request))
        if json_length is None:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="application/octet-stream", headers={JSON_LENGTH_HEADER: str(json_length)})

    def _score(self, model: Snapshot, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The one scoring path behind all doors: score, remember for the monitor, count."""
        scores = model.bundle.forest.score(rows, self.settings.score_threads)
        if self.capture_rate >= 1 or random.random() < self.capture_rate:
            self.capture.add(model.version, rows, scores)
        self.metrics.rows.inc(len(rows))
        self.metrics.anomalies.inc(int((scores > model.bundle.threshold.value).sum()))
        return scores

    async def healthz(self, request: Request) -> Response:
        """Alive."""
        return JSONResponse({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """A verified model is loaded."""
        model = self._model()
        return JSONResponse(
            {"status": "ready", "model_version": model.version, "model_digest": model.digest, "features": model.bundle.names}
        )

    async def version(self, request: Request) -> Response:
        """The MLflow release whose scoring protocol this is."""
        return Response(MLFLOW, media_type="text/plain")

    async def v2_server(self, request: Request) -> Response:
        """Open Inference Protocol: server metadata."""
        return JSONResponse(server_metadata(VIGIL))

    async def v2_model(self, request: Request) -> Response:
        """Open Inference Protocol: model metadata; 200 also says that the model is ready."""
        return JSONResponse(model_metadata(self.settings.model_name, self._named_model(request)))

    async def drift(self, request: Request) -> Response:
        """What the drift monitor sees, what its governor decided and why, and which replica serves which version."""
        return JSONResponse(await self._ask_monitor("status"))

    async def expose(self, request: Request) -> Response:
        """Prometheus metrics, summed over the replicas; this replica's own while the monitor is away."""
        try:
            text = await self._ask_monitor("exposition")
        except VigilError:
            text = exposition([snapshot(self.metrics.registry)])
        return Response(text, media_type="text/plain; version=0.0.4")

    def _model(self) -> Snapshot:
        model = self.watch.snapshot
        if model is None:
            raise NoModel(NO_MODEL)
        return model

    def _named_model(self, request: Request) -> Snapshot:
        """The model that the path names; only the one that is served can be asked."""
        model, name, version = self._model(), request.path_params["name"], request.path_params.get("version")
        if name != self.settings.model_name or version not in (None, model.version):
            asked = name if version is None else f"{name} version {version}"
            raise UnknownModel(f"{asked!r} is not served; {self.settings.model_name!r} version {model.version} is")
        return model

    def _answering(self, route: Route, form: Callable[[VigilError], dict[str, object]] = VigilError.body) -> Route:
        """The route with expected errors turned into their HTTP answers, in its protocol's `form`."""

        async def answer(request: Request) -> Response:
            began = time.perf_counter()
            try:
                found = await route(request)
            except VigilError as error:
                self.metrics.requests.labels(type(error).__name__).inc()
                headers = {"Retry-After": "2"} if error.status == 503 else None
                return JSONResponse(form(error), error.status, headers)
            if request.method == "POST":  # the scoring routes
                self.metrics.requests.labels("ok").inc()
                self.metrics.latency.observe(time.perf_counter() - began)
            return found

        answer.__name__, answer.__doc__ = route.__name__, route.__doc__
        return answer

    async def _ask_monitor(self, method: str, *args: Any) -> Any:
        try:
            handle = serve.get_app_handle(MONITOR)
            return await asyncio.wait_for(getattr(handle, method).remote(*args), MONITOR_TIMEOUT_S)
        except Exception as error:  # absent, restarting or slow: scoring does not depend on it
            raise NoMonitor(f"the drift monitor does not answer ({type(error).__name__}); scoring goes on without it") from error

    async def _report_loop(self) -> None:
        """Hand rows, counts and the served version to the monitor, about once a second."""
        while True:
            await asyncio.sleep(self.settings.flush_s * random.uniform(0.8, 1.2))
            model = self.watch.snapshot
            batches = self.capture.take()
            self.metrics.capture_dropped.inc(self.capture.dropped)
            self.capture.dropped = 0
            report = {
                "replica": self.replica, "pid": os.getpid(), "rows": batches, "counts": snapshot(self.metrics.registry),
                "version": model.version if model else None, "digest": model.digest if model else None,
                "since": model.since if model else None,
            }  # fmt: skip
            try:
                self.drift_score = (await self._ask_monitor("ingest", report))["drift_score"]
            except VigilError:
                self.capture.put_back(batches)


class NoMonitor(VigilError):
    """The drift monitor cannot be asked now."""

    status = 503


class UnknownModel(VigilError):
    """Another model or version was asked for than is served."""

    status = 404


def _mlflow_error(error: VigilError) -> dict[str, object]:
    code = "BAD_REQUEST" if error.status < 500 else "TEMPORARILY_UNAVAILABLE"
    return {"error_code": code, "message": error.message}


def _v2_error(error: VigilError) -> dict[str, object]:
    return {"error": error.message}


def _request_id(request: Request) -> str:
    return request.headers.get("x-request-id") or uuid.uuid4().hex


async def _body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is known to be over the limit."""
    declared = request.headers.get("content-length", "0")
    body = b""
    if not declared.isdigit() or int(declared) <= limit:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                break
        else:
            return body
    raise BodyTooLarge(f"the body is larger than {limit} bytes: send fewer rows per request")


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version="1", description=app.description, routes=app.routes)
        schema["paths"]["/predict"] = {"post": PREDICT_OPERATION}
        app.openapi_schema = schema
    return app.openapi_schema


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application `vigil`; `args` are ServeSettings. Scaling and limits are in the Serve configuration."""
    deployment: Any = serve.deployment(Detector, name="Detector")
    return deployment.bind(args)
