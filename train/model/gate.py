"""Gate between a challenger and the champion: pure, on metrics of the same held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from train.settings import TrainSettings
from vigil.json_types import Fields, JsonObject, Numbers

Metrics = Numbers
# Shares of the incidents that people have confirmed, or dismissed, on which a model alerts.
CONFIRMED_ALERTS = "confirmed_alerts"
DISMISSED_ALERTS = "dismissed_alerts"
MAX_HELD_OUT_DISTANCE = 0.3  # of a feature's values to those of the rows fitted on
SHADOW_SLOWDOWN = 4  # times the champion's time a row that a challenger may take


@dataclass(frozen=True)
class Check:
    """One check of the gate: `value` is compared with `limit` as `finding` says.

    subject: what the sentence is about, where it is not the name
    """

    name: str
    value: float
    limit: float
    passed: bool
    finding: str
    subject: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.subject or self.name} {self.finding}"

    def line(self, width: int) -> str:
        """Return it as a line of a list whose names are so wide."""
        word = "pass" if self.passed else "FAIL"
        return f"{word}  {self.name:<{width}}  {self.finding}"

    def to_json(self) -> JsonObject:
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "passed": self.passed,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class GateVerdict:
    """Verdict of the gate: passed when every check did."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """The deciding sentences: those that failed, or all when none did."""
        failed = [check for check in self.checks if not check.passed]
        deciding = failed or self.checks
        return "; ".join(check.sentence for check in deciding)

    def text(self) -> str:
        """Return the verdict with every check on a line of its own."""
        word = "passed" if self.passed else "failed"
        width = max(len(check.name) for check in self.checks)
        lines = [check.line(width) for check in self.checks]
        return "\n".join([f"gate {word}", *lines])

    def to_json(self) -> JsonObject:
        return {
            "passed": self.passed,
            "reason": self.reason,
            "checks": [check.to_json() for check in self.checks],
        }


def judge_challenger(
    challenger: Metrics,
    champion: Metrics | None,
    settings: TrainSettings,
    *,
    drifted: bool = False,
) -> GateVerdict:
    """Judge the challenger by its own metrics and, where there is a champion, against that one's
    on the same rows.

    After drift the two should disagree: then agreement, golden rows, scales and recall are
    measured, and decide nothing. A metric that is not there is not judged.
    """
    checks = _own_checks(challenger, settings)
    if champion is not None:
        if not drifted:
            checks += _agreement_checks(challenger, settings)
        checks += _comparison_checks(
            challenger,
            champion,
            settings,
            drifted=drifted,
        )
        checks.append(_budget_check(challenger, champion, settings.budget))
    return GateVerdict(tuple(checks))


def judge_shadow(
    evidence: Fields,
    min_rows: int,
    alert_limit: float,
) -> GateVerdict:
    """Judge what the challenger did in the shadow of the champion on live rows (drift/shadow.py).

    After drift the two should disagree: how far they do is kept in the ledger, and decides
    nothing.
    """
    errors = _at_most("shadow_errors", evidence["errors"], 0, "what a shadow may fail on")
    rows = _at_least("shadow_rows", evidence["rows"], min_rows, "the rows asked for")
    alert_rate = _at_most(
        "shadow_alert_rate",
        evidence["challenger_alert_rate"],
        max(alert_limit, evidence["champion_alert_rate"]),
        "the alert budget band or the champion's rate",
    )
    time_a_row = _at_most(
        "shadow_us_per_row",
        evidence["challenger_us_per_row"],
        SHADOW_SLOWDOWN * evidence["champion_us_per_row"],
        "four times the champion's",
    )
    return GateVerdict((errors, rows, alert_rate, time_a_row))


def judge_answers(challenger: Metrics, champion: Metrics) -> GateVerdict:
    """Judge a challenger by the incidents that people have answered (drift/incidents/labels.py).

    It may not lose what was confirmed, nor bring back what was dismissed. A share that is not
    there is not judged.
    """
    limits = (
        _Limit(
            CONFIRMED_ALERTS,
            _at_least,
            champion.get(CONFIRMED_ALERTS, 0.0),
            "the champion's share of the confirmed incidents",
        ),
        _Limit(
            DISMISSED_ALERTS,
            _at_most,
            champion.get(DISMISSED_ALERTS, 1.0),
            "the champion's share of the dismissed incidents",
        ),
    )
    return GateVerdict(tuple(_measured(challenger, limits)))


class _Limit(NamedTuple):
    """Limit of one metric; `check` compares with it."""

    metric: str
    check: Callable[[str, float, float, str], Check]
    value: float
    meaning: str

    def judge(self, measured: float) -> Check:
        return self.check(self.metric, measured, self.value, self.meaning)


def _at_most(
    name: str,
    value: float,
    limit: float,
    meaning: str,
) -> Check:
    passed = value <= limit
    return _compared(
        name,
        value,
        limit,
        meaning,
        passed=passed,
        words="within" if passed else "over",
    )


def _at_least(
    name: str,
    value: float,
    limit: float,
    meaning: str,
) -> Check:
    passed = value >= limit
    return _compared(
        name,
        value,
        limit,
        meaning,
        passed=passed,
        words="at least" if passed else "below",
    )


def _compared(
    name: str,
    value: float,
    limit: float,
    meaning: str,
    *,
    passed: bool,
    words: str,
) -> Check:
    return Check(
        name,
        value,
        limit,
        passed,
        finding=f"{value:.4f} is {words} {limit:.4f}, {meaning}",
    )


def _measured(metrics: Metrics, limits: Iterable[_Limit]) -> list[Check]:
    """The checks of the metrics that are there."""
    return [limit.judge(metrics[limit.metric]) for limit in limits if limit.metric in metrics]


def _own_checks(challenger: Metrics, settings: TrainSettings) -> list[Check]:
    """Checks of a model by itself."""
    alert_rate = _alert_rate_check(challenger, settings.budget * settings.alert_band)
    planted_auroc = _at_least(
        "planted_auroc",
        challenger["planted_auroc"],
        settings.min_planted_auroc,
        "the least for any model",
    )
    return [
        alert_rate,
        planted_auroc,
        *_measured(challenger, _own_limits(settings)),
    ]


def _alert_rate_check(challenger: Metrics, limit: float) -> Check:
    """Check of the alert rate; where the held-out rows are of another world, it says so."""
    check = _at_most("alert_rate", challenger["alert_rate"], limit, "its alert budget band")
    distance = challenger.get("held_out_distance", 0.0)
    if check.passed or distance < MAX_HELD_OUT_DISTANCE:
        return check
    unlike = f"the latest rows, which are held out, look unlike the rest (KS {distance:.2f})"
    advice = "if the table is in no order of time, train with --shuffled"
    return replace(check, finding=f"{check.finding}: {unlike}; {advice}")


def _own_limits(settings: TrainSettings) -> tuple[_Limit, ...]:
    return (
        _Limit(
            "calibration_error",
            _at_most,
            settings.max_calibration_error * settings.budget,
            "how far the threshold may miss its budget",
        ),
        _Limit("bundle_mb", _at_most, settings.max_bundle_mb, "the most for any model"),
        _Limit("row_us", _at_most, settings.max_row_us, "the most to score one row"),
        _Limit("seed_agreement", _at_least, settings.min_seed_agreement, "between two seeds"),
    )


def _agreement_checks(challenger: Metrics, settings: TrainSettings) -> list[Check]:
    """Checks of a challenger on the champion's own population: it sees that as the champion
    does."""
    rank_agreement = _Limit(
        "rank_agreement",
        _at_least,
        settings.min_rank_agreement,
        "with the champion's scores",
    )
    golden_recall = _Limit(
        "golden_recall",
        _at_least,
        settings.min_golden_recall,
        "of the champion's golden anomalies",
    )
    golden_alerts = _Limit(
        "golden_alerts",
        _at_most,
        settings.max_golden_alerts,
        "of the champion's other golden rows",
    )
    features_lost = _Limit(
        "features_lost",
        _at_most,
        settings.max_features_lost,
        "of the features, which varied for the champion",
    )
    scale_change = _Limit(
        "scale_change",
        _at_most,
        settings.max_scale_change,
        "for the spread of a feature: is a unit wrong?",
    )
    limits = (rank_agreement, golden_recall, golden_alerts, features_lost, scale_change)
    return _measured(challenger, limits)


def _comparison_checks(
    challenger: Metrics,
    champion: Metrics,
    settings: TrainSettings,
    *,
    drifted: bool,
) -> list[Check]:
    """Checks of metrics that both have: the challenger's may fall behind by the tolerance."""
    metrics = ["planted_auroc", "planted_recall", "auroc", "average_precision"]
    if drifted:
        # After drift a champion that alerts on nearly every row finds what is planted, too.
        metrics.remove("planted_recall")
    return [
        _at_least(
            f"{metric}_vs_champion",
            challenger[metric],
            champion[metric] - settings.auroc_tolerance,
            "the champion's less the tolerance",
        )
        for metric in metrics
        if metric in challenger and metric in champion
    ]


def _budget_check(
    challenger: Metrics,
    champion: Metrics,
    budget: float,
) -> Check:
    """Check of the distance from the alert budget.

    A challenger that alerts further from it than the champion on the live data solves nothing.
    """
    limit = max(abs(champion["alert_rate"] - budget), budget)
    distance = abs(challenger["alert_rate"] - budget)
    meaning = "the champion's distance from the alert budget"
    return _at_most("alert_rate_error", distance, limit, meaning)
