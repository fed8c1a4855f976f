"""The monitor's event loop waits for nobody.

Controller, registry and the store of its state hang, and it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drift.loops import Pace
from drift.monitor import DriftMonitor
from drift.view.report import EpisodeReport
from serve.model import handles
from tests.stuck import Stuck
from train.registry.versions import Desired, Version
from vigil.errors import RegistryUnavailable

Start = Callable[..., Awaitable[Any]]
CHAMPION = Version("1", "run", "d" * 64, 0.0)


class Stored:
    """The monitor's state, in memory."""

    def __init__(self) -> None:
        self.document: Any = None

    def acquire_lease(self) -> bool:
        return True

    def load(self) -> Any:
        return self.document

    def save(self, document: dict[str, Any]) -> None:
        self.document = document

    def release(self) -> None: ...


class Quiet:
    """A registry in which nothing ever happens; what a test puts into it hangs."""

    def desired(self) -> Desired:
        return Desired()

    def moves(self, most: int | None = None) -> list[Any]:
        return []

    def latest(self, most: int) -> list[Any]:
        return []

    def log_report(self, *report: str) -> None: ...


@pytest.fixture
def world() -> SimpleNamespace:
    """The registry, the store and the pace of the next monitor."""
    pace = Pace(registry=0.001, canary=0.001, mirror=0.001, refresh_timeout=10.0)
    return SimpleNamespace(registry=Quiet(), store=Stored(), pace=pace)


@pytest.fixture
async def start(world: SimpleNamespace, tmp_path: Path) -> AsyncIterator[Start]:
    """await start(): a monitor as Serve makes one."""
    made: list[Any] = []

    async def starting() -> Any:
        monitor: Any = DriftMonitor.__new__(DriftMonitor)
        await monitor.__init__({"home": tmp_path}, **vars(world))
        made.append(monitor)
        return monitor

    yield starting
    for monitor in made:
        for task in monitor._tasks:
            task.cancel()
        await asyncio.gather(*monitor._tasks, return_exceptions=True)


async def goes_on(stuck: Stuck, monitor: Any = None) -> None:
    """The loop turns, and Serve's question for health is answered, while somebody hangs."""
    await stuck.reached()
    for _ in range(20):
        await asyncio.sleep(0.001)
        if monitor is not None:
            monitor.check_health()
    assert stuck.holds


async def test_a_monitor_starts_beside_a_store_that_hangs(
    world: SimpleNamespace, start: Start
) -> None:
    world.store.acquire_lease = stuck = Stuck(True)
    starting = asyncio.ensure_future(start())
    await goes_on(stuck)
    stuck.let_go()
    (await starting).check_health()


REPORT = {
    "replica": "r",
    "pid": 1,
    "version": "1",
    "digest": "d",
    "since": 0.0,
    "told": [],
    "counts": [],
    "rows": [],
}
QUESTIONS = {
    "status": (),
    "exposition": (),
    "console": (),
    "count": ("consumer", [], []),
    "ingest": (REPORT,),
    "label": ([],),
    "switch": ("auto",),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_whoever_asks_while_the_state_is_written_waits_beside_the_loop(
    world: SimpleNamespace, start: Start, question: str
) -> None:
    monitor = await start()
    world.store.save = stuck = Stuck()
    writing = asyncio.ensure_future(monitor.switch("observe"))
    await stuck.reached()
    asking = asyncio.ensure_future(getattr(monitor, question)(*QUESTIONS[question]))
    await goes_on(stuck, monitor)
    assert not asking.done()
    stuck.let_go()
    await asyncio.gather(writing, asking)


async def test_the_lease_is_kept_beside_the_loop(world: SimpleNamespace, start: Start) -> None:
    monitor = await start()
    world.store.acquire_lease = stuck = Stuck(True)
    await goes_on(stuck, monitor)
    stuck.let_go()


@pytest.mark.parametrize("method", ["desired", "fetch", "moves", "latest", "log_report", "get"])
async def test_a_registry_that_hangs_stops_no_loop(
    world: SimpleNamespace, start: Start, method: str
) -> None:
    if method in ("fetch", "get"):
        world.registry.desired = lambda: Desired(CHAMPION)
    stuck = Stuck(RegistryUnavailable("it hung"))
    setattr(world.registry, method, stuck)
    monitor = await start()
    if method == "get":  # how the champion was trained is asked once it is followed
        monitor._watch.follow = lambda *_: None
        world.registry.fetch = lambda *_: None
    if method == "log_report":
        monitor._display.reports.put(EpisodeReport("episode", "page"))
    if method in ("moves", "latest"):
        await monitor.console()  # somebody looks
    await goes_on(stuck, monitor)
    stuck.let_go()


async def test_a_controller_that_hangs_stops_no_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(RuntimeError("it hung"))
    monkeypatch.setattr(handles.serve, "get_app_handle", stuck)
    monitor = await start()
    hurrying = asyncio.ensure_future(monitor._loops.refresh_replicas())
    await goes_on(stuck, monitor)
    assert not hurrying.done()
    stuck.let_go()
    await hurrying  # they look by themselves: it is no error


async def test_replicas_that_do_not_answer_hold_up_nothing_for_long(
    world: SimpleNamespace, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> list[Any]:
        await asyncio.Event().wait()
        return []

    handle = SimpleNamespace(
        is_initialized=True, broadcast=lambda _: SimpleNamespace(results_async=never)
    )
    monkeypatch.setattr(handles.serve, "get_app_handle", lambda name: handle)
    world.pace = Pace(refresh_timeout=0.01)
    await (await start())._loops.refresh_replicas()


async def test_replicas_are_told_of_news_and_again_while_one_is_behind(
    world: SimpleNamespace, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def answers() -> list[Any]:
        return []

    def broadcast(method: str) -> Any:
        told.append(method)
        return SimpleNamespace(results_async=answers)

    handle = SimpleNamespace(is_initialized=True, broadcast=broadcast)
    monkeypatch.setattr(handles.serve, "get_app_handle", lambda name: handle)
    desired = Desired()
    world.registry.desired = lambda: desired
    world.registry.fetch = Stuck(RegistryUnavailable("away"))
    world.registry.fetch.let_go()
    monitor = await start()
    await turns(world)
    assert told == []
    desired = Desired(schema="another")
    await turns(world)
    assert told == ["refresh"]
    desired = Desired(Version("2", "run", "d" * 64, 0.0))
    await monitor.ingest(REPORT)  # it serves version 1
    await turns(world)
    assert len(told) > 3


async def turns(world: SimpleNamespace) -> None:
    """Let the loop that follows the registry turn some times."""
    asked = 0
    real = world.registry.desired

    def counted() -> Desired:
        nonlocal asked
        asked += 1
        return real()

    world.registry.desired = counted
    async with asyncio.timeout(10):
        while asked < 10:
            await asyncio.sleep(0.001)
    world.registry.desired = real
