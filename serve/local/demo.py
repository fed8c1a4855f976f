"""`vigil demo`: the whole loop on one machine, narrated. It uses what every user uses, with default settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from serve.local import simulate
from serve.local.simulate import Drift, Tally
from train.table.dataset import read_table
from train.table.schema import Columns
from train.table.table import Table
from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform
from vigil.service import Unanswered

Say = Callable[[str], None]
TRAIN_ROWS = 12_000  # six weeks of built-in telemetry
RATE = 200.0  # rows a second
QUIET_ROWS = 2000
FINAL_ROWS = 1500
DEADLINE_S = 300.0
_POLL_INTERVAL_S = 0.2


def training_file(home: Home) -> str:
    """The built-in telemetry as a CSV, as a user would bring it: without labels."""
    path = home.root / "telemetry.csv"
    table = simulate.telemetry(TRAIN_ROWS, seed=1)
    pd.DataFrame(table.X, columns=list(table.names)).to_csv(path, index=False)
    return str(path)


def live_rows(path: str | None, label: str | None) -> Table:
    """What the demo streams: the test rows of the file, else its rows again; fresh telemetry when there is no file."""
    if path is None:
        return simulate.telemetry(6000, seed=2)
    dataset = read_table(path, columns=Columns(label=label))
    return dataset.test or dataset.train


@dataclass
class DemoRun:
    """The streaming part of the demo: it sends rows, watches `/drift`, and notes when what happened."""

    platform: RunningPlatform
    table: Table
    say: Say
    tally: Tally = field(default_factory=Tally)
    drift: Drift = field(default_factory=Drift)
    drift_from: int | None = None  # row
    drift_began: float = 0.0  # monotonic seconds, as are those below
    detected_after: int | None = None  # rows of the drift
    promoted: float = 0.0
    swapped: float = 0.0
    swapped_at_row: int = 0
    first_version: str = ""
    final_version: str = ""
    before: dict[str, Any] | None = None  # `/drift` before the drift: a home may have a history
    retrains: int = 0
    failure: str = ""

    async def go(self) -> dict[str, Any]:
        """Stream until the new version has answered FINAL_ROWS rows; return the figures of the summary."""
        drifted = self.drift.apply(self.table.X)

        def row(i: int) -> np.ndarray[Any, Any]:
            source = self.table.X if self.drift_from is None or i < self.drift_from else drifted
            return source[i % len(source)]

        watching = asyncio.create_task(self._watch())
        try:
            await simulate.send_rows(
                self.platform.url, row, RATE, self.tally, self._finished, self.platform.headers
            )
        finally:
            watching.cancel()
        if self.failure:
            raise PlatformError(self.failure)
        return self._summary()

    def _finished(self, sent: int) -> bool:
        if self.drift_from is None and sent >= QUIET_ROWS:
            self.drift_from, self.drift_began = sent, time.monotonic()
            changed = ", ".join(
                self.table.names[j] for j in self.drift.features(len(self.table.names))
            )
            self.say(
                f"{self.tally.rows} rows streamed, {self.tally.anomalies} anomalies so far; "
                f"now the world changes: {self.drift.kind} in {changed}"
            )
        if self.drift_from is not None and time.monotonic() - self.drift_began > DEADLINE_S:
            self.failure = (
                f"no new version after {DEADLINE_S:.0f} s of drift; see `vigil drift status`"
            )
        return bool(self.failure) or (
            bool(self.swapped) and sent >= self.swapped_at_row + FINAL_ROWS
        )

    async def _watch(self) -> None:
        phase = ""
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            try:
                status = await asyncio.to_thread(self.platform.service.get, "/drift", 5.0)
            except Unanswered:
                continue
            if "governor" not in status:
                continue
            self._note(status)
            if status["governor"]["phase"] != phase:
                phase = status["governor"]["phase"]
                self._narrate(phase, status)

    def _note(self, found: dict[str, Any]) -> None:
        now, version = time.monotonic(), found["model_version"]
        self.before = self.before or found
        self.retrains = found["retrains"] - self.before["retrains"]
        self.first_version = self.first_version or version
        if version != self.first_version and not self.promoted:
            self.promoted, self.final_version = now, version
        if self.promoted and not self.swapped and found["replicas"] and not found["lagging"]:
            self.swapped, self.swapped_at_row = now, self.tally.rows + 16  # those in flight
            self.say(
                f"version {version} is swapped in on all {len(found['replicas'])} replicas: "
                f"{self.tally.rows} requests, {self.tally.failed} failed"
            )
        last = self._retraining(found)
        if last and last["outcome"] != "promoted":
            self.failure = f"the retraining ended without a better model: {last['reason']}"

    def _retraining(self, found: dict[str, Any]) -> dict[str, Any] | None:
        """The retraining that has ended since the demo began."""
        last = found["last_retraining"]
        return last if self.before is not None and last != self.before["last_retraining"] else None

    def _narrate(self, phase: str, found: dict[str, Any]) -> None:
        if phase == "collecting":
            if self.drift_from is not None and self.detected_after is None:
                self.detected_after = self.tally.rows - self.drift_from
            told = ", ".join((found["verdict"] or {}).get("features", [])[:8])
            self.say(f"drift is seen in {told}; collecting rows of the new world")
        elif phase == "retraining":
            self.say(
                f"retraining job retrain-{found['governor']['episode']} runs on Ray: {self.platform.dashboard_url}/#/jobs"
            )
        elif phase == "cooling" and (last := self._retraining(found)):
            self.say(f"the gate said: {last['reason']}")

    def _summary(self) -> dict[str, Any]:
        due, latency = np.array(self.tally.due), np.array(self.tally.latency) * 1e3
        steady = latency[due < self.drift_began]
        swap = latency[(due + latency / 1e3 > self.promoted - 5) & (due < self.swapped + 1)]
        final = {
            v
            for v, at in zip(self.tally.version, self.tally.sent, strict=True)
            if at > self.swapped
        }
        return {
            "requests": self.tally.rows,
            "failed_requests": self.tally.failed,
            "first_version": self.first_version,
            "final_version": self.final_version,
            "final_phase_versions": sorted(final),
            "drift_detected_after_rows": self.detected_after,
            "drift_to_swap_seconds": round(self.swapped - self.drift_began, 1),
            "swap_max_latency_ms": round(float(swap.max()), 1),
            "steady_p50_ms": round(float(np.quantile(steady, 0.5)), 2),
            "steady_p99_ms": round(float(np.quantile(steady, 0.99)), 2),
            "anomalies": self.tally.anomalies,
            "retrains": self.retrains,
        }


def play(
    platform: RunningPlatform, path: str | None, label: str | None, say: Say
) -> dict[str, Any]:
    """Stream, drift, retrain, swap; returns the summary."""
    table = live_rows(path, label)
    source = "the built-in telemetry" if path is None else Path(path).name
    say(f"streaming {RATE:.0f} rows a second of {source} to {platform.url}/predict")
    return asyncio.run(DemoRun(platform, table, say).go())
