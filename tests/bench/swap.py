"""`make bench ARGS=swap`: what swaps and the shadow cost the slowest requests.

In HAProxy and in default proxy mode.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from serve.local.telemetry import telemetry
from tests.bench.report import Ratio, markdown, measured
from tests.running import ROOT, Vigil, free_port
from tests.swapping import Alias, Answered, Traffic
from vigil.terminal import say

SWAPS, REPLICAS, ROUNDS = 60, 2, 3
ALONE = 6  # each sixth swap is found by the replicas themselves; of the others they are told
PLAIN = ("--over-time", "none")
MODES = {"HAProxy": "1", "default proxy": "0"}


@dataclass(frozen=True)
class Move:
    """The alias stood at `version` at `since`, and all replicas said at `until` that they did."""

    version: str
    since: float
    until: float

    def lasted(self, answers: list[Answered]) -> float:
        """Seconds until the last answer of another version; 0 where none came."""
        others = [
            answer.came
            for answer in answers
            if answer.version != self.version and self.since <= answer.came <= self.until
        ]
        return max(others, default=self.since) - self.since


def swap(seconds: float, modes: tuple[str, ...] = tuple(MODES)) -> list[dict[str, Any]]:
    """One row a mode; `seconds` is the length of the steady run that swaps are compared with."""
    return [_mode(mode, seconds) for mode in modes]


def ratios(rows: list[dict[str, Any]]) -> list[Ratio]:
    """The bounds that must hold in each mode."""
    bounds = {
        "requests that failed": ("failed", 0),
        "answers of a version not desired in the last 5 s": ("not desired", 0),
        "maximum latency during swaps over the steady maximum": ("swap over steady", 3),
        "seconds until all replicas agree without being told": ("slowest convergence s", 5),
        "ms from the alias to the last answer of the former version, told, p99": (
            "last answer p99 ms",
            300,
        ),
        "p99 with a shadow of 10 % over without": ("shadow p99 ratio", 1.1),
    }
    return [
        Ratio(f"{row['mode']}: {what}", row[key], bound, at_least=False, unit="")
        for row in rows
        for what, (key, bound) in bounds.items()
    ]


def figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The modes side by side."""
    return [
        {"figure": key, **{row["mode"]: row[key] for row in rows}}
        for key in rows[0]
        if key != "mode"
    ]


def page(rows: list[dict[str, Any]]) -> str:
    """The section of docs/benchmarks.md."""
    return f"""{measured("swap")}

{markdown([ratio.row() for ratio in ratios(rows)])}

{markdown(figures(rows))}

{REPLICAS} replicas under a client that keeps asking from the same cores. The alias is moved in
MLflow {SWAPS} times: each {ALONE}th time the replicas find it themselves, else they are told at
once, as `vigil promote` tells them. Steady is the run before. Then p99 without and with a
challenger in the shadow, in {ROUNDS} rounds. The model has no features over time.
"""


def _mode(mode: str, seconds: float) -> dict[str, Any]:
    table = telemetry(6000, seed=1)
    environment = {
        "RAY_SERVE_ENABLE_HA_PROXY": MODES[mode],
        "VIGIL_SERVE_MIN_REPLICAS": str(REPLICAS),
        "VIGIL_SERVE_MAX_REPLICAS": str(REPLICAS),
        # One row again and again is drift: a retraining would move the champion too.
        "VIGIL_DRIFT_MODE": "observe",
    }
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "telemetry.csv"
        pd.DataFrame(table.X, columns=list(table.names)).to_csv(data, index=False)
        say(f"{mode}: starting")
        with Vigil(Path(folder), free_port(), environment).running(data, *PLAIN) as vigil:
            alias = Alias(vigil)
            versions = [v.version for v in alias.variants(2)]
            return {
                "mode": mode,
                **_swaps(alias, versions, seconds),
                **_shadow(alias, versions, seconds),
            }


def _swaps(alias: Alias, versions: list[str], seconds: float) -> dict[str, Any]:
    took: list[float] = []
    told: list[Move] = []
    with _traffic(alias) as traffic:
        time.sleep(3)
        steady = time.time()
        time.sleep(seconds)
        began = time.time()
        for i in range(SWAPS):
            version = versions[i % 2]
            alias.move(version)
            moved = time.time()
            if i % ALONE:
                alias.hurry()
                told.append(Move(version, moved, time.time()))
            else:
                took.append(alias.converge(version, REPLICAS))
        ended = time.time()
    good = [a for a in traffic.answers if a.status == 200]
    say(f"{len(good)} answers, {len(traffic.failed)} failed: {traffic.failed[:2]}")
    return {
        "swaps": SWAPS,
        "requests": len(traffic.answers),
        "failed": len(traffic.failed),
        "not desired": len(alias.not_desired(good)),
        "slowest convergence s": round(max(took), 2),
        "last answer p50 ms": _last_answer_ms(good, told, 0.5),
        "last answer p99 ms": _last_answer_ms(good, told, 0.99),
        "steady p50 ms": round(traffic.quantile_ms(0.5, steady, began), 2),
        "steady p99 ms": round(traffic.quantile_ms(0.99, steady, began), 2),
        "swap p99 ms": round(traffic.quantile_ms(0.99, began, ended), 2),
        "steady max ms": round(traffic.slowest_ms(steady, began), 1),
        "swap max ms": round(traffic.slowest_ms(began, ended), 1),
        "swap over steady": round(
            traffic.slowest_ms(began, ended) / traffic.slowest_ms(steady, began), 2
        ),
        "swap seconds": round(ended - began, 1),
    }


def _last_answer_ms(answers: list[Answered], told: list[Move], share: float) -> float:
    """Quantile of the time from each move to the last answer of the version before."""
    return round(1e3 * float(np.quantile([move.lasted(answers) for move in told], share)), 1)


def _shadow(alias: Alias, versions: list[str], seconds: float) -> dict[str, Any]:
    """p99 without and with a challenger in the shadow, in turn; the median of the rounds."""
    served = alias.desired[-1][1]
    other = next(version for version in versions if version != served)
    p99: dict[str, list[float]] = {served: [], other: []}
    with _traffic(alias) as traffic:
        spans = []
        for _ in range(ROUNDS):
            for challenger in p99:
                alias.registry.set_alias("challenger", challenger)
                alias.hurry()
                time.sleep(2)
                began = time.time()
                time.sleep(seconds)
                spans.append((challenger, began, time.time()))
    for challenger, began, ended in spans:
        p99[challenger].append(traffic.quantile_ms(0.99, began, ended))
    without, beside = median(p99[served]), median(p99[other])
    return {
        "p99 without shadow ms": round(without, 2),
        "with ms": round(beside, 2),
        "shadow p99 ratio": round(beside / without, 3),
    }


@contextmanager
def _traffic(alias: Alias) -> Iterator[Traffic]:
    """Traffic of a process of its own: what drives the swaps must not delay what measures them."""
    traffic = Traffic(alias.vigil.url, alias.row)
    command = [sys.executable, "-m", "tests.bench.swap"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"url": traffic.url, "row": traffic.row}) + "\n")
    process.stdin.flush()
    try:
        yield traffic
    finally:
        out, _ = process.communicate("stop\n", timeout=60)
        traffic.answers += [Answered(*found) for found in json.loads(out)]


def _client() -> None:
    traffic = Traffic(**json.loads(sys.stdin.readline()))
    with traffic.running():
        sys.stdin.readline()
    print(json.dumps([(a.asked, a.came, a.status, a.version) for a in traffic.answers]))


if __name__ == "__main__":
    _client()
