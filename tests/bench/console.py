"""`make bench ARGS=console`: predictions a second with no console open, one, and a thousand.

They take turns, and with one open the metrics are scraped. The CPU that one takes is measured
too. Both vary by more than the console costs; so what it and counting take is measured alone as
well: the CPU of a platform that nobody asks for predictions, with one console open and without,
and of the counters of one answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import timeit
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from serve.local.telemetry import telemetry
from serve.metrics import ServeMetrics
from tests.bench import consoles, under_test
from tests.bench.load import Load, measure, request
from tests.bench.report import Ratio, markdown, measured, over
from vigil.terminal import say

ROWS, CONNECTIONS, ROUNDS, MANY = 2_000, 16, 5, 1_000
ALONE_ROUNDS, ALONE_S, COUNTED = 4, 30.0, 100_000
SETTLE_S, SCRAPE_S = 12.0, 15.0  # all of them have asked, and were told how long to wait
NONE, ONE, THOUSAND = "no console", "one console, metrics scraped", f"{MANY} consoles"


class Found:
    """Runs by what was open, and what the consoles saw."""

    def __init__(self) -> None:
        self.loads: dict[str, list[Load]] = {NONE: [], ONE: [], THOUSAND: []}
        self.cpu_ms: dict[str, list[float]] = {
            NONE: [],
            ONE: [],
            THOUSAND: [],
        }  # a prediction, by all that answers
        self.consoles: dict[str, list[dict[str, Any]]] = {NONE: [], ONE: [], THOUSAND: []}
        self.alone: dict[str, list[float]] = {
            NONE: [],
            ONE: [],
            THOUSAND: [],
        }  # of a core, without predictions
        self.counting_ms = 0.0  # CPU to count one answer

    def rate(self, name: str) -> float | None:
        return median(load.rate for load in self.loads[name]) if self.loads[name] else None

    def cpu(self, name: str) -> float | None:
        return median(self.cpu_ms[name]) if self.cpu_ms[name] else None


def run(seconds: float) -> Found:
    """Start the platform on built-in telemetry, measure in turns, stop it."""
    found, table = Found(), telemetry(6_000, seed=1)
    rows = telemetry(ROWS, seed=2).X
    messages = [
        request("/predict", json.dumps({"features": row.tolist()}).encode()) for row in rows
    ]
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as name:
        np.savez(Path(name) / "rows.npz", train=table.X)
        with under_test.vigil(Path(name) / "home", Path(name) / "rows.npz") as running:
            for _ in range(ROUNDS):
                for what in (NONE, ONE, THOUSAND):
                    with _opened(running.port, what, found):
                        load, spent = running.answering(
                            lambda: measure(
                                running.port, messages, connections=CONNECTIONS, seconds=seconds
                            )
                        )
                    found.cpu_ms[what].append(1e3 * spent / load.rate)
                    say(
                        f"{what}: {load.rate:.0f} requests/s, p99 {load.p99_ms} ms, "
                        f"{load.failed} failed"
                    )
                    found.loads[what].append(load)
            for what in (NONE, ONE) * ALONE_ROUNDS:
                with _opened(running.port, what, found):
                    _, spent = running.answering(lambda: time.sleep(ALONE_S))
                found.alone[what].append(spent)
                say(f"{what}, no predictions: {spent:.2%} of a core")
    found.counting_ms = _counting_ms()
    return found


def _counting_ms() -> float:
    """CPU milliseconds that counting one answer takes."""
    metrics = ServeMetrics()
    ok = metrics.requests.labels("ok")

    def count() -> None:  # what serve/http/gateway.py and serve/http/scoring.py do for each
        ok.inc()
        metrics.latency.observe(0.0003)
        metrics.rows.inc(1)

    return (
        1e3 * min(timeit.repeat(count, number=COUNTED, repeat=5, timer=time.process_time)) / COUNTED
    )


@contextmanager
def _opened(port: int, what: str, found: Found) -> Iterator[None]:
    """So many consoles in a process of their own; with one, /metrics is scraped.

    One alone is told to wait the least, whatever was said to a thousand before.
    """
    if what == NONE:
        yield
        return
    number = ["1", "2"] if what == ONE else [str(MANY)]
    command = [sys.executable, "-S", consoles.__file__, str(port), *number]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        time.sleep(SETTLE_S if what == THOUSAND else 1.0)
        with _scraped(port) if what == ONE else nullcontext():
            yield
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=30)
    found.consoles[what].append(json.loads(out))


@contextmanager
def _scraped(port: int) -> Iterator[None]:
    """/metrics is asked as Prometheus does."""
    over_ = threading.Event()

    def scrape() -> None:
        wait_s = SCRAPE_S / 3
        while not over_.wait(wait_s):
            wait_s = SCRAPE_S
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over_.set()
        thread.join()


def ratios(found: Found) -> list[Ratio]:
    """The figures that must hold, with their bounds."""
    none, cpu = found.rate(NONE), found.cpu(NONE)
    alone, counting = (
        median(found.alone[ONE]) - median(found.alone[NONE]),
        over(found.counting_ms, cpu),
    )
    whole = None if counting is None else counting + max(alone, 0.0)
    failed = sum(load.failed for loads in found.loads.values() for load in loads)
    asked = [seen["failed"] for all_ in found.consoles.values() for seen in all_]
    return [
        Ratio(
            "requests/s with one console and metrics scraped over none",
            over(found.rate(ONE), none),
            0.98,
        ),
        Ratio(f"requests/s with {MANY} consoles over none", over(found.rate(THOUSAND), none), 0.9),
        Ratio(
            "CPU of a prediction, one console and metrics scraped over none",
            over(found.cpu(ONE), cpu),
            1.02,
            at_least=False,
        ),
        Ratio(
            f"CPU of a prediction, {MANY} consoles over none",
            over(found.cpu(THOUSAND), cpu),
            1.1,
            at_least=False,
        ),
        Ratio(
            "CPU of counting over a prediction's, and of a core by one console and scraping",
            whole,
            0.02,
            at_least=False,
        ),
        Ratio("predictions that failed", float(failed), 0, at_least=False, unit=""),
        Ratio("polls that failed", float(sum(asked)), 0, at_least=False, unit=""),
    ]


def figures(found: Found) -> list[dict[str, Any]]:
    """One row for each number of consoles: medians over its runs, sums of their own counts."""
    made = []
    for name, loads in found.loads.items():
        seen = found.consoles[name]
        rates = [load.rate for load in loads]
        made.append(
            {
                "open": name,
                "requests/s": round(median(rates)),
                "runs": f"{min(rates):.0f} to {max(rates):.0f}",
                "CPU ms a prediction": round(median(found.cpu_ms[name]), 4),
                "p99 ms": median(load.p99_ms for load in loads),
                "failed": sum(load.failed for load in loads),
                "% of a core alone": round(100 * median(found.alone[name]), 2)
                if found.alone[name]
                else "",
                "polls": sum(one["polls"] for one in seen),
                "polls failed": sum(one["failed"] for one in seen),
                "told to wait s": max((one["poll_s"] for one in seen), default=0.0),
            }
        )
    return made


def page(rows: list[dict[str, Any]], found: list[Ratio]) -> str:
    """The section of docs/benchmarks.md, of `figures` and `ratios`."""
    return f"""{measured("console")}

{markdown([ratio.row() for ratio in found])}

{markdown(rows)}

One replica behind HAProxy, one row a request over {CONNECTIONS} connections of a load generator
on the same cores; {ROUNDS} rounds, medians, in turn. A rate varies by more from run to run than a
console costs, so its cost is measured alone as well: of a platform that nobody asks for
predictions, the CPU of replicas, monitor and proxy with one console open, which asks every two
seconds, and /metrics scraped every {SCRAPE_S:.0f} s, less that without; to it is added the CPU of
counting one answer as a share of a prediction's. Of {MANY} consoles each is told to wait so long
that together they ask as often as a few.
"""
