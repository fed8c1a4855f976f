"""Loads of one connection: lines over HTTP, and a stream of gRPC by tritonclient.

Each is a process of its own: `python -m tests.bench.line_load` reads a plan as JSON on standard
input and prints what it saw as JSON.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.load import LoadFailed

ROOT = Path(__file__).parent.parent.parent
FRAME_BYTES = 65_536
DISTINCT_ROWS = 2_000
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Answered:
    """What one run saw after its warm-up; client_cpu: share of one core."""

    rows: int
    failed: int
    seconds: float
    client_cpu: float

    @property
    def rate(self) -> float:
        """Answered rows a second."""
        return (self.rows - self.failed) / self.seconds


def measure_stream(
    kind: str,
    address: str,
    *,
    features: int,
    seconds: float,
    rows_a_message: int = 1,
) -> Answered:
    """Stream rows over one connection for so long: `kind` is `lines` or `grpc`."""
    plan = {
        "kind": kind,
        "address": address,
        "features": features,
        "seconds": seconds,
        "warmup": min(2.0, seconds / 4),
        "rows_a_message": rows_a_message,
    }
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.line_load"],
        input=json.dumps(plan).encode(),
        capture_output=True,
        timeout=seconds * 3 + 120,
        check=False,
        cwd=ROOT,
    )
    if ran.returncode:
        raise LoadFailed(f"the load generator failed: {ran.stderr.decode(errors='replace')[-500:]}")
    return Answered(**json.loads(ran.stdout))


class _Counter:
    """Rows that were answered since the end of the warm-up."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.begin = time.perf_counter() + plan["warmup"]
        self.end = self.begin + plan["seconds"]
        self.rows = self.failed = 0
        self._cpu: float | None = None
        self._last = self.begin

    def add(self, rows: int, failed: int) -> None:
        now = time.perf_counter()
        if self.begin <= now < self.end:
            if self._cpu is None:
                self._cpu, self.begin = _cpu(), now
                return
            self.rows += rows
            self.failed += failed
            self._last = now

    @property
    def is_over(self) -> bool:
        return time.perf_counter() >= self.end

    def found(self) -> Answered:
        seconds = self._last - self.begin
        cpu = (_cpu() - (self._cpu or 0.0)) / seconds
        return Answered(self.rows, self.failed, round(seconds, 3), round(cpu, 3))


def send_lines(plan: dict[str, Any]) -> Answered:
    """Send lines as fast as they are taken, and count the answers."""
    host, port = plan["address"].split(":")
    texts = [json.dumps({"features": row}) for row in _rows(plan).tolist()]
    body = "".join(f"{text}\n" for text in texts).encode()
    pieces = [body[at : at + FRAME_BYTES] for at in range(0, len(body), FRAME_BYTES)]
    frames = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n"
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        counter = _Counter(plan)
        sender = threading.Thread(target=_send_frames, args=(connection, frames, counter))
        sender.start()
        _count_lines(connection, counter)
        sender.join()
    return counter.found()


def _send_frames(connection: socket.socket, frames: list[bytes], counter: _Counter) -> None:
    while not counter.is_over:
        for frame in frames:
            connection.sendall(frame)
    connection.sendall(END)


def _count_lines(connection: socket.socket, counter: _Counter) -> None:
    buffer = bytearray(2**20)
    tail = b""
    while not tail.endswith(END):
        size = connection.recv_into(buffer)
        if not size:
            raise ConnectionError("the stream broke off")
        counter.add(buffer.count(b"}\n", 0, size), buffer.count(b'{"error"', 0, size))
        tail = (tail + bytes(buffer[max(0, size - len(END)) : size]))[-len(END) :]


def send_messages(plan: dict[str, Any]) -> Answered:
    """Send messages of some rows each over a stream of tritonclient, some of them in flight."""
    from tritonclient.grpc import InferenceServerClient, InferInput

    size = plan["rows_a_message"]
    X = _rows(plan)
    inputs = []
    for at in range(0, len(X) - size + 1, size):
        tensor = InferInput("features", [size, X.shape[1]], "FP64")
        tensor.set_data_from_numpy(X[at : at + size])
        inputs.append([tensor])
    counter = _Counter(plan)
    in_flight = threading.Semaphore(64)

    def answered(result: Any, error: Any) -> None:
        in_flight.release()
        counter.add(size, 0 if error is None else size)

    with InferenceServerClient(plan["address"]) as client:
        client.start_stream(answered)
        number = 0
        while not counter.is_over:
            in_flight.acquire()
            client.async_stream_infer("vigil", inputs[number % len(inputs)])
            number += 1
        client.stop_stream()
    return counter.found()


def _rows(plan: dict[str, Any]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(DISTINCT_ROWS, plan["features"]))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    given = json.load(sys.stdin)
    run = {"lines": send_lines, "grpc": send_messages}[given["kind"]]
    print(json.dumps(vars(run(given))))
