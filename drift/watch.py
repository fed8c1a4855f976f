"""The watch: windows, verdicts, governor and feedback, driven by its callers, without Ray.

It decides, and publishes what has happened (drift/events.py); what people see of it subscribes.
Of several watches with one state only the leader decides.
"""

from __future__ import annotations

import logging
import threading

import msgspec

from drift import governor
from drift.comparison import NOTHING, Comparison
from drift.events import (
    ChampionFollowed,
    Events,
    ReportReceived,
    RetrainingEnded,
    Transition,
    WindowJudged,
)
from drift.feedback import Feedback, Label
from drift.governor import Governor, retrains_left
from drift.incidents.desk import IncidentDesk
from drift.incidents.episodes import follow_events
from drift.memory import LastRetraining, MonitorMemory
from drift.raw_rows import RecentRawRows
from drift.release import Retraining
from drift.replicas import Replicas
from drift.rollout import Rollout
from drift.settings import DriftSettings, Mode
from drift.state import LostLease, StateStore, open_state_store
from drift.verdict import VerdictKind
from drift.window import Window, open_captured_windows
from serve.metrics import DriftMetrics
from serve.model.report import CapturedRows, ReplicaReport
from train.model.bundle import ModelBundle
from train.registry.versions import Version
from train.table.captured import AnsweredRows
from train.table.table import Table
from vigil.home import Home
from vigil.json_types import JsonObject

log = logging.getLogger("ray.serve")


