"""The Detector deployment: its handlers. `build(args)` is the one application builder, local and on the cluster."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import random
import sys
import uuid
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from ray import serve

from serve.http import console, docs
from serve.http import openapi as schemas
from serve.http.console_state import ConsoleState
from serve.http.gateway import Gateway, Request, Response, build_routes, require_content_type
from serve.http.invocations import decode_invocations, encode_invocations
from serve.http.observe import App, RequestObserver
from serve.http.open_inference import (
    JSON_LENGTH_HEADER,
    decode_infer,
    encode_infer,
    model_metadata,
    server_metadata,
)
from serve.http.operators import Operators, require_operator, require_own_page
from serve.http.protocols import decode_feedback, decode_mode, decode_predict, encode_predict
from serve.metrics import ServeMetrics, collect_metrics, label_metrics, render_exposition
from serve.model.capture import Capture
from serve.model.handles import Application
from serve.model.loaded import LoadedModel
from serve.model.reporting import MonitorClient, Reporter
from serve.model.watch import ModelWatch
from serve.settings import ServeSettings
from train.registry.versions import Registry
from train.settings import TrustSettings
from vigil.arrays import Floats
from vigil.errors import InvalidFeatures, NoModel, VigilError
from vigil.home import Home

log = logging.getLogger("ray.serve")
VIGIL, MLFLOW = importlib.metadata.version("vigil"), importlib.metadata.version("mlflow")
REFRESH_TIMEOUT_S = 10.0
SWITCH_S = 0.0005
NO_MODEL = "no model is loaded yet: train and promote one with `vigil train --data P` and `vigil promote V`"


@serve.ingress()
class Detector:
    """Scores rows with the champion. One frozen model snapshot per request."""

    def __init__(self, args: dict[str, Any]) -> None:
        # While a thread reads the registry or verifies a bundle, requests wait this long for the interpreter, not 5 ms.
        sys.setswitchinterval(SWITCH_S)
        self.settings = ServeSettings.from_values(**args)
        self.metrics = ServeMetrics()
        self.replica = f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
        registry = Registry(
            self.settings.tracking_uri, self.settings.model_name, trust=TrustSettings().open()
        )
        self.watch = ModelWatch(
            registry, Home(self.settings.home).cache, self.metrics, self.settings
        )
        self.registry = registry
        self.capture = Capture(self.settings.capture_rows)
        monitor = MonitorClient()
        self.reports = Reporter(self.watch, self.capture, self.metrics, monitor)
        self._ask_monitor = monitor.ask
        self._replicas = Application(serve.get_replica_context().app_name)
        self.observer = RequestObserver(self.settings, self.metrics, self.replica)
        self._gateway: Gateway | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take what may change while the replica runs.

        Serve awaits this before it routes traffic here: the first model is loaded in it.
        """
        self.settings = self.settings.with_live_values(config)
        followers = (self.watch, self.capture, self.observer, self._gateway)
        for follower in followers:
            if follower is not None:
                follower.follow_settings(self.settings)
        if not self._tasks:
            await self.watch.poll()
            gc.collect()
            gc.freeze()  # a full collection, which stops all requests, need not look at Ray, MLflow and numba
            self._tasks = [
                asyncio.create_task(self.watch.run()),
                asyncio.create_task(self._report_loop()),
            ]

    async def refresh(self) -> dict[str, Any]:
        """Look at the registry now (broadcast after a promotion); what this replica serves then."""
        await self.watch.poll()
        return self._served()

    async def features(self) -> tuple[str, ...]:
        """The model's features in order, for callers by handle."""
        return self._model().bundle.names

    async def score_rows(self, rows: Floats) -> tuple[Floats, NDArray[np.int64], str]:
        """Scores [n] and labels [n] of rows [n, d], and the version that gave them, for callers by handle.

        Raises InvalidFeatures when the rows do not fit the model.
        """
        model = self._model()
        if rows.ndim != 2 or rows.shape[1] != len(model.bundle.names):
            raise InvalidFeatures(
                f"rows of shape {rows.shape}; the model has {len(model.bundle.names)} features"
            )
        model, scores = self._score(
            model, rows, Request({b"x-request-id": b"stream"}, rows.tobytes())
        )
        return scores, np.where(scores > model.bundle.threshold.value, -1, 1), model.version

    def __serve_build_asgi_app__(self) -> App:
        model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        operators = Operators(self.registry, self._refreshed)
        board = ConsoleState(
            lambda: self._ask_monitor("console"), self._about, self.metrics.console_polls
        )
        routes = build_routes(
            scoring={
                "/predict": self.predict,
                "/invocations": self.invocations,
                f"{model}/infer": self.infer,
                f"{version}/infer": self.infer,
            },
            reads={
                "/drift": self.drift,
                "/metrics": self.expose,
                "/version": self.version,
                "/v2": self.v2_server,
                model: self.v2_model,
                version: self.v2_model,
                f"{model}/ready": self.v2_model,
                f"{version}/ready": self.v2_model,
                "/openapi.json": self.openapi,
                **docs.docs_routes(),
                "/console/state": board.answer,
            },
            open_reads={
                "/healthz": self.healthz,
                "/readyz": self.readyz,
                "/ping": self.readyz,
                "/v2/health/live": self.healthz,
                "/v2/health/ready": self.readyz,
                **console.console_routes(),
                "/console/about": self.console_about,
            },
            acts={
                "/models/refresh": (self.refresh_all, self._admit),
                "/feedback": (self.feedback, self._admit),
                "/models/promote": (operators.promote, self._admit_operator),
                "/models/rollback": (operators.rollback, self._admit_operator),
                "/drift/mode": (self.drift_mode, self._admit_operator),
            },
        )
        observed: Any = self
        observed._score = self.observer.scoring(self._score)
        self._gateway = Gateway(self.observer.routes(routes), self.settings, self.metrics)
        return self.observer.gateway(self._gateway)

    async def predict(self, call: Request) -> Response:
        """Score one row or many."""
        # What curl -d says when nobody told it otherwise is taken for what it nearly always is.
        require_content_type(call, "application/json", "application/x-www-form-urlencoded")
        model = self._model()
        rows, single = decode_predict(
            call.body, model.bundle.names, self.settings.max_rows, model.bundle.transform
        )
        model, scores = self._score(model, rows, call)
        answer = encode_predict(
            model,
            rows,
            scores,
            single,
            self.reports.drift_score,
            call.request_id,
            self.settings.reasons,
        )
        return Response(answer, headers=model.headers)

    async def invocations(self, call: Request) -> Response:
        """MLflow's scoring protocol."""
        require_content_type(call, "application/json", "text/csv")
        model = self._model()
        rows = decode_invocations(
            call.body, call.content_type, model.bundle.names, self.settings.max_rows
        )
        model, scores = self._score(model, rows, call)
        return Response(encode_invocations(model, scores), headers=model.headers)

    async def infer(self, call: Request) -> Response:
        """The Open Inference Protocol v2."""
        require_content_type(call, "application/json", "application/octet-stream")
        model = self._named_model(call)
        length = call.headers.get(JSON_LENGTH_HEADER.encode())
        asked = decode_infer(
            call.body,
            length.decode("latin-1") if length else None,
            model.bundle.names,
            self.settings.max_rows,
        )
        model, scores = self._score(model, asked.rows, call)
        answer, head = encode_infer(
            asked, self.settings.model_name, model, scores, call.request_id, self.settings.reasons
        )
        if head is None:
            return Response(answer, headers=model.headers)
        return Response(
            answer,
            b"application/octet-stream",
            (*model.headers, (JSON_LENGTH_HEADER.encode(), b"%d" % head)),
        )

    def _score(self, model: LoadedModel, rows: Floats, call: Request) -> tuple[LoadedModel, Floats]:
        """The one scoring path behind all doors: score, remember for the monitor, count. Says which model it was."""
        trial = self.watch.canary
        if trial is None or call.version is not None:
            scores = model.bundle.forest.score(rows, self.settings.score_threads)
        else:
            model, scores = trial.score(model, rows, call.body, self.settings.score_threads)
        if self.settings.capture_rate >= 1 or random.random() < self.settings.capture_rate:
            self.capture.add(model.version, rows, scores, [call.request_id] * len(rows))
        shadow = self.watch.shadow
        if (
            shadow is not None
            and model is shadow.champion
            and random.random() < self.settings.shadow_rate
        ):
            shadow.offer(rows, scores)
        self.metrics.rows.inc(len(rows))
        if anomalies := int(np.count_nonzero(scores > model.bundle.threshold.value)):
            self.metrics.anomalies.inc(anomalies)
        return model, scores

    async def healthz(self, call: Request) -> Response:
        """Alive."""
        return _json({"status": "alive"})

    async def readyz(self, call: Request) -> Response:
        """A verified model is loaded; `source` says where from."""
        model = self._model()
        return _json(
            {
                "status": "ready",
                "model_version": model.version,
                "model_digest": model.digest,
                "features": model.bundle.names,
                "source": self.watch.source,
            }
        )

    async def console_about(self, call: Request) -> Response:
        """What the console must know before anybody has shown a key."""
        return _json({"auth": self.settings.auth_required})

    async def refresh_all(self, call: Request) -> Response:
        """Have every replica look at the registry now, and answer what each serves then."""
        return _json({"replicas": await self._refreshed()})

    async def _refreshed(self) -> list[dict[str, Any]]:
        try:
            return await asyncio.wait_for(self._replicas.ask_all("refresh"), REFRESH_TIMEOUT_S)
        except Exception as error:  # they look by themselves within their poll period
            raise NotRefreshed(
                f"not every replica answered ({type(error).__name__}); each looks by itself soon"
            ) from error

    def _admit(self, call: Request) -> None:
        """Who asks for something to be done; where a key was shown, no page of another site can have shown it."""
        if call.caller is None:
            require_own_page(call, self.settings.hosts)

    def _admit_operator(self, call: Request) -> None:
        self._admit(call)
        require_operator(call)

    async def version(self, call: Request) -> Response:
        """The MLflow release whose scoring protocol this is."""
        return Response(MLFLOW.encode(), b"text/plain")

    async def openapi(self, call: Request) -> Response:
        """The OpenAPI document; its examples are rows of the model that is served."""
        model = self.watch.model
        if model is None:
            return _json(schemas.openapi_document(self.settings))
        row = dict(
            zip(
                model.bundle.names, np.round(model.bundle.reference.median, 3).tolist(), strict=True
            )
        )
        return _json(schemas.openapi_document(self.settings, row))

    async def v2_server(self, call: Request) -> Response:
        """Open Inference Protocol: server metadata."""
        return _json(server_metadata(VIGIL))

    async def v2_model(self, call: Request) -> Response:
        """Open Inference Protocol: model metadata; 200 also says that the model is ready."""
        return _json(model_metadata(self.settings.model_name, self._named_model(call)))

    async def drift(self, call: Request) -> Response:
        """What the drift monitor sees, what its governor decided and why, and which replica serves which version."""
        return _json(await self._ask_monitor("status"))

    async def drift_mode(self, call: Request) -> Response:
        """Switch the governor's mode by hand; null goes back to the settings' one."""
        return _json(await self._ask_monitor("switch", decode_mode(call.body)))

    async def feedback(self, call: Request) -> Response:
        """Take in what people say of scored rows."""
        return _json(
            await self._ask_monitor("label", decode_feedback(call.body, self.settings.max_rows))
        )

    async def expose(self, call: Request) -> Response:
        """Prometheus metrics, summed over the replicas; while the monitor is away this replica's own, under its name."""
        try:
            text = await self._ask_monitor("exposition")
        except VigilError:
            text = render_exposition(
                [label_metrics(collect_metrics(self.metrics.registry), replica=self.replica)]
            )
        return Response(text, b"text/plain; version=0.0.4; charset=utf-8")

    def _model(self) -> LoadedModel:
        model = self.watch.model
        if model is None:
            raise NoModel(NO_MODEL)
        return model

    def _named_model(self, call: Request) -> LoadedModel:
        """The model that the path names; only the one that is served, or is a canary, can be asked."""
        model, trial = self._model(), self.watch.canary
        if trial is not None and call.version == trial.candidate.version:
            model = trial.candidate
        if call.name != self.settings.model_name or call.version not in (None, model.version):
            asked = call.name if call.version is None else f"{call.name} version {call.version}"
            raise UnknownModel(
                f"{asked!r} is not served; {self.settings.model_name!r} version {model.version} is"
            )
        return model

    def _about(self) -> dict[str, Any]:
        """What the console shows that the replica knows without the monitor."""
        model, watch = self.watch.model, self.watch
        return {
            "vigil": VIGIL,
            "model": self.settings.model_name,
            "auth": self.settings.auth_required,
            "links": self.settings.links,
            "version": model.version if model else None,
            "digest": model.digest if model else None,
            "source": watch.source,
        }

    def _served(self) -> dict[str, Any]:
        """What this replica serves, what it should, and why it does not."""
        watch, model = self.watch, self.watch.model
        return {
            "replica": self.replica,
            "pid": os.getpid(),
            "version": model.version if model else None,
            "digest": model.digest if model else None,
            "since": model.since if model else None,
            "desired": watch.desired,
            "source": watch.source,
            "canary": watch.canary.candidate.version if watch.canary else None,
            "refused": {version: refusal.reason for version, refusal in watch.refusals.items()},
        }

    async def _report_loop(self) -> None:
        while True:
            await asyncio.sleep(self.settings.flush_s * random.uniform(0.8, 1.2))
            self.watch.check_guard()
            await self.observer.flush()
            await self.reports.send(self._served())


class NotRefreshed(VigilError):
    """The replicas could not all be told to look at the registry."""

    status = 503


class UnknownModel(VigilError):
    """Another model or version was asked for than is served."""

    status = 404


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value))


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application `vigil`; `args` are ServeSettings. Scaling and limits are in the Serve configuration."""
    deployment: Any = serve.deployment(Detector, name="Detector")
    return deployment.bind(args)
