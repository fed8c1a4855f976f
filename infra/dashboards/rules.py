"""When someone is told. Each alert has its page in docs/runbooks/, under its own name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.dashboards.names import check_metrics
from infra.dashboards.slo import (
    BUDGET,
    SLOW_S,
    failed_requests,
    failure_share,
    proxy_answers,
    proxy_failures,
)

RUNBOOKS = "docs/runbooks"
_PAGE, _TICKET = "page", "ticket"  # wake somebody; look at it in the working day
_P99 = "histogram_quantile(0.99, sum by (le) (rate(vigil_request_seconds_bucket[5m])))"
_SCORED = "sum(rate(vigil_rows_scored_total[5m])) > 0"
_DEPLOYMENT = '{application="vigil"}'


@dataclass(frozen=True)
class Alert:
    """One rule: it fires when `expression` has held for `wait`."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    description: str

    def json(self, runbooks: str) -> dict[str, Any]:
        told = {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{runbooks}/{self.name}.md",
        }
        labels = {"severity": self.severity}
        return {
            "alert": self.name,
            "expr": check_metrics(self.expression),
            "for": self.wait,
            "labels": labels,
            "annotations": told,
        }


def _burns(times: float, long: str, short: str) -> str:
    """The budget of 30 days is spent `times` too fast, for long and still now. Ten failures at least: of a handful of requests
    a single one is a large share."""
    most = f"{times * BUDGET:.4f}"
    return (
        f"vigil:requests_failed:share{long} > {most} and vigil:requests_failed:share{short} > {most} "
        f"and {failed_requests('increase', long)} > 10"
    )


# An outage of 45 s fails three scrapes of eight, and is told though it is over by then. One of Prometheus' own is no outage.
_UP = 'up{job="vigil"}[2m]'
_DOWN = f"max(avg_over_time({_UP})) < 0.7 or max(absent_over_time({_UP}))"
_PROXY_SHARE = f"{proxy_failures('increase', '2m')} / ({proxy_answers('increase', '2m')} > 0)"


_SERVICE_ALERTS = (
    Alert(
        "VigilDown",
        _DOWN,
        "30s",
        _PAGE,
        "Vigil does not answer",
        "In the last two minutes Prometheus had no metrics from the service for longer than half a minute: it is or was down, "
        "or cannot be reached.",
    ),
    Alert(
        "VigilProxyErrors",
        f"{_PROXY_SHARE} > 0.05 and {proxy_failures('increase', '2m')} > 10",
        "0m",
        _PAGE,
        "The proxy answers in place of replicas",
        "{{ $value | humanizePercentage }} of the requests of the last two minutes "
        "were answered by HAProxy with an error of its own: no replica was there, or none answered in time.",
    ),
    Alert(
        "VigilErrorBudgetFast",
        _burns(14.4, "1h", "5m"),
        "0m",
        _PAGE,
        "Many requests fail",
        "{{ $value | humanizePercentage }} of the requests of the last hour failed by the service's own fault. At this rate "
        "the error budget of 30 days is spent in two.",
    ),
    Alert(
        "VigilErrorBudgetSlow",
        _burns(6, "6h", "30m"),
        "0m",
        _PAGE,
        "Requests keep failing",
        "{{ $value | humanizePercentage }} of the requests of the last six hours failed by the service's own fault. At this "
        "rate the error budget of 30 days is spent in five.",
    ),
    Alert(
        "VigilErrorBudgetLeak",
        _burns(1, "3d", "6h"),
        "0m",
        _TICKET,
        "The error budget leaks",
        "{{ $value | humanizePercentage }} of the requests of the last three days failed by the service's own fault: more than "
        "the objective of 99.9 % allows.",
    ),
    Alert(
        "VigilSlow",
        f"vigil:request_seconds:p99 > {SLOW_S}",
        "10m",
        _TICKET,
        "Requests are slow",
        "One request in a hundred takes {{ $value | humanizeDuration }} or more in the handler.",
    ),
    Alert(
        "VigilOverloaded",
        'sum(rate(vigil_requests_total{outcome="Overloaded"}[5m])) / '
        'sum(rate(vigil_requests_total{outcome=~"ok|Overloaded"}[5m])) > 0.05',
        "10m",
        _TICKET,
        "Requests are turned away",
        "Replicas refuse {{ $value | humanizePercentage }} of the requests because too much is in work.",
    ),
    Alert(
        "VigilReplicasAtMax",
        f"max(ray_serve_autoscaling_desired_replicas{_DEPLOYMENT}) > "
        f"max(ray_serve_autoscaling_target_replicas{_DEPLOYMENT})",
        "15m",
        _TICKET,
        "More replicas are wanted than are allowed",
        "For a quarter of an hour the autoscaler has wanted {{ $value }} replicas: more than maxReplicas lets it have.",
    ),
)

