"""DriftMonitor: the Ray actor that holds windows, verdicts and governor, and keeps its state outside Ray.

It is a one-replica Serve application of its own: health-checked and restarted by Serve, and no failure of it touches scoring.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray import serve

from drift import governor
from drift.governor import Governor
from drift.retrain import Retraining, retrain
from drift.rollout import POLL_S, Rollout
from drift.settings import DriftSettings
from drift.statistics import Statistics, compare
from drift.verdict import Verdict, judge
from drift.window import TumblingWindow, Window
from serve.metrics import DriftMetrics, Snapshot, exposition, snapshot
from train.bundle import ModelBundle
from train.data import captured_name
from train.errors import JobsUnavailable, RegistryUnavailable, VigilError
from train.home import Home, write_json
from train.registry import Registry, Version

log = logging.getLogger("ray.serve")
REPLICA_TIMEOUT_S = 6.0  # a replica that has not reported for so long is gone
REPLICA_KEYS = ("replica", "version", "digest", "since", "pid")
CANARY_S = 0.5
REMEMBERED_VERDICTS = 50


class Watch:
    """The monitor without Ray: thread-safe, driven by `ingest`, `follow` and `finish`."""

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings
        self.home = Home(settings.home).create()
        self.metrics = DriftMetrics()
        self.rollout = Rollout(settings, self.metrics)
        self._lock = threading.Lock()
        self._champion: Version | None = None
        self._bundle: ModelBundle | None = None
        self._window: TumblingWindow | None = None
        self._statistics: Statistics | None = None
        self._verdicts: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_VERDICTS)
        self._replicas: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, Snapshot] = {}  # by replica; a dead replica's counts stay in the sums
        self._rows_seen = 0
        self._last_stamp = 0
        self.state, self.cause = Governor(), ""
        self.last_retraining: dict[str, Any] | None = None
        self._followed: str | None = None  # also before a restart
        self._load()

    @property
    def severity(self) -> float:
        return float(self._verdicts[-1]["severity"]) if self._verdicts else 0.0

    def ingest(self, report: dict[str, Any], now: float) -> None:
        """Take in one replica's report: who it is and serves, its counts, and the rows that it sampled."""
        with self._lock:
            replica = str(report["replica"])
            self._replicas[replica] = {key: report[key] for key in REPLICA_KEYS} | {"seen": now}
            self._replicas[replica] |= {key: report.get(key) for key in ("source", "canary", "refused")}
            self._counts[replica] = report["counts"]
            self.rollout.ingest(report)
            for version, rows, scores, requests in report["rows"]:
                self._rows_seen += len(rows)
                if self._window is None or self._champion is None or version != self._champion.version:
                    self.metrics.skipped.inc(len(rows))
                    continue
                for window in self._window.add(rows, scores, requests, now):
                    self._judge(window, now)

    def follow(self, champion: Version, bundle: ModelBundle) -> None:
        """Compare with the reference of this champion from now on."""
        with self._lock:
            if self._followed not in (None, champion.version):
                last = self.last_retraining or {}
                self.state = governor.on_champion(self.state, own=champion.version == last.get("version"))
            self._champion, self._bundle, self._followed = champion, bundle, champion.version
            self.rollout.budget = bundle.threshold.budget
            self._window = TumblingWindow(bundle.reference.window_rows)
            self._verdicts.clear()
            self._statistics = None
            self._save()

    @property
    def following(self) -> str | None:
        return self._champion.version if self._champion else None

    def finish(self, result: Retraining, now: float) -> None:
        """The retraining of the open episode has ended."""
        with self._lock:
            self.state = governor.on_retrained(self.state, result.outcome, result.reason, self.settings)
            self.last_retraining = {**asdict(result), "cause": self.cause, "at": now}
            self.metrics.retrains.labels(result.outcome).inc()
            self._save()

    def status(self, now: float) -> dict[str, Any]:
        """What `/drift` answers."""
        with self._lock:
            live = [r for r in self._replicas.values() if now - r["seen"] < REPLICA_TIMEOUT_S]
            return {
                "model_version": self.following,
                "model_digest": self._champion.digest if self._champion else None,
                "verdict": self._verdicts[-1] if self._verdicts else None,
                "verdicts": [v["verdict"] for v in self._verdicts],
                "drift_score": self.severity,
                "features": self._features(),
                "scores": asdict(self._statistics.scores) if self._statistics and self._statistics.scores else None,
                "calibration": asdict(self._bundle.reference.calibration) if self._bundle else None,
                "governor": self.state.to_json() | {"mode": self.settings.mode},
                "cause": self.cause,
                "last_retraining": self.last_retraining,
                "retrains": self.state.retrained,
                "rows_seen": self._rows_seen,
                "rows_in_window": len(self._window) if self._window else 0,
                "window_rows": self._window.size if self._window else None,
                "replicas": live,
                **self.rollout.status(live, now, self.following),
            }

    def exposition(self, now: float) -> bytes:
        """The Prometheus text of all replicas and of the monitor."""
        with self._lock:
            self.metrics.replicas.clear()
            live = [r for r in self._replicas.values() if now - r["seen"] < REPLICA_TIMEOUT_S]
            for replica in live:
                self.metrics.replicas.labels(str(replica["version"])).inc()
            self.rollout.status(live, now, self.following)
            here = {str(replica["replica"]) for replica in live}
            counts = [
                counts if replica in here else [family for family in counts if family[1] != "gauge"]  # the dead are in no state
                for replica, counts in self._counts.items()
            ]
            return exposition([*counts, snapshot(self.metrics.registry)])

    def _judge(self, window: Window, now: float) -> None:
        assert self._bundle is not None
        reference = self._bundle.reference
        self._statistics = compare(reference, window.rows, window.scores, self._bundle.threshold.value)
        verdict = judge(reference, self._statistics, self.settings.alpha)
        if verdict.kind != "data break":
            self._capture(window)
        self.state, go = governor.on_window(self.state, verdict.kind, window.since, len(window.rows), now, self.settings)
        self._tell(verdict)
        if go:
            self.cause = f"{verdict.sentence} (episode {self.state.episode})"
        self._save()

    def _tell(self, verdict: Verdict) -> None:
        self._verdicts.append(verdict.to_json())
        self.metrics.windows.labels(verdict.kind).inc()
        self.metrics.severity.set(verdict.severity)
        if verdict.kind != "none":
            log.warning("%s; governor %s: %s", verdict.sentence, self.state.phase, self.state.reason)

    def _capture(self, window: Window) -> None:
        """Write the window where retraining reads it; a full disk costs the window, not the service."""
        assert self._bundle is not None
        assert self._champion is not None
        provenance = {
            "_score": window.scores, "_request": window.requests, "_version": [self._champion.version] * len(window.rows),
        }  # fmt: skip
        columns = {name: window.rows[:, j] for j, name in enumerate(self._bundle.names)} | provenance
        folder = self.home.captured / f"date={datetime.fromtimestamp(window.since, UTC):%Y-%m-%d}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / captured_name(self._stamp(window.since))
            temporary = file.with_name(f".{file.name}")
            try:
                pq.write_table(pa.table(columns), temporary)
                temporary.replace(file)
            finally:
                temporary.unlink(missing_ok=True)
            files = sorted(self.home.captured.glob("date=*/window-*.parquet"))
            for file in files[: -self.settings.keep_windows]:
                file.unlink(missing_ok=True)
        except OSError as error:
            self.metrics.capture_failures.inc()
            log.warning("a window of captured rows is lost: %s", error)

    def _stamp(self, since: float) -> float:
        """`since` to the millisecond, later than any before: windows of one report begin at once, their files must differ."""
        self._last_stamp = max(int(since * 1000), self._last_stamp + 1)
        return self._last_stamp / 1000

    def _features(self) -> list[dict[str, Any]]:
        found, bundle = self._statistics, self._bundle
        if found is None or bundle is None:
            return []
        reference = bundle.reference
        columns = {
            "ks": found.ks, "floor": reference.floors, "alone": reference.alone, "wasserstein": found.wasserstein,
            "psi": found.psi, "correlation": found.ties, "correlation_floor": reference.ties_floors,
        }  # fmt: skip
        return [
            {"feature": name, **{key: float(values[j]) for key, values in columns.items()}} for j, name in enumerate(bundle.names)
        ]

    @property
    def _file(self) -> Path:
        return self.home.state / "monitor.json"

    def _load(self) -> None:
        """Go on where a former monitor stopped; a state of another form is begun anew, not died of."""
        try:
            saved = json.loads(self._file.read_text())
            state = Governor.from_json(saved["governor"])
            self.cause, self.last_retraining, self._followed = str(saved["cause"]), saved["last_retraining"], saved["followed"]
            self.state = state
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("the monitor's state %s cannot be read, it starts anew: %s", self._file, error)

    def _save(self) -> None:
        try:
            write_json(self._file, {
                "governor": self.state.to_json(), "cause": self.cause, "last_retraining": self.last_retraining,
                "followed": self._followed,
            })  # fmt: skip
        except OSError as error:
            log.warning("the monitor's state cannot be written: %s", error)


