"""The champion/challenger verdict: pure, on metrics of the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from train.settings import TrainSettings

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """One gate: `value` is compared with `limit` as the sentence says."""

    name: str
    value: float
    limit: float
    passed: bool
    sentence: str


@dataclass(frozen=True)
class GateVerdict:
    """Passed when every check did."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """The deciding sentences: those that failed, or all when none did."""
        failed = [check.sentence for check in self.checks if not check.passed]
        return "; ".join(failed or [check.sentence for check in self.checks])

    def text(self) -> str:
        """Every gate on a line of its own."""
        wide = max(len(check.name) for check in self.checks)
        lines = [
            f"{'pass' if c.passed else 'FAIL'}  {c.name:<{wide}}  {c.sentence.removeprefix(c.name).strip()}"
            for c in self.checks
        ]
        return "\n".join([f"gate {'passed' if self.passed else 'failed'}", *lines])

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "reason": self.reason,
            "checks": [asdict(check) for check in self.checks],
        }


def judge_challenger(
    challenger: Metrics, champion: Metrics | None, settings: TrainSettings, *, drifted: bool = False
) -> GateVerdict:
    """Judge the challenger by its own metrics and, where there is a champion, against that one's on the same rows.

    After drift the two should disagree: then agreement, golden rows, scales and recall are measured, and decide nothing. A
    metric that is not there is not judged.
    """
    checks = [
        _at_most(
            "alert_rate",
            challenger["alert_rate"],
            settings.budget * settings.alert_band,
            "its alert budget band",
        ),
        _at_least(
            "planted_auroc",
            challenger["planted_auroc"],
            settings.min_planted_auroc,
            "the least for any model",
        ),
    ]
    for name, limit, what in (
        (
            "calibration_error",
            settings.max_calibration_error * settings.budget,
            "how far the threshold may miss its budget",
        ),
        ("bundle_mb", settings.max_bundle_mb, "the most for any model"),
        ("row_us", settings.max_row_us, "the most to score one row"),
    ):
        checks += [_at_most(name, challenger[name], limit, what)] if name in challenger else []
    if "seed_agreement" in challenger:
        checks.append(
            _at_least(
                "seed_agreement",
                challenger["seed_agreement"],
                settings.min_seed_agreement,
                "between two seeds",
            )
        )
    if champion is not None:
        checks += [] if drifted else _same_world(challenger, settings)
        # After drift a champion that alerts on nearly every row finds what is planted among them, too.
        for name in (
            "planted_auroc",
            *(() if drifted else ("planted_recall",)),
            "auroc",
            "average_precision",
        ):
            if name in challenger and name in champion:
                checks.append(
                    _at_least(
                        f"{name}_vs_champion",
                        challenger[name],
                        champion[name] - settings.auroc_tolerance,
                        "the champion's less the tolerance",
                    )
                )
        # A challenger that alerts further from the budget than the champion on the live data solves nothing.
        limit = max(abs(champion["alert_rate"] - settings.budget), settings.budget)
        distance = abs(challenger["alert_rate"] - settings.budget)
        checks.append(
            _at_most(
                "alert_rate_error", distance, limit, "the champion's distance from the alert budget"
            )
        )
    return GateVerdict(tuple(checks))


def _same_world(challenger: Metrics, settings: TrainSettings) -> list[Check]:
    """A challenger from the champion's own world sees that world as the champion does."""
    limits = (
        ("rank_agreement", _at_least, settings.min_rank_agreement, "with the champion's scores"),
        (
            "golden_recall",
            _at_least,
            settings.min_golden_recall,
            "of the champion's golden anomalies",
        ),
        (
            "golden_alerts",
            _at_most,
            settings.max_golden_alerts,
            "of the champion's other golden rows",
        ),
        (
            "features_lost",
            _at_most,
            settings.max_features_lost,
            "of the features, which varied for the champion",
        ),
        (
            "scale_change",
            _at_most,
            settings.max_scale_change,
            "for the spread of a feature: is a unit wrong?",
        ),
    )
    return [
        check(name, challenger[name], limit, what)
        for name, check, limit, what in limits
        if name in challenger
    ]


def judge_shadow(found: Mapping[str, Any], least_rows: int, alert_limit: float) -> GateVerdict:
    """Judge what the challenger did in the shadow of the champion on live rows (drift/shadow.py).

    After drift the two should disagree: how far they do is told in the ledger, and decides nothing.
    """
    limit, slowest = (
        max(alert_limit, found["champion_alert_rate"]),
        4 * found["champion_us_per_row"],
    )
    return GateVerdict(
        (
            _at_most("shadow_errors", found["errors"], 0, "what a shadow may fail on"),
            _at_least("shadow_rows", found["rows"], least_rows, "the rows asked for"),
            _at_most(
                "shadow_alert_rate",
                found["challenger_alert_rate"],
                limit,
                "the alert budget band or the champion's rate",
            ),
            _at_most(
                "shadow_us_per_row",
                found["challenger_us_per_row"],
                slowest,
                "four times the champion's",
            ),
        )
    )


def _at_most(name: str, value: float, limit: float, what: str) -> Check:
    passed = value <= limit
    return Check(
        name,
        value,
        limit,
        passed,
        f"{name} {value:.4f} is {'within' if passed else 'over'} {limit:.4f}, {what}",
    )


def _at_least(name: str, value: float, limit: float, what: str) -> Check:
    passed = value >= limit
    return Check(
        name,
        value,
        limit,
        passed,
        f"{name} {value:.4f} is {'at least' if passed else 'below'} {limit:.4f}, {what}",
    )
