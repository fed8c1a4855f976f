"""When a canary is sent home: pure, on the counts of both models since it began.

The guard looks at every report, so its evidence must hold however often it looks: it is a mixture
likelihood ratio, which under the tolerated rate exceeds 1 / ALPHA at any time with a probability of
at most ALPHA (Ville's inequality; Robbins, "Statistical methods related to the law of the iterated
logarithm", 1970). Two failed requests in a row are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import betaincc, betaln

from serve.model.report import ArmCounts
from vigil.statistics import THREE_SIGMA_LEVEL, share_interval

ALPHA = 1e-3
MAX_ERROR_RATE = 0.01  # share of failed requests that is tolerated
MAX_ALERT_RATIO = 1.5  # to the highest rate that the champion's may be at the same time
MAX_SLOW_RATE = 0.05  # share of requests that may be slow
SLOW_STEPS = 2  # slow: four times as long as all but a hundredth of the champion's
MIN_COMPARED = 50  # requests or rows of the champion before it is compared with


def sum_arms(arms: Iterable[ArmCounts]) -> ArmCounts:
    """Return the sum over replicas."""
    counts = list(arms)
    latency = zip(*(arm.latency for arm in counts), strict=True)
    return ArmCounts(
        requests=sum(arm.requests for arm in counts),
        errors=sum(arm.errors for arm in counts),
        rows=sum(arm.rows for arm in counts),
        alerts=sum(arm.alerts for arm in counts),
        latency=tuple(sum(bucket) for bucket in latency),
    )


def evidence(hits: int, trials: int, rate: float) -> float:
    """Return the logarithm of the evidence that the rate of hits is above `rate`.

    It is the likelihood of the mixture over all higher rates, against that of `rate`.
    """
    if not 0 <= hits <= trials or not 0 < rate < 1:
        return -math.inf
    misses = trials - hits
    tail = float(betaincc(hits + 1, misses + 1, rate))
    if tail <= 0:
        return -math.inf
    above = float(betaln(hits + 1, misses + 1)) + math.log(tail) - math.log1p(-rate)
    return above - hits * math.log(rate) - misses * math.log1p(-rate)


@dataclass(frozen=True)
class CanaryGuard:
    """Judges a canary beside its champion.

    budget: alert budget of the canary; band: factor within which its rate is its own affair
    alpha: probability with which a good canary is ever stopped
    """

    champion: ArmCounts
    canary: ArmCounts
    budget: float
    band: float
    alpha: float = ALPHA

    def reason_to_stop(self) -> str | None:
        """Return why the canary must end, or None."""
        return self._errors() or self._alerts() or self._latency()

    def _is_above(self, hits: int, trials: int, rate: float) -> bool:
        return evidence(hits, trials, rate) > -math.log(self.alpha)

    def _errors(self) -> str | None:
        errors = self.canary.errors
        attempts = self.canary.requests + errors
        if not self._is_above(errors, attempts, MAX_ERROR_RATE):
            return None
        return f"it failed on {errors} of {attempts} requests"

    def _alerts(self) -> str | None:
        canary = self.canary
        highest, lowest = self._alert_bounds()
        if self._is_above(canary.alerts, canary.rows, highest):
            return self._alert_reason("over", highest)
        if self._is_above(canary.rows - canary.alerts, canary.rows, 1 - lowest):
            return self._alert_reason("under", lowest)
        return None

    def _alert_bounds(self) -> tuple[float, float]:
        """Highest and lowest alert rate that is tolerated."""
        highest = self.budget * self.band
        lowest = self.budget
        if self.champion.rows >= MIN_COMPARED:
            champion = share_interval(self.champion.alerts, self.champion.rows, THREE_SIGMA_LEVEL)
            highest = max(highest, MAX_ALERT_RATIO * champion.high)
            lowest = min(lowest, champion.low)
        return highest, lowest / self.band

    def _alert_reason(self, side: str, bound: float) -> str:
        canary = self.canary
        champion = self.champion
        return (
            f"{canary.alerts} of {canary.rows} rows alert, {side} {bound:.4f}; "
            f"{champion.alerts} of the champion's {champion.rows} do"
        )

    def _latency(self) -> str | None:
        champion = self.champion
        if champion.requests < MIN_COMPARED:
            return None
        usual = usual_bucket(champion)
        limit = usual + SLOW_STEPS
        slow = sum(self.canary.latency[limit + 1 :])
        if not self._is_above(slow, self.canary.requests, MAX_SLOW_RATE):
            return None
        return (
            f"{slow} of {self.canary.requests} requests took more than "
            f"{_milliseconds(limit):g} ms, "
            f"the champion's take {_milliseconds(usual):g}"
        )


def usual_bucket(arm: ArmCounts) -> int:
    """Return the bucket of latency that at most a hundredth of the requests is above."""
    above = sum(arm.latency)
    for bucket, requests in enumerate(arm.latency):
        above -= requests
        if above <= arm.requests / 100:
            return bucket
    raise ValueError("an arm without buckets of latency")


def _milliseconds(bucket: int) -> float:
    """Upper end of a bucket of latency."""
    return 2**bucket / 1000
