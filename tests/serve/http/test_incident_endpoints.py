"""What `/incidents`, `/silences` and `/rules` ask the monitor, and what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from serve.model.loaded import LoadedModel
from tests.serve.service import Reply, Service

TEN = datetime(2026, 11, 29, 10, tzinfo=UTC).timestamp()


class Monitor:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def __call__(self, method: str, *args: Any) -> Any:
        self.asked.append((method, *args))
        return {"done": method}


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def answering(model: LoadedModel, monitor: Monitor) -> Service:
    return Service(model, ask_monitor=monitor)


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("/incidents", b"", ("incidents", None, 50, None)),
        ("/incidents", b"state=open&limit=3", ("incidents", "open", 3, None)),
        ("/incidents", b"state=closed&next=i-9", ("incidents", "closed", 50, "i-9")),
        ("/incidents/i-1", b"", ("incident", "i-1")),
        ("/verdicts", b"", ("verdicts",)),
        ("/silences", b"", ("silences",)),
        ("/rules", b"", ("dismissal_rules",)),
    ],
)
async def test_what_is_read(
    answering: Service, monitor: Monitor, path: str, query: bytes, asked: tuple[Any, ...]
) -> None:
    reply = await answering.ask("GET", path, query=query)
    assert reply.status == 200
    assert monitor.asked == [asked]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"state=half", "state"),
        (b"limit=0", "limit must be 1 to 1000"),
        (b"limit=many", "limit"),
        (b"limit=1001", "limit must be 1 to 1000"),
        (b"colour=red", "no parameter 'colour'"),
        (b"\xff=\xfe", "no parameter"),
    ],
)
async def test_a_query_of_another_form_is_refused(
    answering: Service, monitor: Monitor, query: bytes, message: str
) -> None:
    reply = await answering.ask("GET", "/incidents", query=query)
    assert reply.status == 400
    assert message in reply.json["error"]["message"]
    assert monitor.asked == []


async def test_a_dismissal_may_make_a_rule(answering: Service, monitor: Monitor) -> None:
    rule = {"entity": None, "features": ["cpu"], "until": "2026-11-29T10:00:00Z"}
    body = {"verdict": "dismiss", "reason": "a backup", "rule": rule}
    assert (await answering.ask("POST", "/incidents/i-1/verdict", body)).status == 200
    (method, order) = monitor.asked[0]
    assert (method, order["incident"], order["verdict"]) == ("judge_incident", "i-1", "dismissed")
    assert order["rule"] == {"features": ["cpu"], "until": TEN, "entity": None}


async def test_a_silence_has_its_times_as_unix_seconds(
    answering: Service, monitor: Monitor
) -> None:
    body = {"from": "2026-11-29T10:00:00Z", "to": (TEN + 60) * 1000, "entity": "host-1"}
    assert (await answering.ask("POST", "/silences/add", body)).status == 200
    (method, order) = monitor.asked[0]
    assert (method, order["since"], order["until"]) == ("add_silence", TEN, TEN + 60)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/incidents/i-1/verdict", {}),
        ("/incidents/i-1/verdict", {"verdict": "shrug"}),
        ("/incidents/i-1/verdict", {"verdict": "confirm", "rule": True}),
        ("/incidents/i-1/verdict", {"verdict": "dismiss", "rule": {"until": "soon"}}),
        ("/incidents/i-1/verdict", {"verdict": "dismiss", "reason": "x" * 501}),
        ("/silences/add", {"from": 1}),
        ("/silences/add", {"from": "never", "to": 2}),
        ("/silences/add", {"from": 1, "to": 2, "entity": ""}),
        ("/silences/remove", {"id": ""}),
        ("/rules/remove", {"rule": "r1"}),
    ],
)
async def test_a_body_of_another_form_is_refused(
    answering: Service, monitor: Monitor, path: str, body: dict[str, Any]
) -> None:
    reply: Reply = await answering.ask("POST", path, body)
    assert reply.status == 400
    assert monitor.asked == []


@pytest.mark.parametrize(
    "path", ["/incidents/i-1/verdict", "/silences/add", "/silences/remove", "/rules/remove"]
)
async def test_a_page_of_another_site_changes_nothing(
    answering: Service, monitor: Monitor, path: str
) -> None:
    reply = await answering.ask("POST", path, {"id": "x"}, Origin="http://evil.example")
    assert reply.status == 403
    assert monitor.asked == []
