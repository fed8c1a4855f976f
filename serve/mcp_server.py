"""`vigil mcp`: the running service as tools of the Model Context Protocol, for assistants.

It asks the service over HTTP, as every other client does: the service decides who may do what.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec
from urllib.parse import quote, urlencode

import click

from vigil.errors import VigilError
from vigil.json_types import JsonObject
from vigil.service import Service, ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import report_errors

if TYPE_CHECKING:
    from mcp.server import MCPServer  # imported where it is used: only this command needs it

MAX_INCIDENTS = 100
BACKTEST_TIMEOUT_S = 600.0
_MOVE_TIMEOUT_S = 60.0  # of a promotion, which waits for the replicas
_INSTRUCTIONS = (
    "Vigil watches rows of values for anomalies. Begin with `status` and `incidents`; an incident "
    "names the features that explain it. A score is in (0, 1], higher is more anomalous."
)

_Value = float | bool | str | None  # number, truth value, word of a category, missing
Row = dict[str, _Value] | list[_Value]
_P = ParamSpec("_P")
_Tool = Callable[_P, JsonObject]


class ReadTools:
    """What an assistant may look at; each method is a tool, its docstring what the tool says."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def status(self) -> JsonObject:
        """Whether the service is ready, and which model version answers."""
        return self._service.get("/readyz")

    def drift(self) -> JsonObject:
        """What the drift monitor sees: verdict, features that moved, episode, retraining."""
        return self._service.get("/drift")

    def models(self) -> JsonObject:
        """The latest model versions, their gates, the champion, and the ledger of its moves."""
        state = self._service.get("/console/state").get("monitor") or {}
        return state.get("models") or {}

    def incidents(
        self,
        state: Literal["open", "closed", "all"] = "open",
        limit: int = 20,
    ) -> JsonObject:
        """Incidents, the latest first: when, how grave, which entities and features."""
        query: dict[str, Any] = {"limit": max(1, min(limit, MAX_INCIDENTS))}
        if state != "all":
            query["state"] = state
        return self._service.get(f"/incidents?{urlencode(query)}")

    def incident(self, incident_id: str) -> JsonObject:
        """One incident: observed and expected values, its worst rows, what people said of it."""
        return self._service.get(f"/incidents/{quote(incident_id, safe='')}")

    def explain_row(self, features: Row) -> JsonObject:
        """Score one row, by names of features or in their order, and say why it scores so."""
        return self._service.post("/predict", body={"features": features})

    def backtest(self, data: str, time_column: str = "") -> JsonObject:
        """Which incidents people would have been told of, had Vigil watched this table.

        data: path of a table on this machine. It takes a minute for a million rows.
        """
        command = [sys.executable, "-m", "vigil", "backtest", "--json", "--data", data]
        if time_column:
            command += ["--time", time_column]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=BACKTEST_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise VigilError((done.stdout + done.stderr).strip()[-2000:])
        return json.loads(done.stdout)


class WriteTools:
    """What an operator's assistant may do; the service asks for an operator's key."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def promote(self, version: str, reason: str) -> JsonObject:
        """Make a model version the champion: every replica serves it from then on."""
        return self._move("/models/promote", {"version": version, "reason": reason})

    def rollback(self, reason: str) -> JsonObject:
        """Make the former champion champion again."""
        return self._move("/models/rollback", {"reason": reason})

    def judge_incident(
        self,
        incident_id: str,
        verdict: Literal["confirm", "dismiss"],
        reason: str,
    ) -> JsonObject:
        """Say of an incident whether something was wrong (confirm) or not (dismiss)."""
        path = f"/incidents/{quote(incident_id, safe='')}/verdict"
        return self._service.post(path, body={"verdict": verdict, "reason": reason})

    def _move(self, path: str, order: JsonObject) -> JsonObject:
        return self._service.post(path, _MOVE_TIMEOUT_S, order)


_READING = ("status", "drift", "models", "incidents", "incident", "explain_row", "backtest")
_WRITING = ("promote", "rollback", "judge_incident")


def build_server(service: Service, *, with_writing: bool) -> MCPServer[Any]:
    """Return the server of a service; tools that change something only `with_writing`."""
    from mcp.server import MCPServer
    from mcp_types import ToolAnnotations

    server: MCPServer[Any] = MCPServer("vigil", instructions=_INSTRUCTIONS)
    reading = ReadTools(service)
    for name in _READING:
        hints = ToolAnnotations(read_only_hint=True)
        server.add_tool(_as_tool(getattr(reading, name)), annotations=hints)
    if with_writing:
        writing = WriteTools(service)
        for name in _WRITING:
            hints = ToolAnnotations(read_only_hint=False, destructive_hint=True)
            server.add_tool(_as_tool(getattr(writing, name)), annotations=hints)
    return server


def _as_tool(method: _Tool[_P]) -> _Tool[_P]:
    """The method as a tool: what Vigil refuses is an answer that the assistant can read."""
    from mcp.server.mcpserver.exceptions import ToolError

    @wraps(method)
    def tool(*args: _P.args, **kwargs: _P.kwargs) -> JsonObject:
        try:
            return method(*args, **kwargs)
        except VigilError as error:
            raise ToolError(str(error)) from error

    return tool


@click.command("mcp")
@click.option(
    "--operate",
    is_flag=True,
    help="also tools that promote, roll back and judge; the service asks for an operator's key",
)
@service_options
@report_errors
def mcp_command(operate: bool, service: ServiceOptions) -> None:
    """Serve assistants over stdin and stdout: status, incidents, drift, models, reasons, backtest.

    Read-only, unless --operate is given.
    """
    found = service.require(HomeSettings().open())
    build_server(found, with_writing=operate).run("stdio")
