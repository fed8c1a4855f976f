"""Two checkouts side by side: starts, memory, one request, a swap, a training run, as ratios.

`python -m tests.bench.checkouts OTHER` compares this checkout with the one in folder OTHER, which
has a `.venv` of its own. Only the command and HTTP are used, so the two may differ in all else.
The platforms run in turns, never at once: A B, A B, ..
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.running import ROOT, free_port

ROUNDS = 3
REQUESTS = 4000
SWAPS = 6
ROWS = 20_000
REST_S = 25  # after a start, until nothing of it is left to do
GOAL = 1.03


@dataclass(frozen=True)
class Checkout:
    """The `vigil` command of one checkout, in a home of its own; `options` are for its training."""

    name: str
    root: Path
    home: Path
    options: tuple[str, ...] = ()

    def run(self, *words: str) -> dict[str, object]:
        """Run a command to its end; return what it says as JSON."""
        vigil = self.root / ".venv" / "bin" / "vigil"
        environment = os.environ | {"VIGIL_HOME": str(self.home), "VIGIL_DRIFT_MODE": "observe"}
        done = subprocess.run(
            [str(vigil), *words, "--json"],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    @contextmanager
    def platform(self, *options: str) -> Iterator[str]:
        """A running platform, and its URL."""
        port = free_port()
        self.run("up", "-d", "--port", str(port), *options)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            self.run("down")

    def memory(self) -> int:
        """Bytes that the processes of the platform have, each to itself (USS)."""
        started = [each for each in psutil.process_iter() if _home_of(each) == str(self.home)]
        processes = {process for each in started for process in _with_children(each)}
        return sum(map(_own_bytes, processes))


def _home_of(process: psutil.Process) -> str:
    """The home that a process was started with; some of Ray's do not say, but who started them
    does."""
    try:
        return process.environ().get("VIGIL_HOME", "")
    except psutil.Error:
        return ""


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def _own_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.memory_full_info().uss
    return 0


def request_seconds(url: str, row: list[float]) -> float:
    """The median of sequential requests of one row over one connection."""
    connection = http.client.HTTPConnection(str(urlsplit(url).netloc))
    body = json.dumps({"features": row})
    took = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("POST", "/predict", body)
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(took[REQUESTS // 10 :])


def swap_seconds(url: str) -> float:
    """The mean time of a swap, as the replicas have counted it."""
    host, _, port = urlsplit(url).netloc.partition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    values = {
        line.split()[0]: float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("vigil_model_swap_seconds_")
    }
    return values["vigil_model_swap_seconds_sum"] / values["vigil_model_swap_seconds_count"]


def measure(checkout: Checkout, table: Path, row: list[float]) -> dict[str, float]:
    """One round: a platform, requests, swaps and a training run on it; then a second start."""
    began = time.perf_counter()
    with checkout.platform("--data", str(table), *checkout.options) as url:
        figures = {"first start, ms": _ms_since(began)}
        time.sleep(REST_S)
        figures["memory at rest, MB"] = checkout.memory() / 2**20
        figures["request, ms"] = 1000 * request_seconds(url, row)
        began = time.perf_counter()
        trained = checkout.run("train", "--data", str(table), *checkout.options)
        figures["training, ms"] = _ms_since(began)
        began = time.perf_counter()
        for i in range(SWAPS):
            version = str(trained["version"]) if i % 2 == 0 else "1"
            checkout.run("promote", version, "--force", "--reason", "bench")
        figures["promotion, ms"] = _ms_since(began) / SWAPS
        figures["swap, ms"] = 1000 * swap_seconds(url)
    began = time.perf_counter()
    with checkout.platform():
        figures["second start, ms"] = _ms_since(began)
    return figures


def _ms_since(began: float) -> float:
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--options", default="", help="of this checkout's `up --data` and `train`")
    arguments = parser.parse_args()
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = folder / "telemetry.csv"
        checkouts = [
            Checkout("other", arguments.other.resolve(), folder / "other"),
            Checkout("this", ROOT, folder / "this", tuple(arguments.options.split())),
        ]
        checkouts[1].run("stream", "--to", f"csv:{table}", "--rows", str(ROWS))
        row = [float(value) for value in table.read_text().splitlines()[1].split(",")[:12]]
        for i in range(arguments.rounds):
            for checkout in checkouts:
                for name, figure in measure(checkout, table, row).items():
                    taken[name][checkout.name].append(figure)
                    print(f"round {i + 1}, {checkout.name}: {name}: {figure:.3f}", flush=True)
    for name, found in taken.items():
        ratio = statistics.median(found["this"]) / statistics.median(found["other"])
        print(f"{name}: this / other = {ratio:.3f} (at most {GOAL})")


if __name__ == "__main__":
    main()
