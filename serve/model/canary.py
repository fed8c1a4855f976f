"""A canary on one replica: which requests it answers, and what both models did meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from serve.model.loaded import LoadedModel
from serve.model.prepared import PreparedRows
from serve.model.report import ArmCounts, CanaryReport
from train.registry.canary import Canary
from vigil.arrays import Floats

log = logging.getLogger("ray.serve")
LATENCY_BUCKETS = 24  # each twice as long as the one before; the last begins at 4 s


@dataclass
class Arm:
    """What one of the two models did since the canary began.

    latency counts requests by the bits of their microseconds.
    """

    requests: int = 0
    errors: int = 0
    rows: int = 0
    alerts: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * LATENCY_BUCKETS)

    def add(
        self,
        rows: int,
        alerts: int,
        seconds: float,
    ) -> None:
        self.requests += 1
        self.rows += rows
        self.alerts += alerts
        self.latency[_bucket(seconds)] += 1

    def counts(self) -> ArmCounts:
        """Return what was counted until now."""
        return ArmCounts(
            requests=self.requests,
            errors=self.errors,
            rows=self.rows,
            alerts=self.alerts,
            latency=tuple(self.latency),
        )


def _bucket(seconds: float) -> int:
    """The place of a latency among the buckets."""
    microseconds = int(seconds * 1e6)
    return min(microseconds.bit_length(), LATENCY_BUCKETS - 1)


class RunningCanary:
    """The `candidate` answers its share of the requests by the plan.

    Where it fails the champion answers.
    """

    def __init__(
        self,
        plan: Canary,
        candidate: LoadedModel,
        elapsed_s: Callable[[], float],
    ) -> None:
        """`elapsed_s` gives the seconds for which the canary runs."""
        self.plan = plan
        self.candidate = candidate
        self._elapsed_s = elapsed_s
        self._champion_arm = Arm()
        self._canary_arm = Arm()

    def score(
        self,
        champion: LoadedModel,
        rows: PreparedRows,
        body: bytes,
        threads: int,
    ) -> tuple[LoadedModel, Floats]:
        """The model that answers the request with this body, and its scores.

        The champion answers rows that were made for its transform alone.
        """
        if self._has_rows(rows) and self.takes(body):
            try:
                return self.candidate, _score(self.candidate, rows, threads, arm=self._canary_arm)
            except Exception:  # whatever it is, the caller gets the champion's answer
                self._note_failure()
        return champion, _score(champion, rows, threads, arm=self._champion_arm)

    def takes(self, body: bytes) -> bool:
        """Return whether the candidate answers the request with this body, now."""
        return self.plan.takes(body, self._elapsed_s())

    def _has_rows(self, rows: PreparedRows) -> bool:
        return self.candidate.row_format.key in rows.by_key

    def _note_failure(self) -> None:
        self._canary_arm.errors += 1
        version = self.candidate.version
        fields = {"model_version": version}
        log.exception("the canary, version %s, failed; the champion answers", version, extra=fields)

    @property
    def requests(self) -> dict[str, int]:
        """Answered so far, by arm."""
        return {"champion": self._champion_arm.requests, "canary": self._canary_arm.requests}

    def report(self) -> CanaryReport:
        """Return the counts since the canary began on this replica."""
        return CanaryReport(
            started=self.plan.started,
            budget=self.candidate.bundle.threshold.budget,
            champion=self._champion_arm.counts(),
            canary=self._canary_arm.counts(),
        )


def _score(
    model: LoadedModel,
    rows: PreparedRows,
    threads: int,
    *,
    arm: Arm,
) -> Floats:
    began = time.perf_counter()
    scores = model.bundle.forest.score(model.rows_of(rows), threads)
    took = time.perf_counter() - began
    if not np.isfinite(scores).all():
        raise ArithmeticError("scores that are not finite")
    alerts = np.count_nonzero(model.scored(rows, scores).alerts)
    arm.add(len(rows), int(alerts), took)
    return scores
