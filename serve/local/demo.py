"""`vigil demo`: the whole loop on one machine, narrated. It uses what every user uses, with default
settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from serve.local.row_times import RowTimes, times_for
from serve.local.simulate import Tally, row_body, send_rows
from serve.local.telemetry import Drift, telemetry
from train.table.dataset import read_table
from train.table.impute import Imputing
from train.table.schema import Columns
from train.table.table import Table
from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform
from vigil.json_types import JsonObject
from vigil.service import Unanswered

TRAIN_ROWS = 12_000  # six weeks of built-in telemetry
LIVE_ROWS = 6_000
RATE = 200.0  # rows a second
QUIET_ROWS = 2_000
FINAL_ROWS = 1_500
IN_FLIGHT_ROWS = 16
DRIFT_TIMEOUT_S = 300.0
MAX_ROWS = QUIET_ROWS + int(RATE * DRIFT_TIMEOUT_S) + FINAL_ROWS  # that are sent
_MAX_NAMED_FEATURES = 8
_MAX_INCIDENTS = 1000
_POLL_INTERVAL_S = 0.2
_POLL_TIMEOUT_S = 5.0


def training_file(home: Home) -> str:
    """The built-in telemetry as a CSV, as a user would bring it: without labels."""
    path = home.root / "telemetry.csv"
    table = telemetry(TRAIN_ROWS, seed=1)
    pd.DataFrame(table.X, columns=list(table.names)).to_csv(path, index=False)
    return str(path)


def live_rows(
    path: str | None,
    columns: Columns,
    say: Callable[[str], None] = lambda _: None,
    imputing: Imputing | None = None,
) -> Table:
    """Rows for a stream: the test rows of the file, else its rows again; fresh telemetry when there
    is no file. `say` gets what was taken for what in it; `imputing` says what stands for missing
    values."""
    if path is None:
        return telemetry(LIVE_ROWS, seed=2)
    dataset = read_table(
        path,
        columns=columns,
        imputing=imputing,
        keeps_context=True,
        keeps_words=True,
    )
    for remark in dataset.remarks:
        say(remark)
    return dataset.test or dataset.train


def play(
    platform: RunningPlatform,
    path: str | None,
    columns: Columns,
    *,
    say: Callable[[str], None],
    imputing: Imputing | None = None,
) -> JsonObject:
    """Stream, drift, retrain, swap; returns the figures of the summary."""
    table = live_rows(path, columns, imputing=imputing)
    source = "the built-in telemetry" if path is None else Path(path).name
    say(f"streaming {RATE:.0f} rows a second of {source} to {platform.url}/predict")
    return asyncio.run(DemoRun(platform, table, say).play())


@dataclass
class Milestones:
    """When what happened, in monotonic seconds; 0 where it has not yet."""

    drift_from: int | None = None  # row
    drift_began: float = 0.0
    detected_after: int | None = None  # rows of the drift
    promoted: float = 0.0
    swapped: float = 0.0
    swapped_at_row: int = 0


@dataclass
class DemoRun:
    """The streaming part of the demo: it sends rows, watches `/drift`, and notes when what
    happened."""

    platform: RunningPlatform
    table: Table
    say: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    drift: Drift = field(default_factory=Drift)
    at: Milestones = field(default_factory=Milestones)
    first_version: str = ""
    final_version: str = ""
    before: JsonObject | None = None  # `/drift` before the drift: a home may have a history
    phase: str = ""  # of the governor
    retrains: int = 0
    failure: str = ""
    times: RowTimes | None = None
    # Unix seconds, of the first row where rows have times.
    began: float = field(default_factory=time.time)

    async def play(self) -> JsonObject:
        """Stream until the new version has answered FINAL_ROWS rows; return the figures of the
        summary. Raises PlatformError when there is no better version."""
        service = self.platform.service
        self.times = await asyncio.to_thread(times_for, service, self.table, MAX_ROWS)
        if self.times is not None:
            self.began = min(self.began, self.times.at(0))
        watching = asyncio.create_task(self._watch())
        try:
            await send_rows(
                self.platform.url,
                self._rows(),
                RATE,
                tally=self.tally,
                stop=self._is_over,
                headers=self.platform.headers,
            )
        finally:
            watching.cancel()
        if self.failure:
            raise PlatformError(self.failure)
        incidents = await asyncio.to_thread(self._incidents)
        self._narrate_incidents(incidents)
        return {**self._summary(), "incidents": len(incidents)}

    def _incidents(self) -> list[JsonObject]:
        """What people would have heard of since the demo began."""
        listed = self.platform.service.get(f"/incidents?limit={_MAX_INCIDENTS}")["incidents"]
        return [incident for incident in listed if incident["last_seen"] >= self.began]

    def _narrate_incidents(self, incidents: list[JsonObject]) -> None:
        drift = [incident["title"] for incident in incidents if incident["kind"] == "drift"]
        named = f", one of them: {drift[0]}" if drift else ""
        self.say(
            f"{self.tally.anomalies} anomalous rows became {len(incidents)} incidents{named}; "
            "`vigil incidents` lists them"
        )

    def _rows(self) -> Callable[[int], bytes]:
        ordinary = self.table.X
        drifted = self.drift.apply(ordinary)

        def body(i: int) -> bytes:
            has_drifted = self.at.drift_from is not None and i >= self.at.drift_from
            source = drifted if has_drifted else ordinary
            row = i % len(source)
            at = None if self.times is None else self.times.at(i)
            features = self.table.sent_row(row, source[row].tolist())
            return row_body(features, self.table.entity_of(row), at)

        return body

    def _is_over(self, sent: int) -> bool:
        if self.at.drift_from is None:
            if sent >= QUIET_ROWS:
                self._begin_drift(sent)
        elif time.monotonic() - self.at.drift_began > DRIFT_TIMEOUT_S:
            self.failure = (
                f"no new version after {DRIFT_TIMEOUT_S:.0f} s of drift; see `vigil drift status`"
            )
        if self.failure:
            return True
        return bool(self.at.swapped) and sent >= self.at.swapped_at_row + FINAL_ROWS

    def _begin_drift(self, sent: int) -> None:
        self.at.drift_from = sent
        self.at.drift_began = time.monotonic()
        names = self.table.names
        changed = ", ".join(names[j] for j in self.drift.features(len(names)))
        self.say(
            f"{self.tally.rows} rows streamed, {self.tally.anomalies} anomalies so far; "
            f"now the world changes: {self.drift.kind} in {changed}"
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            state = await self._drift_state()
            if "governor" in state:
                self._note(state)

    async def _drift_state(self) -> JsonObject:
        """What `/drift` answers; nothing where the service does not."""
        service = self.platform.service
        try:
            return await asyncio.to_thread(service.get, "/drift", _POLL_TIMEOUT_S)
        except Unanswered:
            return {}

    def _note(self, state: JsonObject) -> None:
        if self.before is None:
            self.before = state
        self.retrains = state["retrains"] - self.before["retrains"]
        self._note_version(state)
        last = self._last_retraining(state)
        if last and last["outcome"] != "promoted":
            self.failure = f"the retraining ended without a better model: {last['reason']}"
        phase = state["governor"]["phase"]
        if phase != self.phase:
            self.phase = phase
            self._narrate(state)

    def _note_version(self, state: JsonObject) -> None:
        version = state["model_version"]
        self.first_version = self.first_version or version
        if version != self.first_version and not self.at.promoted:
            self.at.promoted = time.monotonic()
            self.final_version = version
        if self.at.swapped or not self.at.promoted:
            return
        if state["replicas"] and not state["lagging"]:
            self.at.swapped = time.monotonic()
            self.at.swapped_at_row = self.tally.rows + IN_FLIGHT_ROWS
            self.say(
                f"version {version} is swapped in on all {len(state['replicas'])} replicas: "
                f"{self.tally.rows} requests, {self.tally.failed} failed"
            )

    def _last_retraining(self, state: JsonObject) -> JsonObject | None:
        """The retraining that has ended since the demo began."""
        last = state["last_retraining"]
        if self.before is not None and last != self.before["last_retraining"]:
            return last
        return None

    def _narrate(self, state: JsonObject) -> None:
        if self.phase == "collecting":
            self._narrate_detection(state)
        elif self.phase == "retraining":
            job = f"retrain-{state['governor']['episode']}"
            jobs_url = f"{self.platform.dashboard_url}/#/jobs"
            self.say(f"retraining job {job} runs on Ray: {jobs_url}")
        elif self.phase == "cooling" and (last := self._last_retraining(state)):
            self.say(f"the gate said: {last['reason']}")

    def _narrate_detection(self, state: JsonObject) -> None:
        if self.at.drift_from is not None and self.at.detected_after is None:
            self.at.detected_after = self.tally.rows - self.at.drift_from
        features = (state["verdict"] or {}).get("features", [])
        names = ", ".join(features[:_MAX_NAMED_FEATURES])
        self.say(f"drift is seen in {names}; collecting rows of the new world")

    def _summary(self) -> JsonObject:
        due = np.array(self.tally.due)
        latency_ms = np.array(self.tally.latency) * 1e3
        answered = due + latency_ms / 1e3
        steady = latency_ms[due < self.at.drift_began]
        is_at_swap = (answered > self.at.promoted - 5) & (due < self.at.swapped + 1)
        return {
            "requests": self.tally.rows,
            "failed_requests": self.tally.failed,
            "first_version": self.first_version,
            "final_version": self.final_version,
            "final_phase_versions": self._final_versions(),
            "drift_detected_after_rows": self.at.detected_after,
            "drift_to_swap_seconds": round(self.at.swapped - self.at.drift_began, 1),
            "swap_max_latency_ms": round(float(latency_ms[is_at_swap].max()), 1),
            "steady_p50_ms": round(float(np.quantile(steady, 0.5)), 2),
            "steady_p99_ms": round(float(np.quantile(steady, 0.99)), 2),
            "anomalies": self.tally.anomalies,
            "retrains": self.retrains,
        }

    def _final_versions(self) -> list[str]:
        """Versions that answered requests sent after the swap."""
        sent = zip(self.tally.version, self.tally.sent, strict=True)
        return sorted({version for version, at in sent if at > self.at.swapped})
