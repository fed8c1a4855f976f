"""The monitor without Ray: windows, verdicts, governor and feedback, driven by its callers, state outside Ray."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import asdict
from typing import Any

import msgspec

from drift import governor
from drift.comparison import NOTHING, Comparison
from drift.feedback import Feedback, Label
from drift.governor import Governor, retrains_left
from drift.retrain import Retraining
from drift.rollout import Rollout
from drift.settings import DriftSettings, Mode
from drift.state import LostLease, open_state_store
from drift.view.console import RegistryView, console_document
from drift.view.counts import REPLICA_TIMEOUT_S, ReplicaCounters
from drift.view.gauges import Gauges
from drift.view.live import Live
from drift.view.report import episode_page
from drift.window import Window
from serve.metrics import DriftMetrics, MetricFamilies, collect_metrics, render_exposition
from train.model.bundle import ModelBundle
from train.registry.promotion import Move
from train.registry.versions import Version
from train.table.captured import AnsweredRows, CapturedWindows
from train.table.table import Table
from vigil.home import Home

log = logging.getLogger("ray.serve")
REPLICA_KEYS = ("replica", "version", "digest", "since", "pid")
REMEMBERED_MOVES = 50


class Watch:
    """Thread-safe. Of several with one state only the one that holds it judges; `acquire_lease` becomes or stays it."""

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings
        self.home = Home(settings.home).create()
        self.metrics = DriftMetrics()
        self.gauges = Gauges(self.metrics)
        self.rollout = Rollout(settings, self.metrics)
        self.feedback = Feedback(self.home.state / "feedback.json", self.metrics)
        self.live = Live()
        self.ledger: list[
            Move
        ] = []  # the latest entries, and versions, as the monitor read them last
        self.versions: list[Version] = []
        self._captured = CapturedWindows(
            settings.captured_url or self.home.captured, settings.keep_windows
        )
        self._store = open_state_store(settings.state_url, self.home.state)
        self.is_leader = False
        self._lock = threading.Lock()
        self._comparison: Comparison | None = None
        self._replicas: dict[str, dict[str, Any]] = {}
        self._counts = ReplicaCounters()
        self._rows_seen = 0
        self._moves: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_MOVES)
        self._pages: deque[tuple[str, str]] = deque(
            maxlen=3
        )  # episode and page that are not in MLflow yet
        self.state, self.cause = Governor(), ""
        self.last_retraining: dict[str, Any] | None = None
        self._followed: str | None = None  # also before a restart
        self.acquire_lease()

    def follow_settings(self, settings: DriftSettings) -> None:
        """Go on with other values of what may change while the monitor runs."""
        with self._lock:
            self.settings = self.rollout.settings = settings
            self._captured.keep = settings.keep_windows

    def acquire_lease(self) -> bool:
        """Whether this is the monitor that acts; one that has just become it goes on where the former stopped."""
        with self._lock:
            try:
                is_leader = self._store.acquire_lease()
            except OSError as error:
                log.warning("the monitor's state cannot be reached, nothing is decided: %s", error)
                is_leader = False
            if is_leader and not self.is_leader:
                self._load()
            self.is_leader = is_leader
            return is_leader

    def close(self) -> None:
        """Let another monitor take over."""
        self._store.release()
        self.is_leader = False

    @property
    def severity(self) -> float:
        return self._comparison.severity if self._comparison else 0.0

    def ingest(self, report: dict[str, Any], now: float) -> None:
        """Take in one replica's report: who it is and serves, its counts, and the rows that it sampled."""
        with self._lock:
            replica = str(report["replica"])
            self._replicas[replica] = {key: report[key] for key in REPLICA_KEYS} | {"seen": now}
            self._replicas[replica] |= {
                key: report.get(key) for key in ("source", "canary", "refused")
            }
            self._counts.report(replica, report["counts"], report["told"], now)
            self.rollout.ingest(report)
            self.live.ingest(report, now)
            self.live.told.serving(self._live(now), self._desired, now)
            comparison = self._comparison
            for version, rows, scores, requests in report["rows"]:
                self._rows_seen += len(rows)
                if not self.is_leader:
                    continue
                if comparison is None or version != comparison.champion.version:
                    self.metrics.skipped.inc(len(rows))
                    continue
                self.feedback.answered(requests, comparison.alerts(scores), version)
                for window in comparison.window.add(rows, scores, requests, now):
                    self._judge(comparison, window, now)

    def count(
        self, consumer: str, counts: MetricFamilies, told: MetricFamilies, now: float
    ) -> None:
        """Take in what a stream consumer has counted, and what a monitor has heard of it."""
        with self._lock:
            self._counts.report(consumer, counts, told, now)

    def tick(self, now: float) -> None:
        """What time alone brings: a window that nobody fills any more, and the schedule."""
        with self._lock:
            if not self.is_leader or (comparison := self._comparison) is None:
                return
            if (
                self.settings.window_s
                and (window := comparison.window.flush_if_older_than(now - self.settings.window_s))
                is not None
            ):
                self._judge(comparison, window, now)
            moved, go = governor.on_time(self.state, now, self.settings)
            if go:
                self.cause = f"{moved.reason} (episode {moved.episode})"
            if moved != self.state:
                self._move(moved, now)
                self._save()

    def switch(self, mode: Mode | None, now: float) -> None:
        """A person sets the governor's mode; None: the settings' one."""
        with self._lock:
            self._need_state()
            self._move(governor.on_mode(self.state, mode), now)
            self._save()

    def label(self, labels: list[Label]) -> dict[str, int]:
        """Take in what people say of scored rows."""
        with self._lock:
            self._need_state()
            return self.feedback.tell(labels, self._captured)

    def _need_state(self) -> None:
        if not self.is_leader:
            raise LostLease("another monitor holds the state: ask the cluster that it runs on")

    @property
    def retrains(self) -> bool:
        """Whether a retraining may still change the champion: a person may have switched it off meanwhile."""
        return self.is_leader and (self.state.mode or self.settings.mode) == "auto"

    def take_page(self) -> tuple[str, str] | None:
        """An episode and its report, to be kept in MLflow."""
        with self._lock:
            return self._pages.popleft() if self._pages else None

    def put_back(self, report: tuple[str, str]) -> None:
        """The report could not be kept now."""
        with self._lock:
            self._pages.append(report)

    def follow(self, champion: Version, bundle: ModelBundle, now: float) -> None:
        """Compare with the reference of this champion from now on."""
        with self._lock:
            if self._followed not in (None, champion.version):
                last = self.last_retraining or {}
                self._move(
                    governor.on_champion(self.state, own=champion.version == last.get("version")),
                    now,
                )
            self._comparison, self._followed = Comparison(champion, bundle), champion.version
            self.live.points.follow(champion.version, bundle)
            self.rollout.budget = bundle.threshold.budget
            self._save()

    @property
    def following(self) -> str | None:
        return self._comparison.champion.version if self._comparison else None

    def finish(self, result: Retraining, now: float) -> None:
        """The retraining of the open episode has ended."""
        with self._lock:
            self._move(
                governor.on_retrained(
                    self.state, result.outcome, result.reason, now, self.settings
                ),
                now,
            )
            self.last_retraining = {**asdict(result), "cause": self.cause, "at": now}
            self.metrics.retrains.labels(result.outcome).inc()
            self.metrics.retrain_seconds.inc(
                self.state.retrains[-1][1] if self.state.retrains else 0.0
            )
            self._save()

    def status(self, now: float) -> dict[str, Any]:
        """What `/drift` answers."""
        with self._lock:
            return self._status(now)

    def _status(self, now: float) -> dict[str, Any]:
        live = self._live(now)
        return {
            **(self._comparison.status() if self._comparison else NOTHING),
            "governor": self.state.to_json()
            | {
                "mode": self.state.mode or self.settings.mode,
                "retrains_left": retrains_left(self.state, now, self.settings),
            },
            "standby": not self.is_leader,
            "timeline": list(self._moves),
            "feedback": {
                "all": self.feedback.figures(),
                "champion": self.feedback.figures(self.following),
            },
            "cause": self.cause,
            "last_retraining": self.last_retraining,
            "retrains": self.state.retrained,
            "rows_seen": self._rows_seen,
            "replicas": live,
            **self.rollout.status(live, now, self.following),
        }

    def console(self, now: float) -> bytes:
        """What the console shows, as JSON."""
        with self._lock:
            status = self._status(now)
            known = RegistryView(self._comparison, self.rollout.desired, self.versions, self.ledger)
            return msgspec.json.encode(
                console_document(status, self.live, known, self.state, self.settings, now)
            )

    def exposition(self, now: float) -> bytes:
        """The Prometheus text of all replicas and consumers and of the monitor."""
        with self._lock:
            own = self._own_metrics(now)
            return render_exposition([*self._counts.snapshots(now), own])

    def own_metrics(self, now: float) -> MetricFamilies:
        """The monitor's own metrics."""
        with self._lock:
            return self._own_metrics(now)

    def _own_metrics(self, now: float) -> MetricFamilies:
        self.gauges.update(self._status(now))
        return collect_metrics(self.metrics.registry)

    def _live(self, now: float) -> list[dict[str, Any]]:
        self._replicas = {
            name: r for name, r in self._replicas.items() if now - r["seen"] < REPLICA_TIMEOUT_S
        }
        return list(self._replicas.values())

    @property
    def _desired(self) -> str | None:
        return (
            self.rollout.desired.champion.version
            if self.rollout.desired.champion
            else self.following
        )

    def _capture(self, comparison: Comparison, window: Window) -> None:
        """A full disk, or an S3 that is away, costs the window, not the service."""
        rows = Table(window.rows, comparison.bundle.names)
        alerts = comparison.alerts(window.scores)
        answered = AnsweredRows(window.requests, alerts, comparison.champion.version)
        try:
            self._captured.write(rows, window.scores, answered, window.since)
        except OSError as error:
            self.metrics.capture_failures.inc()
            log.warning("a window of captured rows is lost: %s", error)

    def _judge(self, comparison: Comparison, window: Window, now: float) -> None:
        before = comparison.last["verdict"] if comparison.last else "none"
        verdict = comparison.judge(window, self.settings.alpha)
        if verdict.kind != "data break":
            self._capture(comparison, window)
        moved, go = governor.on_window(
            self.state, verdict.kind, window.since, len(window.rows), now, self.settings
        )
        self.live.told.judged(verdict.to_json(), now)
        self.metrics.windows.labels(verdict.kind).inc()
        if verdict.kind != "none":
            log.warning("%s", verdict.sentence)
        opened = moved.episode is not None and moved.episode != self.state.episode
        if opened:
            self.metrics.episodes.inc()
        if go:
            self.cause = f"{verdict.sentence} (episode {moved.episode})"
        self._move(moved, now)
        if opened or (verdict.kind == "data break" and before != "data break"):
            self._pages.append(
                (
                    moved.episode or f"{int(now * 1000)}-data-break",
                    episode_page(self._status(now), now),
                )
            )
        self._save()

    def _move(self, moved: Governor, now: float) -> None:
        """Take the new state; a transition is logged and remembered with its reason."""
        before, self.state = self.state, moved
        if (before.phase, before.mode) != (moved.phase, moved.mode):
            self._moves.append(
                {"at": now, "phase": moved.phase, "episode": moved.episode, "reason": moved.reason}
            )
            log.warning("governor: %s -> %s: %s", before.phase, moved.phase, moved.reason)

    def _load(self) -> None:
        """Go on where a former monitor stopped; a state of another form is begun anew, not died of."""
        try:
            saved = self._store.load()
            if saved is None:
                return
            loaded = Governor.from_json(saved["governor"])
            self.cause, self.last_retraining, self._followed = (
                str(saved["cause"]),
                saved["last_retraining"],
                saved["followed"],
            )
            self._moves.extend(saved.get("timeline", []))
            self.state = loaded
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("the monitor's state cannot be read, it starts anew: %s", error)

    def _save(self) -> None:
        if not self.is_leader:
            return
        try:
            self._store.save(
                {
                    "governor": self.state.to_json(),
                    "cause": self.cause,
                    "last_retraining": self.last_retraining,
                    "followed": self._followed,
                    "timeline": list(self._moves),
                }
            )
        except LostLease as error:
            self.is_leader = False
            log.warning("standing by: %s", error.message)
        except OSError as error:
            log.warning("the monitor's state cannot be written: %s", error)
