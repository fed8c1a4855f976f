"""The load generator: a process of its own, with the standard library only.

One thread waits on all connections at once. `python load.py` reads a plan as JSON on standard
input and prints what it saw as JSON. It must cost little, as it shares the cores with what it
measures: the requests are ready bytes, and of an answer only status and length are read.
"""

from __future__ import annotations

import base64
import json
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any


class LoadFailed(RuntimeError):
    """The server went away under the load."""


@dataclass(frozen=True)
class Load:
    """What one run saw after its warm-up; latencies in milliseconds."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu: float  # share of one core that the generator itself used
    first_failure: str = ""

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return (self.requests - self.failed) / self.seconds if self.seconds else 0.0


def request(path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """One HTTP/1.1 POST as it goes over the wire; JSON unless `headers` name another type."""
    named = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        **dict(headers),
        "content-length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def measure(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float, most: int = 1_000_000
) -> Load:
    """Send `requests` round and round in a process of its own.

    It ends when `most` are answered or `seconds` are over.
    """
    plan = {
        "port": port,
        "connections": connections,
        "seconds": seconds,
        "warmup": min(2.0, seconds / 4),
        "most": most,
        "requests": [base64.b64encode(one).decode() for one in requests],
    }
    command = [sys.executable, "-S", __file__]
    ran = subprocess.run(
        command,
        input=json.dumps(plan).encode(),
        capture_output=True,
        timeout=seconds * 3 + 120,
        check=False,
    )
    if ran.returncode:
        raise LoadFailed(f"the load generator failed: {ran.stderr.decode(errors='replace')[-500:]}")
    return Load(**json.loads(ran.stdout))


@dataclass
class _Connection:
    """One request at a time on a kept-alive connection."""

    socket: socket.socket
    began: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)

    @classmethod
    def open(cls, port: int) -> _Connection:
        opened = socket.create_connection(("127.0.0.1", port), timeout=60)
        opened.settimeout(None)  # a socket with a timeout polls before each call
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(opened)

    def send(self, message: bytes) -> None:
        self.buffer.clear()
        self.began = time.perf_counter()
        self.socket.sendall(message)

    def receive(self) -> int | None:
        """The status of the answer, or None while it is not complete.

        It is 0 when the connection broke.
        """
        try:
            chunk = self.socket.recv(262_144)
        except OSError:
            chunk = b""
        self.buffer += chunk
        return answered(self.buffer) if chunk else 0

    @property
    def closing(self) -> bool:
        return b"\r\nconnection: close" in self.buffer[:400].lower()


def answered(buffer: bytearray) -> int | None:
    """The status of a complete answer, or None while a part is missing.

    Understands Content-Length and chunks.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        complete = len(buffer) >= end + 4 + length
    else:
        complete = b"\r\ntransfer-encoding: chunked" not in head or buffer.endswith(
            b"\r\n0\r\n\r\n"
        )
    return int(head[9:12]) if complete else None


class _Run:
    """One plan, carried out in this process."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._messages = cycle([base64.b64decode(one) for one in plan["requests"]])
        self._port = plan["port"]
        self._selector = selectors.DefaultSelector()
        self._took: list[float] = []
        self._failed, self._failure = 0, ""
        for _ in range(plan["connections"]):
            self._connect()

    def _connect(self) -> None:
        connection = _Connection.open(self._port)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(next(self._messages))

    def until(self, end: float, most: float) -> float:
        """Keep all connections busy until `end` or `most` answers; return the seconds spent."""
        self._took, self._failed = [], 0
        now = began = time.perf_counter()
        while now < end and len(self._took) + self._failed < most:
            for key, _ in self._selector.select(1.0):
                status = key.data.receive()
                now = time.perf_counter()
                if status is not None:
                    self._note(key.data, status, now - key.data.began)
                    self._next(key.data, broken=status == 0)
            now = time.perf_counter()
        return now - began

    def _note(self, connection: _Connection, status: int, took: float) -> None:
        if status == 200:
            self._took.append(took)
        else:
            self._failed += 1
            self._failure = (
                self._failure
                or bytes(connection.buffer[:400]).decode(errors="replace")
                or "the connection was closed"
            )

    def _next(self, connection: _Connection, *, broken: bool) -> None:
        if broken or connection.closing:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._connect()
        else:
            connection.send(next(self._messages))

    def load(self, seconds: float, cpu: float) -> Load:
        return summary(self._took, self._failed, seconds, cpu / seconds, self._failure)


def run(plan: dict[str, Any]) -> Load:
    """Warm up, then measure."""
    made = _Run(plan)
    made.until(time.perf_counter() + plan["warmup"], float("inf"))
    cpu = _cpu()
    seconds = made.until(time.perf_counter() + plan["seconds"], plan["most"])
    return made.load(seconds, _cpu() - cpu)


def summary(took: list[float], failed: int, seconds: float, cpu: float, failure: str = "") -> Load:
    """The figures of one run from its latencies in seconds."""
    took = sorted(took)

    def quantile(share: float) -> float:
        return (
            round(took[min(len(took) - 1, int(share * len(took)))] * 1e3, 3)
            if took
            else float("nan")
        )

    return Load(
        len(took) + failed,
        failed,
        round(seconds, 3),
        quantile(0.5),
        quantile(0.99),
        round(cpu, 3),
        failure,
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(vars(run(json.load(sys.stdin)))))
