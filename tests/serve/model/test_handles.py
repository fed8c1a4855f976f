"""How handles are opened and kept: once, on their own loop, and anew when they lead nowhere."""

from __future__ import annotations

import ast
import asyncio
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serve.model.handles import Application, open_handle
from tests.stuck import Stuck

ROOT = Path(__file__).parents[3]


class Handle:
    """An open handle. `answers` are given one after the other, by value or raised."""

    is_initialized = True

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=self._answer)

    async def _answer(self, *args: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Handles:
    """Gives what it holds to those who ask for a handle, in order."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __call__(self, name: str) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_of_many_who_ask_one_opens_the_handle() -> None:
    stuck = Stuck(Handle(1, 2, 3))
    asked: list[str] = []

    def get(name: str) -> Any:
        asked.append(name)
        return stuck(name)

    application = Application("drift", get)
    hurried = asyncio.create_task(application.ask("status"))
    patient = [asyncio.create_task(application.ask("status")) for _ in range(2)]
    await stuck.reached()
    hurried.cancel()  # who gives up takes nothing from the others
    await asyncio.wait([hurried])
    stuck.let_go()
    assert sorted(await asyncio.gather(*patient)) == [1, 2]
    assert await application.ask("status") == 3
    assert asked == ["drift"]


async def test_an_application_that_is_not_there_yet_is_looked_for_again() -> None:
    application = Application("drift", Handles(RayServeException("does not exist"), Handle(7)))
    with pytest.raises(RayServeException):
        await application.ask("status")
    assert await application.ask("status") == 7


async def test_a_handle_that_leads_nowhere_is_opened_anew() -> None:
    deleted = Handle(1, RayServeException("deleted"), "never")
    application = Application("drift", Handles(deleted, Handle(2)))
    assert await application.ask("status") == 1
    with pytest.raises(RayServeException, match="deleted"):
        await application.ask("status")
    assert await application.ask("status") == 2


@pytest.mark.parametrize("error", [BackPressureError(1, 1), ValueError("its own"), TimeoutError()])
async def test_what_a_replica_says_is_no_reason_to_ask_the_controller(error: Exception) -> None:
    application = Application("drift", Handles(Handle(error, 2)))
    with pytest.raises(type(error)):
        await application.ask("status")
    assert await application.ask("status") == 2


def test_rays_own_handle_routes_on_a_loop_of_its_own() -> None:
    asked: list[Any] = []

    class Router:
        def __init__(self, handle_options: Any, **_: Any) -> None:
            asked.append(handle_options._run_router_in_separate_loop)

        def assign_request(self, *_: Any) -> Future[Any]:
            routed: Future[Any] = Future()
            routed.set_result(SimpleNamespace(get=lambda timeout_s: "answer"))
            return routed

    made: Any = Router
    handle: Any = DeploymentHandle("DriftMonitor", "drift", _create_router=made)
    get = Handles(handle, handle, handle)
    assert open_handle("drift", get) is open_handle("drift", get) is handle
    assert asked == [True]
    # So a thread may wait for an answer, which Ray refuses to those whose router shares their loop.
    assert Application("drift", get).wait_for(1.0, "status") == "answer"


def test_handles_are_opened_in_one_place() -> None:
    def opens(path: Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        names = {"get_app_handle", "get_deployment_handle"}
        return any(isinstance(node, ast.Attribute) and node.attr in names for node in nodes)

    found = [
        path
        for room in ("serve", "drift", "train")
        for path in (ROOT / room).glob("**/*.py")
        if opens(path)
    ]
    assert [path.name for path in found] == ["handles.py"]
