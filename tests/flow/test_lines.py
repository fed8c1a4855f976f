"""A stream of lines through the whole platform: HAProxy, Serve, a replica, and back."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest

from tests.running import Vigil

pytestmark = pytest.mark.platform
LINES = {"Content-Type": "application/x-ndjson"}
HELD_BYTES = 64 * 2**20  # of a client that does not read; most of it is in sockets' buffers


def rows(vigil: Vigil, count: int) -> list[list[float]]:
    features = vigil.get("/readyz")[1]["features"]
    return np.random.default_rng(0).uniform(0, 200, (count, len(features))).tolist()


def line(row: Any, **others: Any) -> bytes:
    return json.dumps({"features": row} | others).encode() + b"\n"


async def test_a_line_is_answered_before_the_next_is_sent(platform: Vigil) -> None:
    """Nobody between client and replica waits for more."""
    answered: asyncio.Queue[Any] = asyncio.Queue()
    given = rows(platform, 5)

    async def body() -> AsyncIterator[bytes]:
        for number, row in enumerate(given):
            yield line(row, id=f"r{number}")
            assert (await answered.get())["request_id"] == f"r{number}"

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{platform.url}/predict", data=body(), headers=LINES) as response,
    ):
        assert (response.status, response.content_type) == (200, LINES["Content-Type"])
        answers = []
        async for text in response.content:
            answers.append(json.loads(text))
            answered.put_nowait(answers[-1])
    expected = platform.post("/predict", {"instances": given})[1]
    assert [answer["anomaly_score"] for answer in answers] == expected["anomaly_score"]


async def test_many_lines_over_one_connection_and_some_are_bad(platform: Vigil) -> None:
    given = rows(platform, 20_000)
    texts = [line("nonsense") if i % 1000 == 7 else line(row) for i, row in enumerate(given)]

    async def body() -> AsyncIterator[bytes]:
        for begin in range(0, len(texts), 333):
            yield b"".join(texts[begin : begin + 333])

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{platform.url}/predict", data=body(), headers=LINES) as response,
    ):
        answers = [json.loads(text) async for text in response.content]
    refused = [answer["line"] for answer in answers if "error" in answer]
    assert refused == [i + 1 for i in range(len(given)) if i % 1000 == 7]
    expected = platform.post("/predict", {"instances": given})[1]["anomaly_score"]
    assert len(answers) == len(given)
    assert all(
        answer["anomaly_score"] == score
        for answer, score in zip(answers, expected, strict=True)
        if "error" not in answer
    )


def test_a_client_that_does_not_read_holds_no_memory_beyond_a_bound(platform: Vigil) -> None:
    replicas = platform.processes("ServeReplica:vigil:Detector")
    before = sum(_resident_bytes(process) for process in replicas)
    chunk = line(rows(platform, 1)[0]) * 1000
    frame = b"%x\r\n%s\r\n" % (len(chunk), chunk)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", platform.port), 5) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with suppress(TimeoutError):
            while sent < 10 * HELD_BYTES:
                client.sendall(frame)
                sent += len(frame)
        held = sum(_resident_bytes(process) for process in replicas) - before
    assert sent < HELD_BYTES
    assert held < HELD_BYTES
    assert platform.post("/predict", {"features": rows(platform, 1)[0]})[0] == 200


def _resident_bytes(process: psutil.Process) -> int:
    return process.memory_info().rss