class Watch:
    """Thread-safe; `lock` is held while it decides, and by whoever reads more than one thing."""

    is_leader = False
    comparison: Comparison | None = None
    _rows_seen = 0

    def __init__(self, settings: DriftSettings, store: StateStore | None = None) -> None:
        self.lock = threading.RLock()
        self.settings = settings
        self.home = Home(settings.home).create()
        self.metrics = DriftMetrics()
        self.events = Events()
        self.memory = MonitorMemory()
        self.rollout = Rollout(settings, self.metrics)
        self.feedback = Feedback(self.home.state / "feedback.json", self.metrics)
        self.desk = IncidentDesk(settings, self.home.state, self.metrics)
        self._live_rows = follow_events(self.desk, self.events)
        self._replicas = Replicas()
        self.recent = RecentRawRows()
        self._captured = open_captured_windows(settings)
        self._store = store or open_state_store(settings.state_url, self.home.state)
        self.acquire_lease()

    def follow_settings(self, settings: DriftSettings) -> None:
        """Go on with other values of what may change while the monitor runs."""
        with self.lock:
            self.settings = settings
            self.rollout.settings = settings
            self._captured.keep = settings.keep_windows
            self.desk.follow_settings(settings)

    def acquire_lease(self) -> bool:
        """Become, or stay, the leader, where nobody else is.

        A new leader goes on where the former stopped.
        """
        with self.lock:
            was_leader = self.is_leader
            self.is_leader = self._try_lease()
            if self.is_leader and not was_leader:
                self._load()
        self.desk.follow_lease(self.is_leader)
        return self.is_leader

    def _try_lease(self) -> bool:
        try:
            return self._store.acquire_lease()
        except OSError as error:
            log.warning("the monitor's state cannot be reached, nothing is decided: %s", error)
            return False

    def close(self) -> None:
        """Let another watch take over."""
        self.desk.close()
        self._store.release()
        self.is_leader = False

    @property
    def state(self) -> Governor:
        return self.memory.governor

    @property
    def cause(self) -> str:
        """Why the last retraining began."""
        return self.memory.cause

    @property
    def severity(self) -> float:
        return self.comparison.severity if self.comparison else 0.0

    @property
    def following(self) -> str | None:
        """The champion whose windows are compared."""
        return self.comparison.champion.version if self.comparison else None

    @property
    def mode(self) -> Mode:
        """The mode that a person has chosen, or the settings'."""
        return self.state.mode or self.settings.mode

    @property
    def may_promote(self) -> bool:
        """Whether a retraining may still change the champion: a person may have switched it off."""
        return self.is_leader and self.mode == "auto"

    def ingest(self, report: ReplicaReport, now: float) -> None:
        """Take in one replica's report: what it serves, its metrics, and its captured rows."""
        with self.lock:
            self._replicas.take(report.served, now)
            self.rollout.ingest(report)
            self._publish_report(report, now)
            for batch in report.rows:
                self._take_rows(batch, now)
        # Not under the lock: the database may be far away.
        self.desk.save()

    def _publish_report(self, report: ReplicaReport, now: float) -> None:
        replicas = [replica.served for replica in self._replicas.live(now)]
        desired = self.rollout.desired_version(self.following)
        self.events.publish(ReportReceived(now, report, replicas, desired))

    def _take_rows(self, batch: CapturedRows, now: float) -> None:
        self._rows_seen += len(batch.rows)
        if not self.is_leader:
            return
        batch = self.recent.take(batch)
        silenced = self._live_rows.take(batch, now)
        comparison = self.comparison
        if comparison is None or batch.version != comparison.champion.version:
            self.metrics.skipped.inc(len(batch.rows))
        elif silenced.any():
            self._compare(comparison, batch.where(~silenced), now)
        else:
            self._compare(comparison, batch, now)

    def _compare(self, comparison: Comparison, batch: CapturedRows, now: float) -> None:
        alerts = comparison.alerts(batch.scores)
        self.feedback.answered(
            AnsweredRows(batch.requests, alerts, batch.version, batch.number_rows())
        )
        for window in comparison.window.add(batch, now):
            self._judge(comparison, window, now)

    def tick(self, now: float) -> None:
        """Do what time alone brings: judge a window that nobody fills, follow the schedule."""
        self.desk.tick(now)
        with self.lock:
            if not self.is_leader or self.comparison is None:
                return
            self._judge_old_window(self.comparison, now)
            self._follow_schedule(now)

    def _judge_old_window(self, comparison: Comparison, now: float) -> None:
        oldest = now - self.settings.window_s
        is_judged = self.settings.window_s > 0
        window = comparison.window.flush_if_older_than(oldest) if is_judged else None
        if window is not None:
            self._judge(comparison, window, now)

    def _follow_schedule(self, now: float) -> None:
        before = self.state
        after = governor.on_time(before, now, self.settings)
        if after != before:
            self._note_cause(before, after, after.reason)
            self._move(after, now)
            self._save()

    def _note_cause(self, before: Governor, after: Governor, cause: str) -> None:
        """Remember why a retraining begins, if one does."""
        if governor.begins_retraining(before, after):
            self.memory.cause = f"{cause} (episode {after.episode})"

    def switch(self, mode: Mode | None, now: float) -> None:
        """Set the governor's mode by hand; None: the settings' one."""
        with self.lock:
            self._require_lease()
            self._move(governor.on_mode(self.state, mode), now)
            self._save()

    def label(self, labels: list[Label]) -> dict[str, int]:
        """Take in what people say of scored rows."""
        with self.lock:
            self._require_lease()
            return self.feedback.tell(labels, self._captured)

    def _require_lease(self) -> None:
        if not self.is_leader:
            raise LostLease("another monitor holds the state: ask the cluster that it runs on")

    def follow(self, champion: Version, bundle: ModelBundle, now: float) -> None:
        """Compare with the reference of this champion from now on."""
        with self.lock:
            self._forget_former(champion, now)
            self.memory.followed = champion.version
            self.comparison = Comparison(champion, bundle)
            self.rollout.budget = bundle.threshold.budget
            self.events.publish(ChampionFollowed(champion.version, bundle))
            self._save()

    def _forget_former(self, champion: Version, now: float) -> None:
        if self.memory.followed in (None, champion.version):
            return
        is_own = self._is_own(champion)
        self._move(governor.on_champion(self.state, own=is_own), now)

    def _is_own(self, champion: Version) -> bool:
        """Whether the last retraining has made this champion."""
        last = self.memory.last_retraining
        return last is not None and last.version == champion.version

    def finish(self, result: Retraining, now: float) -> None:
        """End the retraining of the open episode."""
        with self.lock:
            self._end_retraining(result, now)
            self.memory.last_retraining = self._retraining_to_remember(result, now)
            self.events.publish(RetrainingEnded(result.outcome, self.state.retrain_seconds))
            self._save()

    def _end_retraining(self, result: Retraining, now: float) -> None:
        after = governor.on_retrained(
            self.state, result.outcome, result.reason, now=now, settings=self.settings
        )
        self._move(after, now, result)

    def _retraining_to_remember(self, result: Retraining, now: float) -> LastRetraining:
        return LastRetraining(
            outcome=result.outcome,
            reason=result.reason,
            version=result.version,
            cause=self.cause,
            at=now,
        )

    def status(self, now: float) -> JsonObject:
        """Return what `/drift` answers."""
        with self.lock:
            return {
                **(self.comparison.status() if self.comparison else NOTHING),
                "governor": self._governor_status(now),
                "standby": not self.is_leader,
                **self._memory_status(),
                "feedback": self._feedback_status(),
                "retrains": self.state.retrained,
                "rows_seen": self._rows_seen,
                **self._replicas_status(now),
            }

    def _memory_status(self) -> JsonObject:
        memory = self.memory
        return {
            "timeline": [transition.status() for transition in memory.transitions],
            "cause": memory.cause,
            "last_retraining": msgspec.to_builtins(memory.last_retraining),
        }

    def _replicas_status(self, now: float) -> JsonObject:
        live = self._replicas.live(now)
        served = [replica.served for replica in live]
        rollout = self.rollout.status(served, now, self.following)
        return {"replicas": [replica.status() for replica in live], **rollout}

    def _governor_status(self, now: float) -> JsonObject:
        left = retrains_left(self.state, now, self.settings)
        return {**self.state.status(), "mode": self.mode, "retrains_left": left}

    def _feedback_status(self) -> JsonObject:
        return {
            "all": self.feedback.figures(),
            "champion": self.feedback.figures(self.following),
            "incidents": self.desk.precision.status(),
        }

    def _judge(self, comparison: Comparison, window: Window, now: float) -> None:
        former = comparison.last_kind
        verdict = comparison.judge(window, self.settings.alpha)
        if verdict.kind != "data break":
            self._capture(comparison, window)
        if verdict.kind != "none":
            log.warning("%s", verdict.sentence)
        before = self.state
        after = self._after_window(verdict.kind, window, now)
        self._note_cause(before, after, verdict.sentence)
        self._move(after, now)
        judged = WindowJudged(
            at=now,
            version=comparison.champion.version,
            verdict=verdict,
            rows=window.rows,
            since=window.since,
            former=former,
            governor=after,
            is_onset=governor.opens_episode(before, after),
        )
        self.events.publish(judged)
        self._save()

    def _after_window(self, kind: VerdictKind, window: Window, now: float) -> Governor:
        return governor.on_window(
            self.state,
            kind,
            since=window.since,
            rows=len(window.rows),
            now=now,
            settings=self.settings,
        )

    def _capture(self, comparison: Comparison, window: Window) -> None:
        """Keep the rows; a full disk, or an S3 that is away, costs the window, not the service."""
        rows = Table(window.rows, comparison.bundle.names)
        answered = comparison.answered(window)
        try:
            self._captured.write(rows, window.scores, answered, window.since)
        except OSError as error:
            self.metrics.capture_failures.inc()
            log.warning("a window of captured rows is lost: %s", error)

    def _move(self, after: Governor, now: float, result: Retraining | None = None) -> None:
        """Take the new state; a transition is logged, remembered and published."""
        before = self.state
        self.memory.governor = after
        if (before.phase, before.mode) == (after.phase, after.mode):
            return
        transition = _transition(before, after, now)
        if result is not None:
            transition = self._with_outcome(transition, result)
        self._tell(transition)

    def _tell(self, transition: Transition) -> None:
        log.warning("governor: %s", transition.sentence)
        self.memory.transitions.append(transition)
        self.events.publish(transition)

    def _with_outcome(self, transition: Transition, result: Retraining) -> Transition:
        return msgspec.structs.replace(
            transition,
            outcome=result.outcome,
            summary=result.summary or result.reason,
            detail=(*result.detail, governor.cooldown_of(self.settings)),
        )

    def _load(self) -> None:
        """Go on where a former leader stopped; a state of another form is begun anew."""
        try:
            stored = self._store.load()
            if stored is not None:
                self.memory = MonitorMemory.from_json(stored)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("the monitor's state cannot be read, it starts anew: %s", error)

    def _save(self) -> None:
        if not self.is_leader:
            return
        try:
            self._store.save(self.memory.to_json())
        except LostLease as error:
            self.is_leader = False
            log.warning("standing by: %s", error.message)
        except OSError as error:
            log.warning("the monitor's state cannot be written: %s", error)


def _transition(before: Governor, after: Governor, now: float) -> Transition:
    return Transition(
        at=now,
        phase=after.phase,
        episode=after.episode,
        reason=after.reason,
        former=before.phase,
        trigger=after.trigger,
    )
