"""When a canary is sent home: pure, on the counts of both models since it began.

The guard looks at every report, so its evidence must hold however often it looks: it is a mixture
likelihood ratio, which under the tolerated rate exceeds 1 / ALPHA at any time with a probability of
at most ALPHA (Ville's inequality; Robbins, "Statistical methods related to the law of the iterated
logarithm", 1970). Two failed requests in a row are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import betaincc, betaln

from serve.model.report import ArmCounts
from vigil.statistics import THREE_SIGMA_LEVEL, Interval, share_interval

ALPHA = 1e-3
MAX_ERROR_RATE = 0.01  # share of failed requests that is tolerated
MAX_ALERT_RATIO = 1.5  # to the highest rate that the champion's may be at the same time
MAX_SLOW_RATE = 0.05  # share of requests that may be slow
SLOW_STEPS = 2  # slow: four times as long as all but a hundredth of the champion's
_COUNTS = ("requests", "errors", "rows", "alerts")
MIN_COMPARED = 50  # requests or rows of the champion before it is compared with


def sum_arms(arms: Iterable[ArmCounts]) -> ArmCounts:
    """Return the sum over replicas."""
    counts = list(arms)
    sums = {name: _sum(counts, name) for name in _COUNTS}
    return ArmCounts(**sums, latency=_sum_latency(counts))


def _sum(arms: Sequence[ArmCounts], name: str) -> int:
    return sum(getattr(arm, name) for arm in arms)


def _sum_latency(arms: Sequence[ArmCounts]) -> tuple[int, ...]:
    buckets = zip(*[arm.latency for arm in arms], strict=True)
    return tuple(map(sum, buckets))


def evidence(
    hits: int,
    trials: int,
    rate: float,
) -> float:
    """Return the logarithm of the evidence that the rate of hits is above `rate`.

    It is the likelihood of the mixture over all higher rates, against that of `rate`.
    """
    is_possible = 0 <= hits <= trials and 0 < rate < 1
    if not is_possible:
        return -math.inf
    misses = trials - hits
    above = _log_likelihood_above(hits, misses, rate)
    hits_at_rate = hits * math.log(rate)
    misses_at_rate = misses * math.log1p(-rate)
    return above - (hits_at_rate + misses_at_rate)


def _log_likelihood_above(
    hits: int,
    misses: int,
    rate: float,
) -> float:
    """Logarithm of the mean likelihood of all rates above `rate`."""
    tail = float(betaincc(hits + 1, misses + 1, rate))
    if tail <= 0:
        return -math.inf
    whole = float(betaln(hits + 1, misses + 1))
    return whole + math.log(tail) - math.log1p(-rate)


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

    def _is_above(
        self,
        hits: int,
        trials: int,
        rate: float,
    ) -> bool:
        return evidence(hits, trials, rate) > -math.log(self.alpha)

    def _errors(self) -> str | None:
        errors = self.canary.errors
        attempts = self.canary.requests + errors
        if not self._is_above(errors, attempts, MAX_ERROR_RATE):
            return None
        return f"it failed on {errors} of {attempts} requests"

    def _alerts(self) -> str | None:
        return self._too_many_alerts() or self._too_few_alerts()

    def _too_many_alerts(self) -> str | None:
        canary = self.canary
        highest = self._highest_alert_rate()
        if not self._is_above(canary.alerts, canary.rows, highest):
            return None
        return self._alert_reason("over", highest)

    def _too_few_alerts(self) -> str | None:
        canary = self.canary
        lowest = self._lowest_alert_rate()
        silent = canary.rows - canary.alerts
        if not self._is_above(silent, canary.rows, 1 - lowest):
            return None
        return self._alert_reason("under", lowest)

    def _highest_alert_rate(self) -> float:
        tolerated = self.budget * self.band
        champion = self._champion_rate()
        if champion is None:
            return tolerated
        return max(tolerated, MAX_ALERT_RATIO * champion.high)

    def _lowest_alert_rate(self) -> float:
        champion = self._champion_rate()
        tolerated = self.budget / self.band
        if champion is None:
            return tolerated
        return min(tolerated, champion.low / self.band)

    def _champion_rate(self) -> Interval | None:
        """Where the champion's rate lies; None while it has scored too few rows."""
        champion = self.champion
        if champion.rows < MIN_COMPARED:
            return None
        return share_interval(champion.alerts, champion.rows, THREE_SIGMA_LEVEL)

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
        slow = self.canary.slower_than(limit)
        requests = self.canary.requests
        if not self._is_above(slow, requests, MAX_SLOW_RATE):
            return None
        return f"{slow} of {requests} requests {_slowness(limit, usual)}"


def usual_bucket(arm: ArmCounts) -> int:
    """Return the bucket of latency that at most a hundredth of the requests is above."""
    above = sum(arm.latency)
    for bucket, requests in enumerate(arm.latency):
        above -= requests
        if above <= arm.requests / 100:
            return bucket
    raise ValueError("an arm without buckets of latency")


def _slowness(limit: int, usual: int) -> str:
    took = f"took more than {_milliseconds(limit):g} ms"
    return f"{took}, the champion's take {_milliseconds(usual):g}"


def _milliseconds(bucket: int) -> float:
    """Upper end of a bucket of latency."""
    return 2**bucket / 1000
