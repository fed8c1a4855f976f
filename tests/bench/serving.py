"""`make bench ARGS=serving`: Vigil over HTTP beside the do-nothing handler and other servers.

All in one run, with one forest.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.bench import peer_processes, under_test
from tests.bench.flame import SAMPLES_A_SECOND, flame_graph
from tests.bench.load import Load, LoadFailed, measure, request
from tests.bench.peer_processes import Model, Peer
from tests.bench.peers import PeerUnavailable
from tests.bench.report import Ratio, machine, markdown, over
from tests.bench.under_test import UnderTest
from tests.running import ROOT
from vigil.arrays import Floats
from vigil.terminal import say

FEATURES, TRAINING_ROWS, SINGLE_ROWS, BATCH_ROWS, BATCHES = 30, 6_000, 2_000, 1_000, 8
SINGLE, BATCH = "1 row", f"{BATCH_ROWS} rows"
SINGLE_CONNECTIONS, BATCH_CONNECTIONS = 16, 4
ROUNDS = 3
IDLE_S = 5.0
FLAMES_SVG = ROOT / "docs" / "images" / "replica-flames.svg"
UNWATCHED_HEADERS = [("x-request-disconnect-disabled", "?1"), ("x-request-timeout-seconds", "0")]
V2_PATH = "/v2/models/vigil/infer"
NOTHING, NOTHING_WATCHED, VIGIL, JSON, BINARY = (
    "do-nothing Serve handler",
    "do-nothing Serve handler, its clients watched",
    "Vigil /predict",
    "Vigil /v2 JSON",
    "Vigil /v2 binary",
)
WATCHED, UNWATCHED = "Vigil /predict, every row captured", "Vigil /predict, no row captured"
FASTAPI, MLFLOW, MLSERVER, CLIENT = (
    "FastAPI + scikit-learn",
    "MLflow models serve",
    "MLServer /v2 JSON",
    "load generator alone",
)
Rows = Floats


@dataclass
class Found:
    """What was measured.

    Runs by (rows a request, server), why a server has none, and what a replica costs.
    """

    loads: dict[tuple[str, str], list[Load]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    replica: dict[str, float] = field(default_factory=dict)
    load_before: float = 0.0  # processes that wanted a core, of whoever else uses the machine
    flames: str = ""  # of a replica that scores one row a request, as SVG

    def add(self, rows: str, server: str, load: Load) -> None:
        say(
            f"{server}, {rows}: {load.rate:.0f} requests/s, p50 {load.p50_ms} ms, "
            f"{load.failed} failed"
        )
        self.loads.setdefault((rows, server), []).append(load)

    def middle(self, rows: str, server: str, of: Callable[[Load], float]) -> float | None:
        """The median over the runs, or None without any.

        A run of which more than a request in a hundred failed is none.
        """
        runs = [
            of(load)
            for load in self.loads.get((rows, server), [])
            if load.failed * 100 <= load.requests
        ]
        return median(runs) if runs else None

    def rate(self, rows: str, server: str) -> float | None:
        return self.middle(rows, server, lambda load: load.rate)


def beside(server: str, peer: str) -> str:
    """The name of the runs of `server` that took turns with those of `peer`.

    Only these are compared.
    """
    return f"{server} (in turn with {peer})"


def ratios(found: Found) -> list[Ratio]:
    """The figures that must hold, with their bounds."""

    def rates(rows: str, ours: str, theirs: str) -> float | None:
        return over(found.rate(rows, ours), found.rate(rows, theirs))

    ours, nothing, by_default = (
        found.middle(SINGLE, server, lambda load: load.p50_ms)
        for server in (VIGIL, NOTHING, NOTHING_WATCHED)
    )
    plain, mlserver = (
        rates(SINGLE, beside(VIGIL, FASTAPI), FASTAPI),
        rates(BATCH, beside(JSON, MLSERVER), MLSERVER),
    )
    missing, watched = found.missing.get, rates(SINGLE, WATCHED, UNWATCHED)
    return [
        Ratio(
            "1 row, 16 connections: requests/s of Vigil over the do-nothing handler",
            rates(SINGLE, VIGIL, NOTHING),
            0.8,
        ),
        Ratio(
            "1 row, 16 connections: the same over one whose clients Serve watches, as by default",
            rates(SINGLE, VIGIL, NOTHING_WATCHED),
            0.8,
        ),
        Ratio(
            "1 row, 16 connections: p50 of Vigil over the do-nothing handler",
            over(ours, nothing),
            1.15,
            at_least=False,
        ),
        Ratio(
            "1 row, 16 connections: the same over one whose clients Serve watches",
            over(ours, by_default),
            1.15,
            at_least=False,
        ),
        Ratio(
            "1 row, 16 connections: requests/s of Vigil over FastAPI + scikit-learn",
            plain,
            35,
            note=missing(FASTAPI, ""),
        ),
        Ratio(
            "1,000 rows, JSON: rows/s of Vigil over MLServer",
            mlserver,
            3,
            note=missing(MLSERVER, ""),
        ),
        Ratio(
            "1,000 rows: rows/s of Vigil's OIP binary over its own JSON",
            rates(BATCH, BINARY, JSON),
            2,
        ),
        Ratio("1 row, 16 connections: requests/s with every row captured over none", watched, 0.97),
        Ratio(
            "resident memory of a replica",
            found.replica.get("rss_mb"),
            350,
            at_least=False,
            unit="MB",
        ),
        Ratio(
            "new replica: from Ray's process to the first answer",
            found.replica.get("replica"),
            5,
            at_least=False,
            unit="s",
        ),
    ]


def figures(found: Found) -> list[dict[str, Any]]:
    """One row a server and size of request: medians over its runs."""
    made = []
    for rows, server in found.loads:
        n = 1 if rows == SINGLE else BATCH_ROWS
        rate, runs = found.rate(rows, server), found.loads[rows, server]
        failures = next(
            (f"failed: {' '.join(run.first_failure.split())[:150]}" for run in runs if run.failed),
            "",
        )
        made.append(
            {
                "server": server,
                "a request": rows,
                "requests/s": _number(rate),
                "rows/s": _number(rate and rate * n),
                "p50 ms": _number(found.middle(rows, server, lambda load: load.p50_ms), 2),
                "p99 ms": _number(found.middle(rows, server, lambda load: load.p99_ms), 2),
                "failed": sum(run.failed for run in runs),
                "client's CPU": f"{median(run.client_cpu for run in runs):.0%}",
                "note": failures,
            }
        )
    blank = dict.fromkeys(
        ("a request", "requests/s", "rows/s", "p50 ms", "p99 ms", "failed", "client's CPU"), "-"
    )
    return made + [
        {"server": server, **blank, "note": f"not measured: {why}"}
        for server, why in found.missing.items()
    ]


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def run(seconds: float) -> Found:
    """Start, measure and stop everything.

    It takes about ten minutes with the default of ten seconds a run, installations aside.
    """
    rng, found = np.random.default_rng(0), Found(load_before=os.getloadavg()[0])
    singles, batches = (
        rng.normal(size=(SINGLE_ROWS, FEATURES)),
        rng.normal(size=(BATCHES, BATCH_ROWS, FEATURES)),
    )
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as name:
        folder = Path(name)
        np.savez(folder / "rows.npz", train=rng.normal(size=(TRAINING_ROWS, FEATURES)))
        say("starting Vigil and the do-nothing handler")
        with under_test.vigil(folder / "home", folder / "rows.npz") as running:
            model = _logged_model(folder, running)
            found.replica["idle_cpu"] = running.cpu(IDLE_S)
            predict = {
                VIGIL: _predict("/predict", singles),
                NOTHING: _predict("/nothing", singles, UNWATCHED_HEADERS),
                NOTHING_WATCHED: _predict("/nothing", singles),
            }
            v2 = {
                JSON: [_v2(rows) for rows in batches],
                BINARY: [_v2_binary(rows) for rows in batches],
            }
            take_turns(
                found,
                SINGLE,
                {server: (running.port, messages) for server, messages in predict.items()},
                seconds / 2,
            )
            take_turns(
                found,
                BATCH,
                {server: (running.port, messages) for server, messages in v2.items()},
                seconds / 2,
            )
            measure_capture(found, running, predict[VIGIL], seconds / 2)
            draw_flames(found, folder / "flames.svg", running, predict[VIGIL], seconds=seconds)
            measure_peers(found, model, running, (singles, batches), seconds / 2)
            measure_replica(found, running, singles[0])  # last: it adds a second one
    return found


Turns = dict[str, tuple[int, list[bytes]]]


def take_turns(found: Found, rows: str, servers: Turns, seconds: float) -> None:
    """Measure the servers one after the other, ROUNDS times.

    A machine that others use is then as busy for each of them.
    """
    connections = SINGLE_CONNECTIONS if rows == SINGLE else BATCH_CONNECTIONS
    for _ in range(ROUNDS):
        for server, (port, messages) in servers.items():
            found.add(
                rows, server, measure(port, messages, connections=connections, seconds=seconds)
            )


def measure_peers(
    found: Found, model: Model, running: UnderTest, rows: tuple[Rows, Rows], seconds: float
) -> None:
    """Each peer beside Vigil, the other peers stopped."""
    predict, v2 = _predict("/predict", rows[0]), [_v2(batch) for batch in rows[1]]
    ours = {SINGLE: (VIGIL, predict), BATCH: (JSON, v2)}
    plans: list[tuple[str, Peer, str, dict[str, list[bytes]]]] = [
        (CLIENT, peer_processes.bare, "/predict", {SINGLE: predict, BATCH: v2}),
        (FASTAPI, peer_processes.fastapi, "/predict", {SINGLE: predict}),
        (
            MLFLOW,
            peer_processes.mlflow,
            "/invocations",
            {SINGLE: [_invocation(row[None]) for row in rows[0]]},
        ),
        (
            MLSERVER,
            peer_processes.mlserver,
            V2_PATH,
            {SINGLE: [_v2(row[None]) for row in rows[0]], BATCH: v2},
        ),
    ]
    for server, peer, path, sizes in plans:
        probe = next(iter(sizes.values()))[0].split(b"\r\n\r\n", 1)[1]
        try:
            with peer_processes.serving(peer, model, path, probe) as port:
                for size, messages in sizes.items():
                    name, own = ours[size]
                    turns: Turns = {
                        beside(name, server): (running.port, own),
                        server: (port, messages),
                    }
                    take_turns(found, size, turns, seconds)
        except (PeerUnavailable, LoadFailed) as error:  # LoadFailed: it died under the load
            say(f"{server}: {error}")
            found.missing[server] = str(error)


def measure_capture(
    found: Found, running: UnderTest, messages: list[bytes], seconds: float
) -> None:
    """With all rows sent to the monitor, which judges them, and with none, in turn."""
    for _ in range(ROUNDS):
        for server, rate in ((WATCHED, 1.0), (UNWATCHED, 0.0)):
            running.capture(rate)
            found.add(
                SINGLE,
                server,
                measure(running.port, messages, connections=SINGLE_CONNECTIONS, seconds=seconds),
            )
    running.capture(1.0)


def draw_flames(
    found: Found,
    svg: Path,
    running: UnderTest,
    messages: list[bytes],
    *,
    seconds: float,
) -> None:
    """Where the time of a replica goes under one row a request."""
    replica = running.detectors()[0].pid
    title = "What holds the interpreter of a replica: one row a request"
    with flame_graph(
        replica,
        seconds,
        svg,
        title=title,
    ):
        measure(running.port, messages, connections=SINGLE_CONNECTIONS, seconds=seconds)
    found.flames = svg.read_text()


def measure_replica(found: Found, running: UnderTest, row: Rows) -> None:
    """The memory of the replica that has carried the load, then the start of a second one."""
    memory = running.detectors()[0].memory_full_info()
    found.replica |= {"rss_mb": memory.rss / 2**20, "uss_mb": memory.uss / 2**20}
    say(f"a replica holds {found.replica['rss_mb']:.0f} MB; now a second one")
    found.replica |= running.new_replica(json.dumps({"features": row.tolist()}).encode())
    say(f"it answered {found.replica['replica']:.1f} s after Ray had handed it to its process")


def _logged_model(folder: Path, running: UnderTest) -> Model:
    """The MLflow model of version 1, copied out of the platform, and its forest.

    The forest is as peers without MLflow load it.
    """
    import joblib  # type: ignore[import-untyped]
    import mlflow

    mlflow.set_tracking_uri(running.platform.tracking_uri)
    copy = Path(
        mlflow.artifacts.download_artifacts("models:/vigil/1", dst_path=str(folder / "model"))
    )
    forest: Any = mlflow.sklearn.load_model(str(copy))
    del forest.feature_names_in_  # these peers hand it arrays: it would warn of each
    joblib.dump(forest, folder / "forest.joblib")
    return Model(folder / "forest.joblib", copy)


def _predict(path: str, rows: Rows, headers: Sequence[tuple[str, str]] = ()) -> list[bytes]:
    bodies = (json.dumps({"features": row.tolist()}).encode() for row in rows)
    return [request(path, body, headers) for body in bodies]


def _invocation(rows: Rows) -> bytes:
    table = {
        "columns": [f"f{i}" for i in range(rows.shape[1])],
        "data": rows.tolist(),
    }  # as train/table/reader.py names an array's
    return request("/invocations", json.dumps({"dataframe_split": table}).encode())


def _tensor(rows: Rows, **more: Any) -> dict[str, Any]:
    return {"name": "features", "datatype": "FP64", "shape": list(rows.shape), **more}


def _v2(rows: Rows) -> bytes:
    return request(
        V2_PATH, json.dumps({"inputs": [_tensor(rows, data=rows.ravel().tolist())]}).encode()
    )


def _v2_binary(rows: Rows) -> bytes:
    data = rows.astype("<f8").tobytes()
    document = {
        "inputs": [_tensor(rows, parameters={"binary_data_size": len(data)})],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(document).encode()
    headers = [
        ("content-type", "application/octet-stream"),
        ("inference-header-content-length", str(len(head))),
    ]
    return request(V2_PATH, head + data, headers)


def page(found: Found) -> str:
    """The section of docs/benchmarks.md."""
    where, replica = machine(), {key: f"{value:.1f}" for key, value in found.replica.items()}
    return f"""`make bench ARGS="serving --write-docs"`, {where["date"]}, {where["cpu"]},
{where["cores"]} cores, {where["memory_gb"]} GB; {where["system"]}, Python {where["python"]};
{where["versions"]}.

