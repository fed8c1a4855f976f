"""The console's files, its state at any number of consoles, and who may act."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from serve.http.api_keys import KeyRing
from serve.http.console import CONSOLE_FOLDER, console_routes
from serve.http.console_state import (
    MAX_POLL_S,
    MIN_POLL_S,
    POLLS_A_SECOND,
    ConsoleState,
    PollPace,
    StateLimits,
)
from serve.http.messages import Request, Response
from serve.metrics import ServeMetrics
from serve.model.loaded import LoadedModel
from tests.serve.service import Service
from tests.train.registry.test_promotion import Shelf
from vigil.errors import VigilError


@pytest.mark.parametrize(
    "path",
    ["/", "/console/console.css", "/console/console.js", "/console/vendor/uPlot.iife.min.js"],
)
async def test_the_page_needs_no_key_and_runs_only_its_own_files(
    model: LoadedModel, tmp_path: Path, path: str
) -> None:
    guarded = Service(model, auth="required", keys_file=tmp_path / "keys.json")
    reply = await guarded.ask("GET", path)
    assert reply.status == 200
    assert reply.headers["content-security-policy"].startswith(
        "default-src 'none'; script-src 'self';"
    )
    assert (reply.headers["x-content-type-options"], reply.headers["referrer-policy"]) == (
        "nosniff",
        "no-referrer",
    )
    packed = await guarded.ask("GET", path, Accept_Encoding="gzip, br")
    assert gzip.decompress(packed.body) == reply.body
    same = await guarded.ask("GET", path, If_None_Match=reply.headers["etag"])
    assert (same.status, same.body, "content-length" in same.headers) == (304, b"", False)
    assert (await guarded.ask("GET", "/console/state")).status == 401


def test_every_file_of_the_console_is_served() -> None:
    files = [file for file in CONSOLE_FOLDER.rglob("*") if file.is_file()]
    there = {file.relative_to(CONSOLE_FOLDER).as_posix() for file in files}
    served = {path.removeprefix("/console/") for path in console_routes()} - {"/"}
    assert there - served == {"index.html", "vendor/LICENSE", "vendor/README"}


class Monitor:
    """A monitor that is asked for its state, and the time that has passed since it began."""

    def __init__(self, limits: StateLimits) -> None:
        self.asked = 0
        self.is_away = False
        self.state = b'{"epoch": "e"}'
        self.slow: Awaitable[Any] | None = None
        self.now = 1000.0
        self.metrics = ServeMetrics()
        self._console = ConsoleState(
            ask=self._answer,
            facts=lambda: {"version": "7"},
            polls=self.metrics.console_polls,
            limits=limits,
            clock=lambda: self.now,
        )

    async def _answer(self) -> bytes:
        self.asked += 1
        if self.slow is not None:
            await self.slow
        if self.is_away:
            raise VigilError("the drift monitor does not answer (Gone); scoring goes on without it")
        return self.state

    async def poll(self, **headers: bytes) -> Response:
        """What a console gets; the time goes on by more than a state is good for."""
        self.now += 2.0
        return await self.poll_at_once(**headers)

    async def poll_at_once(self, **headers: bytes) -> Response:
        sent = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        return await self._console.answer(Request(sent))


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(StateLimits())


def header(response: Response, name: bytes) -> str:
    return dict(response.headers)[name].decode()


async def test_however_many_ask_the_monitor_is_asked_once(monitor: Monitor) -> None:
    monitor.slow = asyncio.sleep(0.05)
    responses = await asyncio.gather(*(monitor.poll_at_once() for _ in range(200)))
    responses += [await monitor.poll_at_once() for _ in range(200)]
    assert monitor.asked == 1
    assert len({response.body for response in responses}) == 1
    state = json.loads(responses[0].body)
    assert state == {"version": "7", "away": "", "monitor": {"epoch": "e"}}
    assert monitor.metrics.registry.get_sample_value("vigil_console_polls_total") == 400


async def test_what_has_not_changed_is_not_sent_again(monitor: Monitor) -> None:
    etag = header(await monitor.poll(), b"etag").encode()
    again = await monitor.poll(if_none_match=etag)
    assert (again.status, again.body) == (304, b"")
    assert {b"x-vigil-poll-s", b"x-vigil-time", b"x-vigil-age-s"} <= dict(again.headers).keys()
    monitor.state = b'{"epoch": "f"}'
    changed = await monitor.poll(if_none_match=etag, accept_encoding=b"gzip")
    assert changed.status == 200
    assert json.loads(gzip.decompress(changed.body))["monitor"] == {"epoch": "f"}


async def test_with_the_monitor_away_the_last_state_is_shown_with_its_age(monitor: Monitor) -> None:
    monitor.is_away = True
    before = json.loads((await monitor.poll()).body)
    assert (before["monitor"], before["version"]) == (None, "7")
    assert "does not answer" in before["away"]
    monitor.is_away = False
    assert json.loads((await monitor.poll()).body)["monitor"] == {"epoch": "e"}
    monitor.is_away = True
    monitor.now += 10.0
    response = await monitor.poll()
    state = json.loads(response.body)
    assert state["monitor"] == {"epoch": "e"}
    assert state["away"]
    assert header(response, b"x-vigil-age-s") == "12.0"


async def test_a_slow_monitor_holds_no_poll_that_can_be_answered() -> None:
    monitor = Monitor(StateLimits(timeout_s=0.01))
    await monitor.poll()
    never = asyncio.Event()
    monitor.slow = never.wait()
    polls = [monitor.poll() for _ in range(100)]
    responses = await asyncio.wait_for(asyncio.gather(*polls), 5)
    assert {response.status for response in responses} == {200}
    assert monitor.asked == 2
    never.set()


@pytest.mark.parametrize("consoles", [1, 30, 1000])
def test_a_thousand_consoles_poll_no_more_often_than_allowed(consoles: int) -> None:
    pace, polls = PollPace(), 0
    due = [k / consoles for k in range(consoles)]  # all opened within the first second
    for step in range(3000):
        now = step / 10
        for k, at in enumerate(due):
            if at <= now:
                due[k] = now + pace.count(now) * (0.75 + 0.5 * ((k * 7919) % 101) / 101)
                polls += now >= 100
    assert MIN_POLL_S <= pace.poll_s <= MAX_POLL_S
    assert polls / 200 <= 1.5 * POLLS_A_SECOND
    assert pace.poll_s == pytest.approx(max(MIN_POLL_S, consoles / POLLS_A_SECOND), rel=0.4)
    pace.count(10_000.0)
    assert pace.count(20_000.0) == MIN_POLL_S


PROMOTE = {"version": "2", "reason": "because"}
ACTS: dict[str, dict[str, Any]] = {
    "/models/promote": PROMOTE,
    "/models/rollback": {"reason": "oh"},
    "/drift/mode": {"mode": "auto"},
}
FEEDBACK = {"labels": [{"request_id": "r", "anomaly": True}]}
JSON = "application/json"


def shelf() -> Shelf:
    made = Shelf()
    made.alias = {"champion": "1", "previous": "3"}
    return made


def acting(model: LoadedModel, **settings: Any) -> tuple[Service, Shelf]:
    """A service whose registry is in memory, of which one replica lags."""
    registry = shelf()

    async def ask_monitor(method: str, *args: Any) -> Any:
        return {method: args}

    async def refresh_replicas() -> list[dict[str, Any]]:
        return [
            {"replica": "r1", "version": registry.alias["champion"]},
            {"replica": "r2", "version": "1"},
        ]

    service = Service(
        model,
        registry,
        ask_monitor=ask_monitor,
        refresh_replicas=refresh_replicas,
        **settings,
    )
    return service, registry


async def test_an_operator_promotes_and_rolls_back_and_the_ledger_names_them(
    model: LoadedModel, tmp_path: Path
) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    service, registry = acting(model, auth="required", keys_file=ring.file)
    key = ring.new("ada", operator=True)
    reply = await service.ask("POST", "/models/promote", PROMOTE, X_API_Key=key)
    assert (reply.status, reply.json["version"], reply.json["lagging"]) == (200, "2", ["r2"])
    reply = await service.ask("POST", "/models/rollback", {"reason": "oh"}, X_API_Key=key)
    assert (reply.status, registry.alias["champion"]) == (200, "1")
    assert [(m.kind, m.to, m.actor, m.reason) for m in registry.moves()[:2]] == [
        ("rollback", "1", "ada", "oh"),
        ("promote", "2", "ada", "because"),
    ]
    reply = await service.ask("POST", "/models/promote", {"version": "99"}, X_API_Key=key)
    assert reply.status == 409


async def test_a_client_that_may_score_may_not_operate(model: LoadedModel, tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    service, registry = acting(model, auth="required", keys_file=ring.file)
    client, operator = ring.new("client"), ring.new("ada", operator=True)
    for path, body in ACTS.items():
        reply = await service.ask("POST", path, body, X_API_Key=client)
        assert reply.status == 403
        assert "--operator" in reply.json["error"]["message"]
        assert (await service.ask("POST", path, body)).status == 401
    assert registry.moves() == []
    assert (await service.ask("POST", "/feedback", FEEDBACK, X_API_Key=client)).status == 200
    assert (
        await service.ask("POST", "/drift/mode", {"mode": "auto"}, X_API_Key=operator)
    ).status == 200


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://vigil.example.com", "vigil.example.com", True),
        ("http://evil.example", "127.0.0.1:8000", False),
        ("http://localhost:3000", "localhost:8000", False),
        ("null", "127.0.0.1:8000", False),
        (
            "http://evil.example:8000",
            "evil.example:8000",
            False,
        ),  # DNS rebinding: its name has our address
        ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", False),
        ("http://[::1", "[::1", False),
    ],
)
async def test_without_keys_only_its_own_page_may_act(
    model: LoadedModel, origin: str | None, host: str, may: bool
) -> None:
    service, registry = acting(model, hosts="vigil.example.com, other")
    headers = {"Host": host} | ({"Origin": origin} if origin else {})
    for path, body in {**ACTS, "/feedback": FEEDBACK}.items():
        assert (await service.ask("POST", path, body, **headers)).status == (200 if may else 403)
    assert bool(registry.moves()) is may


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_what_a_foreign_page_can_send_without_asking_is_not_read(
    model: LoadedModel, kind: str
) -> None:
    service, registry = acting(model)
    for path, body in ACTS.items():
        assert (
            await service.ask("POST", path, json.dumps(body).encode(), Content_Type=kind)
        ).status == 415
    assert registry.moves() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"version": 2}',
        b'{"version": "2; drop"}',
        b'{"version": "0"}',
        b'{"version": "2", "more": 1}',
        b'{"version": "2", "reason": "' + b"x" * 501 + b'"}',
    ],
)
async def test_malformed_promotions(model: LoadedModel, body: bytes) -> None:
    service, registry = acting(model)
    assert (await service.ask("POST", "/models/promote", body, Content_Type=JSON)).status == 400
    assert registry.moves() == []
