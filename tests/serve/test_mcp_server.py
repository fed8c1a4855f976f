"""`vigil mcp`: the official client of the protocol beside a double of the service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from serve.mcp_server import build_server
from tests.answering import Asked, answering
from vigil.service import Service

TABLE = Path(__file__).parent.parent / "data/telemetry.csv"
READ = {"status", "drift", "models", "incidents", "incident", "explain_row", "backtest"}
WRITE = {"promote", "rollback", "judge_incident"}
REFUSAL = "'reader' is not an operator"
OPERATOR = "Bearer operators-key"


class Double:
    """A service that knows one operator, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def answer(self, asked: Asked) -> tuple[int, Any]:
        body = json.loads(asked.body) if asked.body else None
        self.asked.append((asked.path, body))
        if asked.path == "/console/state":
            return 200, {"monitor": {"models": {"champion": "3"}}}
        if asked.path.startswith("/models/") and asked.headers.get("authorization") != OPERATOR:
            return 403, {"error": {"message": REFUSAL}}
        return 200, {"path": asked.path}


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def url(double: Double) -> Iterator[str]:
    with answering(double.answer) as found:
        yield found


@asynccontextmanager
async def assistant(
    url: str, key: str | None = None, *, with_writing: bool = False
) -> AsyncIterator[Client]:
    async with Client(build_server(Service(url, key), with_writing=with_writing)) as client:
        yield client


async def test_what_changes_something_is_no_tool_unless_it_was_asked_for(url: str) -> None:
    async with assistant(url) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == READ
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert all(tool.description for tool in tools)
    async with assistant(url, with_writing=True) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READ | WRITE


@pytest.mark.parametrize(
    ("tool", "arguments", "path", "body"),
    [
        ("status", {}, "/readyz", None),
        ("drift", {}, "/drift", None),
        ("incidents", {}, "/incidents?limit=20&state=open", None),
        ("incidents", {"state": "all", "limit": 5000}, "/incidents?limit=100", None),
        ("incident", {"incident_id": "../drift"}, "/incidents/..%2Fdrift", None),
        (
            "explain_row",
            {"features": {"cpu": 3.5, "proto": "6", "backup": True, "disk": None}},
            "/predict",
            {"features": {"cpu": 3.5, "proto": "6", "backup": True, "disk": None}},
        ),
    ],
)
async def test_each_tool_asks_the_service(
    double: Double, url: str, tool: str, arguments: dict[str, Any], path: str, body: Any
) -> None:
    async with assistant(url) as client:
        result = await client.call_tool(tool, arguments)
    assert result.structured_content == {"path": path}
    assert double.asked == [(path, body)]


async def test_models_are_those_that_the_monitor_knows(url: str) -> None:
    async with assistant(url) as client:
        result = await client.call_tool("models", {})
    assert result.structured_content == {"champion": "3"}


async def test_a_promotion_needs_the_key_of_an_operator(url: str) -> None:
    order = {"version": "3", "reason": "better"}
    async with assistant(url, with_writing=True) as client:
        refused = await client.call_tool("promote", order)
    assert refused.is_error
    assert REFUSAL in str(refused.content)
    async with assistant(url, "operators-key", with_writing=True) as client:
        done = await client.call_tool("promote", order)
    assert done.structured_content == {"path": "/models/promote"}


async def test_a_service_that_is_away_is_an_answer_that_says_so() -> None:
    async with assistant("http://127.0.0.1:9") as client:
        result = await client.call_tool("status", {})
    assert result.is_error
    assert "http://127.0.0.1:9 does not answer" in str(result.content)


async def test_a_backtest_runs_on_a_table_of_this_machine(url: str) -> None:
    async with assistant(url) as client:
        result = await client.call_tool("backtest", {"data": str(TABLE)})
        missing = await client.call_tool("backtest", {"data": "/nowhere.csv"})
    assert result.structured_content is not None
    assert result.structured_content["rows"] > 0
    assert missing.is_error
    assert "/nowhere.csv" in str(missing.content)