_MODEL_ALERTS = (
    Alert(
        "VigilNoChampion",
        "(count(vigil_drift_severity) unless on () vigil_model_info) or "
        'sum(rate(vigil_requests_total{outcome="NoModel"}[5m])) > 0',
        "5m",
        _PAGE,
        "There is no model to answer with",
        "No version is champion, or replicas have none that they could verify: they answer 503.",
    ),
    Alert(
        "VigilVersionsDiffer",
        "max(vigil_model_disagreement) > 0",
        "1m",
        _TICKET,
        "Replicas serve different versions",
        "A replica has not served the desired version for more polls than allowed.",
    ),
    Alert(
        "VigilSwapFails",
        "sum(increase(vigil_model_swap_failures_total[15m])) > 0",
        "0m",
        _TICKET,
        "A version is refused",
        "A model version could not be loaded or verified. The former one is served on.",
    ),
    Alert(
        "VigilRegistryAway",
        "sum(rate(vigil_registry_failures_total[5m])) > 0",
        "15m",
        _TICKET,
        "MLflow cannot be reached",
        "Replicas have not reached the registry for a quarter of an hour. Scoring goes on, new versions do not arrive.",
    ),
)

_DATA_ALERTS = (
    Alert(
        "VigilDataBreak",
        'sum(increase(vigil_drift_windows_total{verdict="data break"}[15m])) > 2',
        "0m",
        _PAGE,
        "The data are broken",
        "Windows have missing, stuck or rescaled features. Nothing is retrained on them.",
    ),
    Alert(
        "VigilDriftEpisode",
        "max(vigil_drift_episode_open) == 1",
        "1h",
        _TICKET,
        "A drift episode stays open",
        "The rows have differed from the champion's reference for an hour, and no new model has settled it.",
    ),
    Alert(
        "VigilBlind",
        f"({_SCORED}) unless on () (sum(rate(vigil_drift_windows_total[2h])) > 0)",
        "30m",
        _TICKET,
        "Nobody watches for drift",
        "Rows are scored, but no window has been judged for two hours: the monitor is away, stands "
        "by, or gets no rows.",
    ),
    Alert(
        "VigilCaptureDrops",
        "sum(rate(vigil_capture_dropped_rows_total[5m])) + "
        "sum(rate(vigil_capture_write_failures_total[5m])) > 0",
        "15m",
        _TICKET,
        "Captured rows are lost",
        "Replicas drop rows before the monitor has them, or windows cannot be written.",
    ),
    Alert(
        "VigilStreamLags",
        "max by (shard) (vigil_stream_checkpoint_age_seconds) > 300 and on (shard) "
        "max by (shard) (vigil_stream_lag) > 0",
        "5m",
        _TICKET,
        "A stream is not consumed",
        "Shard {{ $labels.shard }} has unread records, and has had no checkpoint for {{ $value | humanizeDuration }}.",
    ),
)

_RETRAINING_ALERTS = (
    Alert(
        "VigilRetrainingFails",
        'sum(increase(vigil_retrains_total{outcome="failed"}[6h])) > 0',
        "0m",
        _TICKET,
        "A retraining failed",
        "The champion stays; the drift that asked for the retraining is still there.",
    ),
    Alert(
        "VigilRetrainingBudget",
        "max(vigil_governor_retrains_left) == 0 and on () max(vigil_drift_episode_open) == 1",
        "10m",
        _TICKET,
        "Retraining is over its budget",
        "An episode of drift is open, and the budget of retrainings of 24 hours is spent.",
    ),
)

ALERTS = (*_SERVICE_ALERTS, *_MODEL_ALERTS, *_DATA_ALERTS, *_RETRAINING_ALERTS)


def rule_groups(runbooks: str = RUNBOOKS) -> list[dict[str, Any]]:
    """Rule groups of a PrometheusRule, or of a rules file; `runbooks` is where docs/runbooks/ can be read."""
    recorded = {
        "vigil:requests:rate5m": "sum(rate(vigil_requests_total[5m]))",
        "vigil:request_seconds:p99": _P99,
        **{
            f"vigil:requests_failed:share{window}": failure_share(window)
            for window in ("5m", "30m", "1h", "6h", "3d")
        },
    }
    rules = [
        {"record": name, "expr": check_metrics(expression)} for name, expression in recorded.items()
    ]
    return [{"name": "vigil", "rules": [*rules, *(alert.json(runbooks) for alert in ALERTS)]}]
