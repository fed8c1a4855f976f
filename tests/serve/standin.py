"""The service for a browser, without Ray: the real gateway and handlers under uvicorn.

Its monitor says what it is told.

What it says is made by a real Watch from the reports of made-up replicas.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from drift.settings import DriftSettings
from drift.view.display import Display
from drift.watch import Watch
from serve.exposition import collect_metrics
from serve.local.telemetry import Drift, telemetry
from serve.metrics import ServeMetrics
from serve.model.loaded import LoadedModel
from serve.model.report import CapturedRows, ReplicaReport, ServedModel
from serve.model.reporting import NoMonitor
from tests.running import eventually, free_port
from tests.serve.service import Service
from tests.train.registry.test_promotion import Shelf
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.registry.moves import Move
from train.registry.versions import Version

WINDOW, RATE = 200, 20  # rows, rows a second of each replica


def model(names: tuple[str, ...] | None = None, seed: int = 1) -> ModelBundle:
    """A small forest of the built-in telemetry; `names` gives its features other names."""
    table = telemetry(3000, seed)
    forest = CompiledForest.compile(
        fit_part(table.X, trees=50, max_samples=128, max_features=1.0, seed=0)
    )
    scores = forest.score(table.X)
    named = names or table.names
    about = reference.build_reference(table.X, named, scores, window_rows=WINDOW)
    return ModelBundle(named, forest, threshold.to_alert_rate(scores, 0.01), about, table.X[:8], {})


class World:
    """Two replicas and a Watch; `live(seconds)` goes on, up to `now`, the time it is."""

    def __init__(self, home: Path, bundle: ModelBundle, **settings: Any) -> None:
        self.watch = Watch(DriftSettings(home=home, retrain_rows=600, **settings))
        self.display = Display(self.watch)
        self.bundle, self.version = bundle, "1"
        self.replicas = [ServeMetrics(), ServeMetrics()]
        self.rows, self.sent = telemetry(20_000, seed=7, anomaly_rate=0.012).X, 0
        self.drifted = Drift().apply(self.rows)
        self.at = time.time() - 1.0

    def follow(self, version: str, bundle: ModelBundle) -> None:
        self.version, self.bundle = version, bundle
        self.watch.follow(
            Version(version, f"run-{version}", version * 64, self.at), bundle, self.at
        )

    def live(
        self, seconds: int, *, drift: bool = False, rate: int = RATE, refused: int = 0
    ) -> None:
        """Reports of so many seconds; all that was told before moves into the past."""
        for _ in range(seconds):
            self.at += 1.0
            for k, metrics in enumerate(self.replicas):
                rows = (self.drifted if drift else self.rows)[self.sent % 15_000 :][:rate]
                self.sent += rate
                scores = self.bundle.forest.score(rows) if len(rows) else np.empty(0)
                metrics.requests.labels("ok").inc(len(rows))
                metrics.requests.labels("Overloaded").inc(refused)
                metrics.rows.inc(len(rows))
                metrics.anomalies.inc(int((scores > self.bundle.threshold.value).sum()))
                for i in range(len(rows)):
                    metrics.latency.observe(0.0008 * (1 + (i % 17 == 0) * 5))
                ids = [f"{self.sent - rate + i:08x}" for i in range(len(rows))]
                served = ServedModel(
                    replica=f"70{k}-ab12c{k}",
                    pid=1,
                    version=self.version,
                    digest=self.version * 64,
                    since=self.at - 60,
                    source="registry",
                    refused={},
                )
                batch = CapturedRows(self.version, rows, scores, ids)
                report = ReplicaReport(
                    served=served,
                    counts=collect_metrics(metrics.registry),
                    rows=[batch] if len(rows) else [],
                )
                self.watch.ingest(report, self.at)

    def state(self) -> bytes:
        return self.display.console(self.at)


class Standin:
    """`state` is what the monitor says (None: it is away).

    `stop` and `start` are a restart on the same port.
    """

    def __init__(self, bundle: ModelBundle, registry: Shelf | None = None, **settings: Any) -> None:
        self.port, self.state, self.asked = free_port(), b"", []
        self.incident: Callable[[str], Any] | None = None  # what the monitor says of one
        self.registry = registry or Shelf()
        self._model = LoadedModel.warm("1", "1" * 64, bundle)
        self._settings = settings
        self._passed_s = 0.0
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def _monitor(self, method: str, *args: Any) -> Any:
        if not self.state:
            raise NoMonitor("the drift monitor does not answer (Gone); scoring goes on without it")
        if method == "switch":
            self.asked.append((method, *args))
            return {"mode": args[0]}
        if method == "incident" and self.incident is not None:
            return self.incident(*args)
        return self.state

    async def _refreshed(self) -> list[dict[str, Any]]:
        return [{"replica": "700-ab12c0", "version": self.registry.alias["champion"]}]

    def start(self) -> None:
        service = Service(
            self._model,
            self.registry,
            ask_monitor=self._monitor,
            refresh_replicas=self._refreshed,
            clock=lambda: time.monotonic() + self._passed_s,
            port=self.port,
            **self._settings,
        )
        config = uvicorn.Config(
            service.gateway, port=self.port, log_level="warning", ws="none", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        eventually(lambda: self._server and self._server.started, 10)

    def go_away(self, for_s: float) -> None:
        """The monitor is away, since so many seconds."""
        self.state = b""
        self._passed_s += for_s

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(10)
            self._server = None


@contextmanager
def standing(made: Standin) -> Iterator[Standin]:
    made.start()
    try:
        yield made
    finally:
        made.stop()


def promoted(at: float, to: str, former: str, reason: str, actor: str = "drift-monitor") -> Move:
    """An entry of the ledger as the gate of a retraining leaves it."""
    checks = [
        "alert_rate 0.0113 is within 0.0400, its alert budget band",
        "planted_auroc 0.9656 is at least 0.7000, what it can",
    ]
    gates = {"passed": True, "checks": [{"sentence": check} for check in checks]}
    return Move("promote", former, to, to * 64, reason, actor, gates, at, f"move-{to}", "done")