class DriftMonitor:
    """The Serve deployment around a Watch: its loops start in the constructor, so a restarted one goes on by itself."""

    def __init__(self, args: dict[str, Any]) -> None:
        self.settings = DriftSettings(**args)
        self._watch = Watch(self.settings)
        self._registry = Registry(self.settings.tracking_uri, self.settings.model_name)
        self._tasks = [
            asyncio.get_running_loop().create_task(self._follow_loop()),
            asyncio.get_running_loop().create_task(self._retrain_loop()),
            asyncio.get_running_loop().create_task(self._canary_loop()),
        ]

    async def ingest(self, report: dict[str, Any]) -> dict[str, float | None]:
        """A replica's report; answers with what every response tells of drift, and which canary is over."""
        await asyncio.to_thread(self._watch.ingest, report, time.time())
        return {"drift_score": self._watch.severity, "stopped_canary": self._watch.rollout.stopped}

    async def status(self) -> dict[str, Any]:
        return self._watch.status(time.time())

    async def exposition(self) -> bytes:
        return self._watch.exposition(time.time())

    def check_health(self) -> None:
        """Serve restarts the monitor when one of its loops has ended."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError(f"a loop of the drift monitor has ended: {task}")

    async def _follow_loop(self) -> None:
        while True:
            try:
                desired = await asyncio.to_thread(self._registry.desired)
                self._watch.rollout.follow(desired)
                champion = desired.champion
                if champion is not None and champion.version != self._watch.following:
                    bundle = await asyncio.to_thread(self._registry.fetch, champion, self._watch.home.cache)
                    await asyncio.to_thread(self._watch.follow, champion, bundle)
            except VigilError as error:
                log.warning("the monitor keeps its reference: %s", error.message)
            await asyncio.sleep(POLL_S)

    async def _retrain_loop(self) -> None:
        """Runs the retraining that the governor has decided on, also one that a former monitor began."""
        while True:
            state = self._watch.state
            if state.phase == "retraining" and state.episode is not None:
                try:
                    result = await asyncio.to_thread(
                        retrain, state.episode, state.since, self._watch.cause, self.settings, self._registry, self._watch.rollout
                    )
                except (JobsUnavailable, RegistryUnavailable) as error:
                    if time.time() < state.retrains[-1] + self.settings.retrain_timeout_s:
                        log.warning("retraining waits: %s", error.message)
                        await asyncio.sleep(POLL_S)
                        continue
                    result = Retraining("failed", error.message)
                except Exception as error:  # whatever went wrong, the episode must end
                    log.exception("retraining failed")
                    result = Retraining("failed", f"{type(error).__name__}: {error}")
                await asyncio.to_thread(self._watch.finish, result, time.time())
                if result.outcome == "promoted":
                    await self._hurry()
            await asyncio.sleep(0.5)

    async def _canary_loop(self) -> None:
        """Stops or promotes canaries as the rollout decides."""
        rollout = self._watch.rollout
        while True:
            if (what := rollout.due(time.time())) is not None:
                try:
                    await asyncio.to_thread(rollout.carry_out, what, self._registry)
                    await self._hurry()
                    rollout.follow(await asyncio.to_thread(self._registry.desired))
                except VigilError as error:
                    log.warning("the canary cannot be ended yet (%s): %s", what, error.message)
            await asyncio.sleep(CANARY_S)

    async def _hurry(self) -> None:
        """Have the replicas look at the registry now; they would anyway within their poll period."""
        with contextlib.suppress(Exception):
            await serve.get_app_handle(self.settings.serve_application).broadcast("refresh").results_async()


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application `drift`; `args` are DriftSettings."""
    deployment: Any = serve.deployment(
        DriftMonitor, num_replicas=1, max_ongoing_requests=64, ray_actor_options={"num_cpus": 0.1}, health_check_period_s=5
    )
    return deployment.bind(args)
