"""One retraining: train, read the gate, promote the new version or keep the champion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from drift.incidents.labels import JudgedIncident, judge_by_answers
from drift.release import Release, Retraining, deciding_sentences
from drift.rollout import Rollout
from drift.settings import DriftSettings
from drift.training_job import EndedJob, Episode, GithubTraining, RayTraining
from train.registry.versions import Registry, Version
from train.submit import Jobs
from vigil.home import Home
from vigil.json_types import Fields


class Retrainer:
    """Runs retrainings, on the baseline and on the rows captured since the drift began."""

    def __init__(
        self,
        settings: DriftSettings,
        registry: Registry,
        rollout: Rollout,
        *,
        connect: Callable[[str], Jobs] = Jobs,
        poll_interval_s: float = 1.0,
        answered: Callable[[], Sequence[JudgedIncident]] = tuple,
        note_submitted: Callable[[int], object] = lambda attempt: None,
    ) -> None:
        """`answered` gives the incidents on which people have given a verdict.

        `note_submitted` is told how many jobs were submitted for the episode, and remembers it for
        the next monitor.
        """
        self._note_submitted = note_submitted
        self._answered = answered
        self._settings = settings
        self._registry = registry
        self._connect = connect
        self._poll_interval_s = poll_interval_s
        self._release = Release(settings, registry, rollout, poll_interval_s)

    def run(
        self,
        episode: Episode,
        *,
        may_promote: Callable[[], bool] = lambda: True,
        until: float = math.inf,
    ) -> Retraining:
        """Run the retraining of this episode; blocks until it has ended.

        may_promote: asked before the champion is changed, as a person may have switched retraining
        off meanwhile; until: when its time is over (`time.monotonic`), however often it is called

        It is idempotent: job and version are keyed by the episode. So a monitor that restarts joins
        the job that runs, and may call it again after JobsUnavailable or RegistryUnavailable.
        """
        champion = self._registry.champion()
        if champion is None:
            return Retraining("failed", "there is no champion to improve on")
        job = self._train(episode, champion, until)
        version = self._registry.of_job(episode.id)
        if version is None:
            return Retraining("failed", f"the job {episode.job} {job.ended}")
        return self._decide(episode, version, may_promote).with_note(job.note)

    def _train(
        self,
        episode: Episode,
        champion: Version,
        until: float,
    ) -> EndedJob:
        cache = Home(self._settings.home).cache
        info: Fields = self._registry.fetch(champion, cache).info
        return self._backend(episode).run(info, until)

    def _backend(self, episode: Episode) -> RayTraining | GithubTraining:
        if self._settings.backend == "github":
            return GithubTraining(
                self._settings, episode, self._registry, poll_interval_s=self._poll_interval_s
            )
        return RayTraining(
            self._settings, episode, self._connect, note_submitted=self._note_submitted
        )

    def _decide(
        self,
        episode: Episode,
        version: Version,
        may_promote: Callable[[], bool],
    ) -> Retraining:
        number = version.version
        gate = self._registry.gate(version)
        if not gate["passed"]:
            return _failed_gate(number, gate)
        failed = self._fails_by_answers(version)
        if failed is not None:
            return failed
        if not may_promote():
            reason = f"version {number} passed the gate, but retraining was switched off"
            return Retraining("kept", reason, number)
        return self._release.run(number, gate, f"drift: {episode.cause}")

    def _fails_by_answers(self, version: Version) -> Retraining | None:
        """The end of a retraining whose version loses, or brings back, what people have judged."""
        judged = self._answered()
        champion = self._registry.champion()
        if not judged or champion is None:
            return None
        cache = Home(self._settings.home).cache
        challenger_bundle = self._registry.fetch(version, cache)
        champion_bundle = self._registry.fetch(champion, cache)
        verdict = judge_by_answers(challenger_bundle, champion_bundle, judged)
        if verdict is None or verdict.passed:
            return None
        summary = f"version {version.version} contradicts verdicts on incidents"
        sentences = deciding_sentences(verdict.to_json())
        return Retraining.decided("kept", summary, sentences, version.version)


def _failed_gate(version: str, gate: Fields) -> Retraining:
    summary = f"version {version} failed the gate"
    return Retraining.decided("kept", summary, deciding_sentences(gate), version)
