"""The watch: windows, verdicts, governor and feedback, driven by its callers, without Ray.

It decides, and publishes what has happened (drift/events.py); what people see of it subscribes.
Of several watches with one state only the leader decides.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

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
from drift.governor import Governor
from drift.incidents.desk import IncidentDesk
from drift.incidents.episodes import follow_events
from drift.leased_memory import LeasedMemory
from drift.memory import LastRetraining, MonitorMemory
from drift.raw_rows import RecentRawRows
from drift.release import Retraining
from drift.replicas import Replicas
from drift.rollout import Rollout
from drift.settings import DriftSettings, Mode
from drift.state import StateStore, open_state_store
from drift.verdict import Verdict
from drift.window import Window, open_captured_windows
from serve.metrics import DriftMetrics
from serve.model.report import CapturedRows, ReplicaReport, ServedModel
from train.model.bundle import ModelBundle
from train.registry.versions import Version
from train.table.captured import AnsweredRows
from vigil.home import Home
from vigil.json_types import JsonObject

log = logging.getLogger("ray.serve")


class Watch:
    """Thread-safe; `lock` is held while it decides, and by whoever reads more than one thing.

    Its `seconds` never jump; the times that methods get are Unix seconds, and may.
    """

    comparison: Comparison | None = None
    _rows_seen = 0

    def __init__(
        self,
        settings: DriftSettings,
        store: StateStore | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.RLock()
        self.settings = settings
        self.home = Home(settings.home).create()
        self.metrics = DriftMetrics()
        self.events = Events()
        self.rollout = Rollout(settings, self.metrics, seconds)
        self.feedback = Feedback(self.home.state / "feedback.json", self.metrics)
        self.desk = IncidentDesk(settings, self.home.state, self.metrics)
        self._live_rows = follow_events(self.desk, self.events)
        self._replicas = Replicas(seconds=seconds)
        self.recent = RecentRawRows()
        self._captured = open_captured_windows(settings)
        self._leased = LeasedMemory(store or open_state_store(settings.state_url, self.home.state))
        self.acquire_lease()

    def follow_settings(self, settings: DriftSettings) -> None:
        """Go on with other values of what may change while the monitor runs."""
        with self.lock:
            self.settings = settings
            self.rollout.settings = settings
            self._captured.keep = settings.keep_windows
            self.desk.follow_settings(settings)

    def acquire_lease(self) -> bool:
        """Become, or stay, the leader, where nobody else is."""
        with self.lock:
            is_leader = self._leased.acquire_lease()
        self.desk.follow_lease(is_leader)
        return is_leader

    def close(self) -> None:
        """Let another watch take over."""
        self.desk.close()
        self._leased.release()

    @property
    def memory(self) -> MonitorMemory:
        return self._leased.content

    @property
    def is_leader(self) -> bool:
        return self._leased.is_leader

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
        desired = self.rollout.desired_version(self.following)
        self.events.publish(ReportReceived(now, report, self.served_models(), desired))

    def served_models(self) -> list[ServedModel]:
        """Return what each living replica serves."""
        return [replica.served for replica in self._replicas.live()]

    def _take_rows(self, batch: CapturedRows, now: float) -> None:
        self._rows_seen += len(batch.rows)
        if not self.is_leader:
            return
        batch = self.recent.take(batch)
        silenced = self._live_rows.take(batch, now)
        comparison = self._comparison_with(batch.version)
        if comparison is None:
            self.metrics.skipped.inc(len(batch.rows))
            return
        compared = batch.where(~silenced) if silenced.any() else batch
        self._compare(comparison, compared, now)

    def _comparison_with(self, version: str) -> Comparison | None:
        """The comparison with the champion, if that is this version."""
        return self.comparison if version == self.following else None

    def _compare(
        self,
        comparison: Comparison,
        batch: CapturedRows,
        now: float,
    ) -> None:
        answered = AnsweredRows(
            batch.requests,
            comparison.alerts(batch),
            batch.version,
            batch.number_rows(),
        )
        self.feedback.answered(answered)
        comparison.count_words(batch)
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
        longest = self.settings.window_s
        if longest <= 0:
            return
        window = comparison.window.flush_if_older_than(longest, now)
        if window is not None:
            self._judge(comparison, window, now)

    def _follow_schedule(self, now: float) -> None:
        before = self.state
        after = governor.on_time(before, now, self.settings)
        if after != before:
            self._note_cause(before, after, after.reason)
            self._move(after, now)
            self._leased.save()

    def _note_cause(
        self,
        before: Governor,
        after: Governor,
        cause: str,
    ) -> None:
        """Remember why a retraining begins, if one does."""
        if governor.begins_retraining(before, after):
            self.memory.cause = f"{cause} (episode {after.episode})"

    def switch(self, mode: Mode | None, now: float) -> None:
        """Set the governor's mode by hand; None: the settings' one."""
        with self.lock:
            self._leased.require()
            switched = governor.on_mode(self.state, mode)
            self._move(switched, now)
            self._leased.save()

    def label(self, labels: list[Label]) -> dict[str, int]:
        """Take in what people say of scored rows."""
        with self.lock:
            self._leased.require()
            return self.feedback.tell(labels, self._captured)

    def follow(
        self,
        champion: Version,
        bundle: ModelBundle,
        now: float,
    ) -> None:
        """Compare with the reference of this champion from now on."""
        followed = ChampionFollowed(champion.version, bundle)
        with self.lock:
            self._forget_former(champion, now)
            self.memory.followed = champion.version
            self.comparison = Comparison(champion, bundle)
            self.rollout.budget = bundle.threshold.budget
            self.events.publish(followed)
            self._leased.save()

    def _forget_former(self, champion: Version, now: float) -> None:
        former = self.memory.followed
        if former in (None, champion.version):
            return
        is_own = self.memory.is_own(champion.version)
        anew = governor.on_champion(self.state, own=is_own)
        self._move(anew, now)

    def note_submitted(self, episode: str, jobs: int) -> None:
        """Remember how many jobs were submitted for an episode."""
        with self.lock:
            self.memory.submitted = (episode, jobs)
            self._leased.save()

    def finish(self, result: Retraining, now: float) -> None:
        """End the retraining of the open episode."""
        with self.lock:
            self._end_retraining(result, now)
            self.memory.last_retraining = LastRetraining(
                outcome=result.outcome,
                reason=result.reason,
                version=result.version,
                cause=self.cause,
                at=now,
            )
            seconds = self.state.retrain_seconds
            ended = RetrainingEnded(result.outcome, seconds)
            self.events.publish(ended)
            self._leased.save()

    def _end_retraining(self, result: Retraining, now: float) -> None:
        after = governor.on_retrained(
            self.state,
            result.outcome,
            result.reason,
            now=now,
            settings=self.settings,
        )
        self._move(after, now, result)

    def status(self, now: float) -> JsonObject:
        """Return what `/drift` answers."""
        with self.lock:
            comparison = self.comparison
            compared = comparison.status() if comparison else NOTHING
            return {
                **compared,
                "governor": self._governor_status(now),
                "standby": not self.is_leader,
                **self.memory.status(),
                "feedback": self._feedback_status(),
                "retrains": self.state.retrained,
                "rows_seen": self._rows_seen,
                **self._replicas_status(),
            }

    def _replicas_status(self) -> JsonObject:
        rollout = self.rollout.status(self.served_models(), self.following)
        replicas = [replica.status() for replica in self._replicas.live()]
        return {"replicas": replicas, **rollout}

    def _governor_status(self, now: float) -> JsonObject:
        budget = self.state.budget(now, self.settings)
        return {
            **self.state.status(),
            "mode": self.mode,
            "retrains_left": budget.retrains_left,
        }

    def _feedback_status(self) -> JsonObject:
        rows = self.feedback.status(self.following)
        return {**rows, "incidents": self.desk.precision.status()}

    def _judge(
        self,
        comparison: Comparison,
        window: Window,
        now: float,
    ) -> None:
        former = comparison.last_kind
        verdict = comparison.judge(window, self.settings.alpha)
        if verdict.kind != "data break":
            self._capture(comparison, window)
        if verdict.kind != "none":
            log.warning("%s", verdict.sentence)
        before = self.state
        self._decide(verdict, window, now)
        judged = WindowJudged(
            at=now,
            version=comparison.champion.version,
            verdict=verdict,
            rows=window.rows,
            since=window.since,
            former=former,
            governor=self.state,
            is_onset=governor.opens_episode(before, self.state),
        )
        self.events.publish(judged)
        self._leased.save()

    def _decide(
        self,
        verdict: Verdict,
        window: Window,
        now: float,
    ) -> None:
        """Let the governor take in the verdict."""
        after = governor.on_window(
            self.state,
            verdict.kind,
            since=window.since,
            rows=len(window.rows),
            now=now,
            settings=self.settings,
        )
        self._note_cause(self.state, after, verdict.sentence)
        self._move(after, now)

    def _capture(self, comparison: Comparison, window: Window) -> None:
        """Keep the rows; a full disk, or an S3 that is away, costs the window, not the service."""
        try:
            comparison.write(window, self._captured)
        except OSError as error:
            self.metrics.capture_failures.inc()
            log.warning("a window of captured rows is lost: %s", error)

    def _move(
        self,
        after: Governor,
        now: float,
        result: Retraining | None = None,
    ) -> None:
        """Take the new state; a transition is logged, remembered and published."""
        before = self.state
        self.memory.governor = after
        if before.phase == after.phase and before.mode == after.mode:
            return
        transition = Transition.between(before, after, now)
        if result is not None:
            cooldown = governor.cooldown_of(self.settings)
            transition = result.tell_in(transition, cooldown)
        log.warning("governor: %s", transition.sentence)
        self.memory.transitions.append(transition)
        self.events.publish(transition)
