"""When a canary is sent home: pure, on the counts of both models since it began.

The guard looks at every report, so its evidence must hold however often it looks: it is a mixture likelihood ratio, which
under the tolerated rate exceeds 1 / ALPHA at any time with a probability of at most ALPHA (Ville's inequality; Robbins,
"Statistical methods related to the law of the iterated logarithm", 1970). Two failed requests in a row are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import betaincc, betaln

ALPHA = 1e-3
MAX_ERROR_RATE = 0.01  # share of failed requests that is tolerated
BESIDE = 1.5  # alert rate, as a multiple of what the champion's is at most at the same time
SLOW, STEPS_SLOWER = (
    0.05,
    2,
)  # share of requests that may take four times as long as all but a hundredth of the champion's
LEAST_BESIDE = 50  # requests of the champion before it is compared with


@dataclass(frozen=True)
class ArmTotals:
    """One model's requests, errors, rows, alerts, and requests by the bits of the microseconds they took."""

    requests: int = 0
    errors: int = 0
    rows: int = 0
    alerts: int = 0
    latency: tuple[int, ...] = ()

    @classmethod
    def total(cls, arms: Iterable[Mapping[str, Any]]) -> ArmTotals:
        """The sum over replicas."""
        found = list(arms)
        columns = zip(*(arm["latency"] for arm in found), strict=True)
        sums = (
            sum(int(arm[key]) for arm in found) for key in ("requests", "errors", "rows", "alerts")
        )
        return cls(*sums, latency=tuple(sum(column) for column in columns))


def evidence(hits: int, trials: int, most: float) -> float:
    """Logarithm of the evidence that the rate of hits is above `most`: the mixture over all higher rates against `most`."""
    if not 0 <= hits <= trials or not 0 < most < 1:
        return -math.inf
    tail = float(betaincc(hits + 1, trials - hits + 1, most))
    if tail <= 0:
        return -math.inf
    above = float(betaln(hits + 1, trials - hits + 1)) + math.log(tail) - math.log1p(-most)
    return above - hits * math.log(most) - (trials - hits) * math.log1p(-most)


def reason_to_stop(
    champion: ArmTotals, canary: ArmTotals, budget: float, band: float
) -> str | None:
    """Why the canary must end, or None. `budget` is its alert budget; rates within `band` times that are its own affair."""
    enough = -math.log(ALPHA)
    attempts = canary.requests + canary.errors
    if evidence(canary.errors, attempts, MAX_ERROR_RATE) > enough:
        return f"it failed on {canary.errors} of {attempts} requests"
    low, high = _wilson(champion.alerts, champion.rows)
    beside = champion.rows >= LEAST_BESIDE
    most, least = (
        max(budget * band, BESIDE * high if beside else 0.0),
        min(budget, low if beside else budget) / band,
    )
    for hits, limit, word in (
        (canary.alerts, most, "over"),
        (canary.rows - canary.alerts, 1 - least, "under"),
    ):
        if evidence(hits, canary.rows, limit) > enough:
            bound = most if word == "over" else least
            rates = f"{canary.alerts} of {canary.rows} rows alert, {word} {bound:.4f}"
            return f"{rates}; {champion.alerts} of the champion's {champion.rows} do"
    return _slow(champion, canary, enough)


def _slow(champion: ArmTotals, canary: ArmTotals, enough: float) -> str | None:
    if champion.requests < LEAST_BESIDE:
        return None
    usual = next(
        b
        for b in range(len(champion.latency))
        if sum(champion.latency[b + 1 :]) <= champion.requests / 100
    )
    limit = usual + STEPS_SLOWER
    slow = sum(canary.latency[limit + 1 :])
    if evidence(slow, canary.requests, SLOW) > enough:
        return f"{slow} of {canary.requests} requests took more than {2**limit / 1000:g} ms, the champion's take {2**usual / 1000:g}"
    return None


def _wilson(hits: int, trials: int, z: float = 3.0) -> tuple[float, float]:
    """An interval for a rate (Wilson, 1927)."""
    if trials == 0:
        return 0.0, 1.0
    rate, spread = hits / trials, z * z / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
