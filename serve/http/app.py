"""The Detector deployment. `build(args)` is the one application builder, local and cluster."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from ray import serve

from serve.http.bodies import BodyReader
from serve.http.endpoints import build_gateway
from serve.http.gateway import Gateway
from serve.http.infer_rpc import InferenceRpc, InferenceServicer
from serve.http.messages import Request
from serve.http.observe import RequestObserver
from serve.http.replica import Replica, ReplicaGroup
from serve.http.scoring import ModelScorer
from serve.http.stream_slots import StreamSlots
from serve.metrics import ServeMetrics
from serve.model.capture import Capture
from serve.model.context import ShardedContext
from serve.model.report import RowContext
from serve.model.reporting import MonitorClient, Reporter
from serve.model.row_format import MadeRows
from serve.model.watch import ModelWatch
from serve.settings import ServeSettings
from train.registry.signature import Trust
from train.registry.versions import Registry
from vigil.arrays import Floats
from vigil.home import Home
from vigil.json_types import JsonObject

# While a thread reads the registry or verifies a bundle, requests wait this long for the
# interpreter, not Python's 5 ms.
SWITCH_INTERVAL_S = 0.0005


@serve.ingress()
class Detector(InferenceServicer):
    """Scores rows with the champion. A request is answered by one frozen model."""

    def __init__(self, args: JsonObject) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        application = serve.get_replica_context().app_name
        self._replica = build_replica(ServeSettings.from_values(**args), application)
        self._scorer = ModelScorer(self._replica)
        bodies = BodyReader(self._replica.settings, self._replica.metrics)
        slots = StreamSlots(self._replica)
        self._gateway = build_gateway(
            self._replica,
            self._scorer,
            bodies=bodies,
            slots=slots,
        )
        self.rpc = InferenceRpc(
            self._replica,
            self._scorer,
            bodies,
            slots,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def __serve_build_asgi_app__(self) -> Gateway:
        return self._gateway

    async def reconfigure(self, config: JsonObject) -> None:
        """Take what may change while the replica runs.

        Serve awaits this before it routes traffic here: the first model is loaded in it.
        """
        self._replica.follow(config)
        self._gateway.follow_settings(self._replica.settings)
        if not self._tasks:
            await self._start()

    async def _start(self) -> None:
        watch = self._replica.watch
        await watch.poll()
        # A full collection, which stops all requests, need not look at Ray, MLflow and numba.
        gc.collect()
        gc.freeze()
        self._tasks = [
            asyncio.create_task(watch.run()),
            asyncio.create_task(self._report_loop()),
        ]

    async def _report_loop(self) -> None:
        replica = self._replica
        while True:
            await asyncio.sleep(replica.settings.flush_s * random.uniform(0.8, 1.2))
            replica.watch.check_guard()
            await replica.observer.flush()
            await replica.reporter.send(replica.served())

    async def refresh(self) -> JsonObject:
        """Look at the registry now (broadcast after a promotion); return what is served then."""
        await self._replica.watch.poll()
        return self._replica.status()

    async def features(self) -> tuple[str, ...]:
        """Return the features that rows have, in order, for callers by handle."""
        return self._replica.model().row_format.sent_names

    async def row_format(self) -> JsonObject:
        """Return the features of a row, and the transform of the model, for callers by handle."""
        return self._replica.model().row_format.to_wire()

    async def score_rows(
        self,
        rows: Floats,
        context: Sequence[Any] | None = None,
        made_by: tuple[str, bool] | None = None,
    ) -> tuple[Floats, NDArray[np.int64], str]:
        """Return scores [n] and labels [n] of rows [n, d], and the version that gave them.

        For callers by handle; `context` is a RowContext in plain values, `made_by` are the fields
        of MadeRows. Raises InvalidFeatures when the rows do not fit the model.
        """
        model = self._replica.model()
        whose = msgspec.convert(context, RowContext | None)
        made = None if made_by is None else MadeRows(*made_by)
        request = Request({b"x-request-id": b"stream"}, rows.tobytes())
        prepared = await self._scorer.prepare_any(model, rows, whose, made=made)
        model, scored = self._scorer.score(model, prepared, request)
        return scored.scores, scored.labels, model.version


def build_replica(settings: ServeSettings, application: str) -> Replica:
    """Return the parts of a replica of the Serve application with this name."""
    name = f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
    registry = _open_registry(settings)
    metrics = ServeMetrics()
    context = ShardedContext(settings, metrics)
    watch = ModelWatch(
        registry,
        Home(settings.home).cache,
        metrics,
        settings=settings,
        prepare=context.prepare,
    )
    capture = Capture(settings.capture_rows)
    monitor = MonitorClient()
    return Replica(
        name=name,
        settings=settings,
        metrics=metrics,
        watch=watch,
        capture=capture,
        reporter=Reporter(watch, capture, metrics, monitor=monitor),
        observer=RequestObserver.from_settings(settings, metrics, name),
        registry=registry,
        ask_monitor=monitor.ask,
        refresh_replicas=ReplicaGroup(application).refresh,
        context=context,
    )


def _open_registry(settings: ServeSettings) -> Registry:
    trust = Trust.from_settings()
    return Registry(settings.tracking_uri, settings.model_name, trust=trust)


def build(args: JsonObject) -> serve.Application:
    """Return the Serve application `vigil`; `args` are ServeSettings.

    Scaling and limits are in the Serve configuration.
    """
    deployment: Any = serve.deployment(Detector, name="Detector")
    return deployment.bind(args)