{markdown([ratio.row() for ratio in ratios(found)])}

{markdown(figures(found))}

One forest (100 trees, max_samples 256, {FEATURES} features) and the same rows for all; the load
generator shares the cores with what it measures. {ROUNDS} rounds, medians. What is compared takes
turns within a round, as the machine may be busy with other work: its load average was
{found.load_before:.1f} before the run. Vigil and the do-nothing handler run on one platform, one
replica each, in HAProxy and throughput mode; each peer in its own environment, with its default
of one worker, at the niceness that Ray gives its workers. Vigil tells Serve not to watch the
clients of small requests (serve/http/door.py); the do-nothing handler is told the same by its
clients, and measured without that as well. The platform stays up beside the peers and takes
{found.replica.get("idle_cpu", 0):.0%} of a core when idle. One row a request over
{SINGLE_CONNECTIONS} connections, {BATCH_ROWS} rows over {BATCH_CONNECTIONS}; a warm-up goes
before each run.

A replica holds {replica.get("rss_mb")} MB after the load ({replica.get("uss_mb")} MB of that are
its own, not shared with other processes). A new one gave its first answer
{replica.get("replica")} s after its process took the replica's name, which is when Ray has handed
it over; {replica.get("process")} s after that process was forked; {replica.get("asked")} s after
a second replica was asked for. The answer is taken from the new replica's own port.

![Flame graph of a replica that scores one row a request](images/{FLAMES_SVG.name})

The flame graph is of another {SINGLE} run, {SAMPLES_A_SECOND} samples a second of what holds the
interpreter: open the picture by itself to search and zoom.
"""


def to_json(found: Found) -> dict[str, Any]:
    """Everything, as one object."""
    loads: Sequence[dict[str, Any]] = [
        {
            "rows": rows,
            "server": server,
            "runs": [{**vars(load), "rate": load.rate} for load in runs],
        }
        for (rows, server), runs in found.loads.items()
    ]
    return {
        "machine": machine(),
        "ratios": [ratio.to_json() for ratio in ratios(found)],
        "loads": loads,
        "missing": found.missing,
        "replica": found.replica,
        "load_before": found.load_before,
    }
