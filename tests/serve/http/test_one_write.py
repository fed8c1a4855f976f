"""Head and body of an answer leave together, and answers are what they would be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serve.http.door import Door
from serve.http.one_write import AnswerQueue
from tests.running import eventually, free_port

START = "http.response.start"
BODY = "http.response.body"
LOG = logging.getLogger("uvicorn.error")


class Sent(NamedTuple):
    writes: list[bytes]
    is_closed: bool


class Wire:
    """A transport that remembers what each write had."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.writes.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        self.is_closed = True


def cycle_of(wire: Any, **options: Any) -> RequestResponseCycle:
    """uvicorn's part of one request."""
    return RequestResponseCycle(
        scope={"type": "http", "method": "POST"},  # type: ignore[typeddict-item]
        transport=wire,
        flow=FlowControl(wire),
        logger=LOG,
        access_logger=LOG,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        on_response=lambda: None,
        **{"keep_alive": True, "expect_100_continue": False, **options},
    )


async def sent(*messages: dict[str, Any], keep_alive: bool = True) -> Sent:
    wire = Wire()
    queue = AnswerQueue()
    send: Any = queue.hold(cycle_of(wire, keep_alive=keep_alive).send)  # type: ignore[arg-type]
    for message in messages:
        await send(message)
    await asyncio.sleep(0)
    return Sent(wire.writes, wire.is_closed)


async def send_answer(queue: AnswerQueue, wire: Wire) -> None:
    """Send a whole answer, {}, through the queue."""
    send: Any = queue.hold(cycle_of(wire).send)  # type: ignore[arg-type]
    await send(head((b"content-length", b"2")))
    await send(part(b"{}"))


def head(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": START, "status": 200, "headers": list(headers)}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": BODY, "body": body, "more_body": more}


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_an_answer_is_one_write(keep_alive: bool) -> None:
    answer = await sent(head((b"content-length", b"2")), part(b"{}"), keep_alive=keep_alive)
    (write,) = answer.writes
    assert write.startswith(b"HTTP/1.1 200 OK\r\n")
    assert write.endswith(b"\r\n\r\n{}")
    assert answer.is_closed is not keep_alive


async def test_an_answer_of_unknown_length_begins_at_once() -> None:
    answer = await sent(head())
    assert len(answer.writes) == 1
    parts = await sent(head(), part(b"a", more=True), part(b"b"))
    assert parts.writes[1:] == [b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n"]


async def test_later_parts_of_a_known_length_follow() -> None:
    answer = await sent(head((b"content-length", b"2")), part(b"a", more=True), part(b"b"))
    assert len(answer.writes) == 2
    assert answer.writes[1] == b"b"


async def test_answers_of_one_turn_leave_at_its_end() -> None:
    queue = AnswerQueue()
    wires = [Wire(), Wire()]
    for wire in wires:
        await send_answer(queue, wire)
    assert [wire.writes for wire in wires] == [[], []]
    await asyncio.sleep(0)
    assert [len(wire.writes) for wire in wires] == [1, 1]


async def test_an_interim_answer_does_not_overtake_what_waits() -> None:
    queue = AnswerQueue()
    wire = Wire()
    await send_answer(queue, wire)
    assert wire.writes == []
    queue.hold(cycle_of(wire, expect_100_continue=True).send)  # type: ignore[arg-type]
    assert len(wire.writes) == 1


async def test_an_answer_in_parts_does_not_overtake_what_waits() -> None:
    queue = AnswerQueue()
    wire = Wire()
    await send_answer(queue, wire)
    second: Any = queue.hold(cycle_of(wire).send)  # type: ignore[arg-type]
    await second(head())
    assert wire.writes[0].endswith(b"{}")
    assert wire.writes[1].startswith(b"HTTP/1.1 200")


async def test_an_answer_to_a_client_that_went_away_is_let_go() -> None:
    queue = AnswerQueue()
    gone = Wire()
    here = Wire()
    for wire in (gone, here):
        await send_answer(queue, wire)
    gone.close()
    await asyncio.sleep(0)
    assert gone.writes == []
    assert len(here.writes) == 1


async def test_another_server_is_left_alone() -> None:
    async def send(message: Any) -> None:
        raise NotImplementedError

    assert AnswerQueue().hold(send) is send


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    await send(head((b"content-length", b"%d" % len(body))))
    await send(part(body))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """uvicorn as Serve runs it, with the door before an application that answers what it gets."""
    config = uvicorn.Config(
        Door(echo, in_replica=True),  # type: ignore[arg-type]
        port=free_port(),
        http="httptools",
        loop="none",
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await asyncio.to_thread(eventually, lambda: server.started)
    yield config.port
    server.should_exit = True
    await serving


async def test_answers_over_a_socket_are_whole_and_in_order(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    bodies = [b"%d" % number * 3 for number in range(5)]
    last = b"POST /predict HTTP/1.1\r\nconnection: close\r\ncontent-length: 3\r\n\r\nend"
    for body in bodies:
        writer.write(b"POST /predict HTTP/1.1\r\ncontent-length: 3\r\n\r\n" + body)
    writer.write(last)
    answer = await asyncio.wait_for(reader.read(), 10)
    answers = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [one.rpartition(b"\r\n\r\n")[2] for one in answers] == [*bodies, b"end"]
    writer.close()
