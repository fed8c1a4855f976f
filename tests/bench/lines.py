"""`make bench ARGS=lines`: rows a second over one connection beside one row a request.

One replica; they take turns, so a machine that others use is then as busy for each of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import psutil

from tests.bench.line_load import measure_stream
from tests.bench.load import measure, request
from tests.bench.report import Ratio, markdown, measured, over
from tests.bench.under_test import ENVIRONMENT, REPLICA
from tests.running import ROOT, Vigil, eventually, free_port, listening
from vigil.terminal import say

FEATURES, TRAINING_ROWS, ROUNDS = 30, 6_000, 3
CONNECTIONS = 16
MANY_ROWS = 100  # of one message of gRPC
TITLE = "Lines and gRPC"
SINGLE = f"one row a request, {CONNECTIONS} connections"
LINES = "lines, one connection"
ONE_A_MESSAGE = "gRPC stream, one row a message"
MANY_A_MESSAGE = f"gRPC stream, {MANY_ROWS} rows a message"
AT_ONCE = "gRPC stream of a server that only answers, one row a message"


@dataclass
class Rates:
    """Rows a second by what was run, CPU of its server for a row, and how busy the machine was."""

    rows: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)

    def rate(self, name: str) -> float | None:
        rates = self.rows.get(name)
        return median(rates) if rates else None


@dataclass(frozen=True)
class Peer:
    """A server of gRPC beside Vigil."""

    address: str
    process: psutil.Process


def ratios(found: Rates) -> list[Ratio]:
    """The figures that must hold, with their bounds."""
    single, lines = found.rate(SINGLE), found.rate(LINES)
    return [
        Ratio("lines, one connection, one replica", lines, 100_000, unit="rows/s"),
        Ratio("lines over one row a request", over(lines, single), 15),
        Ratio(
            "gRPC stream, one row a message, over one row a request by HTTP",
            over(found.rate(ONE_A_MESSAGE), single),
            8,
        ),
        Ratio(
            f"gRPC stream, {MANY_ROWS} rows a message, over one row a request by HTTP",
            over(found.rate(MANY_A_MESSAGE), single),
            8,
        ),
    ]


def figures(found: Rates) -> list[dict[str, Any]]:
    """A row for each of the runs: medians, and from which to which."""
    return [
        {
            "over": name,
            "rows/s": f"{median(rates):,.0f}",
            "from run to run": f"{min(rates):,.0f} to {max(rates):,.0f}",
            "CPU of the server a row": f"{median(found.cpu_us[name]):.1f} us",
            "failed": found.failed[name],
        }
        for name, rates in found.rows.items()
    ]


def run(seconds: float) -> Rates:
    """Start a platform, and let the runs take turns."""
    found = Rates()
    rows = np.random.default_rng(0).normal(size=(TRAINING_ROWS, FEATURES))
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as name:
        data = Path(name) / "rows.csv"
        pd.DataFrame(rows, columns=[f"f{i}" for i in range(FEATURES)]).to_csv(data, index=False)
        environment = {
            **ENVIRONMENT,
            "VIGIL_SERVE_GRPC_PORT": str(free_port()),
            "VIGIL_SERVE_AUTH": "off",
        }
        vigil = Vigil(Path(name) / "home", free_port(), environment)
        with vigil.running(data, "--over-time", "none"), _answering_at_once() as peer:
            for _ in range(ROUNDS):
                _take_turns(vigil, peer, found, rows=rows[:2000], seconds=seconds / 2)
    return found


@contextmanager
def _answering_at_once() -> Iterator[Peer]:
    """A server of gRPC in which nothing is done, for the length of a block."""
    port = free_port()
    arguments = [sys.executable, "-m", "tests.bench.peer_stream", str(port)]
    process = subprocess.Popen(arguments, cwd=ROOT)
    try:
        eventually(lambda: port in listening())
        yield Peer(f"127.0.0.1:{port}", psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def _take_turns(
    vigil: Vigil,
    peer: Peer,
    found: Rates,
    *,
    rows: np.ndarray,
    seconds: float,
) -> None:
    singles = [request("/predict", json.dumps({"features": row}).encode()) for row in rows.tolist()]

    def single() -> tuple[float, int, int]:
        load = measure(vigil.port, singles, connections=CONNECTIONS, seconds=seconds)
        return load.rate, load.requests, load.failed

    def stream(kind: str, address: str, size: int) -> Callable[[], tuple[float, int, int]]:
        def measured_stream() -> tuple[float, int, int]:
            answered = measure_stream(
                kind, address, features=FEATURES, seconds=seconds, rows_a_message=size
            )
            return answered.rate, answered.rows, answered.failed

        return measured_stream

    grpc = vigil.platform.grpc or ""
    turns = {
        SINGLE: single,
        LINES: stream("lines", f"127.0.0.1:{vigil.port}", 1),
        ONE_A_MESSAGE: stream("grpc", grpc, 1),
        MANY_A_MESSAGE: stream("grpc", grpc, MANY_ROWS),
    }
    for name, turn in turns.items():
        _note(found, name, turn, lambda: _cpu_seconds(vigil.processes(REPLICA)))
    _note(found, AT_ONCE, stream("grpc", peer.address, 1), lambda: _cpu_seconds([peer.process]))


def _note(
    found: Rates,
    name: str,
    turn: Callable[[], tuple[float, int, int]],
    cpu_seconds: Callable[[], float],
) -> None:
    found.busy.append(os.getloadavg()[0])
    before = cpu_seconds()
    rate, rows, failed = turn()
    cpu_us = (cpu_seconds() - before) / max(rows, 1) * 1e6
    say(f"{name}: {rate:,.0f} rows/s, {cpu_us:.1f} us of the server's CPU a row, {failed} failed")
    found.rows.setdefault(name, []).append(rate)
    found.cpu_us.setdefault(name, []).append(cpu_us)
    found.failed[name] = found.failed.get(name, 0) + failed


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def page(found: Rates) -> str:
    """The section of docs/benchmarks.md."""
    busy = f"{min(found.busy):.0f} to {max(found.busy):.0f}"
    rows = [ratio.row() for ratio in ratios(found)]
    return (
        f"{measured('lines')} One replica, {FEATURES} features, {ROUNDS} rounds in turns. "
        f"Before a run {busy} processes wanted a core: replica, proxy, monitor and client share "
        "the cores with them. The server's CPU for a row has the warm-up of each run in it. "
        "The server that only answers is Python's gRPC without Serve and without a model: the most "
        "that a message a row can give.\n\n"
        f"{markdown(rows)}\n\n{markdown(figures(found))}\n"
    )
