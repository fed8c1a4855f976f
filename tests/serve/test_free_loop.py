"""A replica's event loop waits for nobody.

Controller, registry and stores hang, and it goes on answering.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.http.observe import RequestObserver
from serve.http.request_log import RequestLog
from serve.metrics import ServeMetrics
from serve.model import handles
from serve.model.capture import Capture
from serve.model.loaded import LoadedModel
from serve.model.report import ServedModel
from serve.model.reporting import MonitorClient, Reporter
from serve.model.watch import ModelWatch
from serve.settings import ServeSettings
from serve.stream.app import HandleScorer, StreamConsumer
from serve.stream.scorer import Busy
from tests.serve.service import Service
from tests.stuck import Stuck
from train.registry.versions import Desired, Registry, Version

ROW = {"features": [0.0, 0.0, 0.0, 0.0]}
JSON = {"content_type": "application/json"}
Waits = Callable[[Service, Stuck, Path], Coroutine[Any, Any, Any]]


async def asking_the_monitor(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    service.replica.ask_monitor = MonitorClient().ask
    await service.ask("GET", "/drift")


async def reporting_to_the_monitor(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    watch = SimpleNamespace(canary=None, shadow=None)
    reports = Reporter(cast(ModelWatch, watch), Capture(10), ServeMetrics(), MonitorClient())
    await reports.send(ServedModel(replica="r"))


async def telling_all_replicas(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    await service.ask("POST", "/models/refresh")


async def promoting(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    registry: Any = service.replica.registry
    registry.get = stuck
    await service.ask("POST", "/models/promote", {"version": "2"}, **JSON)


async def rolling_back(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    registry: Any = service.replica.registry
    registry.exclusive = stuck
    await service.ask("POST", "/models/rollback", {}, **JSON)


def _following(service: Service, registry: Any, tmp_path: Path) -> ModelWatch:
    watch = ModelWatch(
        cast(Registry, registry),
        tmp_path,
        service.replica.metrics,
        ServeSettings.from_values(poll_s=0.001),
    )
    watch.model = service.replica.watch.model
    service.replica.watch = watch
    return watch


async def polling_the_registry(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    await _following(service, SimpleNamespace(desired=stuck), tmp_path).run()


async def downloading_a_version(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    fresh = Desired(Version("2", "run", "d" * 64, 0.0))
    registry = SimpleNamespace(desired=lambda: fresh, fetch=stuck)
    await _following(service, registry, tmp_path).run()


async def writing_the_request_log(service: Service, stuck: Stuck, tmp_path: Path) -> None:
    hanging: Any = RequestLog(tmp_path / "r.jsonl", ServeMetrics())
    hanging.write = stuck
    hanging.add({"path": "/predict"})
    await RequestObserver(hanging, log_rate=1.0).flush()


CONTROLLER = (asking_the_monitor, reporting_to_the_monitor, telling_all_replicas)
REGISTRY = (promoting, rolling_back, polling_the_registry, downloading_a_version)
STORE = (writing_the_request_log,)


@pytest.fixture
async def stuck(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stuck]:
    """What hangs; Serve's controller does."""
    made = Stuck(RuntimeError("it was let go"))
    monkeypatch.setattr(handles.serve, "get_app_handle", made)
    yield made
    made.let_go()


@pytest.mark.parametrize(
    "waits", [*CONTROLLER, *REGISTRY, *STORE], ids=lambda waits: waits.__name__
)
async def test_requests_are_answered_while_something_else_hangs(
    waits: Waits, model: LoadedModel, stuck: Stuck, tmp_path: Path
) -> None:
    service = Service(model, SimpleNamespace())
    waiting = asyncio.create_task(waits(service, stuck, tmp_path))
    await stuck.reached()
    for path in ("/predict", "/invocations"):
        body = ROW if path == "/predict" else {"inputs": [ROW["features"]]}
        assert (await service.ask("POST", path, body)).status == 200
    assert (await service.ask("GET", "/readyz")).status == 200
    assert stuck.holds
    assert not waiting.done()
    waiting.cancel()
    stuck.let_go()
    await asyncio.gather(waiting, return_exceptions=True)


def unstarted_consumer() -> Any:
    """Serve makes one, and awaits its constructor."""
    return StreamConsumer.__new__(StreamConsumer)


async def test_a_stream_consumer_is_healthy_while_its_stores_hang(stuck: Stuck) -> None:
    args = ServeSettings().model_dump(mode="json")
    starting = asyncio.create_task(unstarted_consumer().__init__(args, stuck))
    await stuck.reached()
    await asyncio.sleep(0)
    assert stuck.holds
    stuck.let_go()
    with pytest.raises(RuntimeError, match="let go"):
        await starting


async def test_a_stream_consumer_is_healthy_while_the_controller_hangs(stuck: Stuck) -> None:
    def run() -> None:
        with suppress(Busy):
            HandleScorer().row_format()
        ended.wait()

    ended = Event()
    consumes = SimpleNamespace(
        run=run,
        counts={"scored": 0},
        stop=ended.set,
        metrics=ServeMetrics(),
    )
    consumer = unstarted_consumer()
    await consumer.__init__(ServeSettings().model_dump(mode="json"), lambda _: consumes)
    await stuck.reached()
    for _ in range(20):
        consumer.check_health()
        assert await consumer.counts() == {"scored": 0}
        await asyncio.sleep(0.001)
    assert stuck.holds
    stuck.let_go()
    await consumer.close()
