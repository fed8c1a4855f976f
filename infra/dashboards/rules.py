"""When someone is told. Each alert has its page in docs/runbooks/, under its own name."""

from __future__ import annotations

from dataclasses import dataclass

from infra.dashboards.metric_names import check_metrics
from infra.dashboards.slo import (
    BUDGET,
    SLOW_S,
    Growth,
    failed_requests,
    failure_share,
    proxy_answers,
    proxy_failures,
)
from vigil.json_types import JsonObject

RUNBOOKS = "docs/runbooks"
_PAGE = "page"  # wake somebody
_TICKET = "ticket"  # look at it in the working day
_SHARE_WINDOWS = ("5m", "30m", "1h", "6h", "3d")
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

    def json(self, runbooks: str) -> JsonObject:
        """Return the rule for Prometheus; `runbooks` is where docs/runbooks/ can be read."""
        annotations = {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{runbooks}/{self.name}.md",
        }
        return {
            "alert": self.name,
            "expr": check_metrics(self.expression),
            "for": self.wait,
            "labels": {"severity": self.severity},
            "annotations": annotations,
        }


def _burns(
    times: float,
    long: str,
    short: str,
) -> str:
    """PromQL: the budget of 30 days is spent `times` too fast, for long and still now.

    Ten failures at least: of a handful of requests a single one is a large share.
    """
    limit = f"{times * BUDGET:.4f}"
    shares = [f"vigil:requests_failed:share{window} > {limit}" for window in (long, short)]
    failures = failed_requests(Growth("increase", long))
    return " and ".join([*shares, f"{failures} > 10"])


# An outage of 45 s fails three scrapes of eight, and is told though it is over by then. One of
# Prometheus' own is no outage.
_UP = 'up{job="vigil"}[2m]'
_DOWN = f"max(avg_over_time({_UP})) < 0.7 or max(absent_over_time({_UP}))"
_LATELY = Growth("increase", "2m")
_PROXY_SHARE = f"{proxy_failures(_LATELY)} / ({proxy_answers(_LATELY)} > 0)"


_SERVICE_ALERTS = (
    Alert(
        "VigilDown",
        _DOWN,
        "30s",
        severity=_PAGE,
        summary="Vigil does not answer",
        description="In the last two minutes Prometheus had no metrics from the service for"
        " longer than half a minute: it is or was down, or cannot be reached.",
    ),
    Alert(
        "VigilProxyErrors",
        f"{_PROXY_SHARE} > 0.05 and {proxy_failures(_LATELY)} > 10",
        "0m",
        severity=_PAGE,
        summary="The proxy answers in place of replicas",
        description="{{ $value | humanizePercentage }} of the requests of the last two minutes"
        " were answered by HAProxy with an error of its own: no replica was there, or none"
        " answered in time.",
    ),
    Alert(
        "VigilErrorBudgetFast",
        _burns(14.4, "1h", "5m"),
        "0m",
        severity=_PAGE,
        summary="Many requests fail",
        description="{{ $value | humanizePercentage }} of the requests of the last hour failed by"
        " the service's own fault. At this rate the error budget of 30 days is spent in two.",
    ),
    Alert(
        "VigilErrorBudgetSlow",
        _burns(6, "6h", "30m"),
        "0m",
        severity=_PAGE,
        summary="Requests keep failing",
        description="{{ $value | humanizePercentage }} of the requests of the last six hours"
        " failed by the service's own fault. At this rate the error budget of 30 days is spent in"
        " five.",
    ),
    Alert(
        "VigilErrorBudgetLeak",
        _burns(1, "3d", "6h"),
        "0m",
        severity=_TICKET,
        summary="The error budget leaks",
        description="{{ $value | humanizePercentage }} of the requests of the last three days"
        " failed by the service's own fault: more than the objective of 99.9 % allows.",
    ),
    Alert(
        "VigilSlow",
        f"vigil:request_seconds:p99 > {SLOW_S}",
        "10m",
        severity=_TICKET,
        summary="Requests are slow",
        description="One request in a hundred takes {{ $value | humanizeDuration }} or more in"
        " the handler.",
    ),
    Alert(
        "VigilOverloaded",
        'sum(rate(vigil_requests_total{outcome="Overloaded"}[5m])) / '
        'sum(rate(vigil_requests_total{outcome=~"ok|Overloaded"}[5m])) > 0.05',
        "10m",
        severity=_TICKET,
        summary="Requests are turned away",
        description="Replicas refuse {{ $value | humanizePercentage }} of the requests because"
        " too much is in work.",
    ),
    Alert(
        "VigilReplicasAtMax",
        f"max(ray_serve_autoscaling_desired_replicas{_DEPLOYMENT}) > "
        f"max(ray_serve_autoscaling_target_replicas{_DEPLOYMENT})",
        "15m",
        severity=_TICKET,
        summary="More replicas are wanted than are allowed",
        description="For a quarter of an hour the autoscaler has wanted {{ $value }} replicas:"
        " more than maxReplicas lets it have.",
    ),
)

_MODEL_ALERTS = (
    Alert(
        "VigilNoChampion",
        "(count(vigil_drift_severity) unless on () vigil_model_info) or "
        'sum(rate(vigil_requests_total{outcome="NoModel"}[5m])) > 0',
        "5m",
        severity=_PAGE,
        summary="There is no model to answer with",
        description="No version is champion, or replicas have none that they could verify: they"
        " answer 503.",
    ),
    Alert(
        "VigilVersionsDiffer",
        "max(vigil_model_disagreement) > 0",
        "1m",
        severity=_TICKET,
        summary="Replicas serve different versions",
        description="A replica has not served the desired version for more polls than allowed.",
    ),
    Alert(
        "VigilSwapFails",
        "sum(increase(vigil_model_swap_failures_total[15m])) > 0",
        "0m",
        severity=_TICKET,
        summary="A version is refused",
        description="A model version could not be loaded or verified. The former one is served on.",
    ),
    Alert(
        "VigilRegistryAway",
        "sum(rate(vigil_registry_failures_total[5m])) > 0",
        "15m",
        severity=_TICKET,
        summary="MLflow cannot be reached",
        description="Replicas have not reached the registry for a quarter of an hour. Scoring"
        " goes on, new versions do not arrive.",
    ),
)

_DATA_ALERTS = (
    Alert(
        "VigilDataBreak",
        'sum(increase(vigil_drift_windows_total{verdict="data break"}[15m])) > 2',
        "0m",
        severity=_PAGE,
        summary="The data are broken",
        description="Windows have missing, stuck or rescaled features. Nothing is retrained on"
        " them.",
    ),
    Alert(
        "VigilDriftEpisode",
        "max(vigil_drift_episode_open) == 1",
        "1h",
        severity=_TICKET,
        summary="A drift episode stays open",
        description="The rows have differed from the champion's reference for an hour, and no new"
        " model has settled it.",
    ),
    Alert(
        "VigilBlind",
        f"({_SCORED}) unless on () (sum(rate(vigil_drift_windows_total[2h])) > 0)",
        "30m",
        severity=_TICKET,
        summary="Nobody watches for drift",
        description="Rows are scored, but no window has been judged for two hours: the monitor is"
        " away, stands by, or gets no rows.",
    ),
    Alert(
        "VigilCaptureDrops",
        "sum(rate(vigil_capture_dropped_rows_total[5m])) + "
        "sum(rate(vigil_capture_write_failures_total[5m])) > 0",
        "15m",
        severity=_TICKET,
        summary="Captured rows are lost",
        description="Replicas drop rows before the monitor has them, or windows cannot be written.",
    ),
    Alert(
        "VigilContextEvicts",
        "sum(rate(vigil_context_evicted_total[5m])) > 0",
        "15m",
        severity=_TICKET,
        summary="Entities lose their context",
        description="There are more entities than contextEntities: the first rows of those that"
        " come again are warming, and alert nobody.",
    ),
    Alert(
        "VigilStreamLags",
        "max by (shard) (vigil_stream_checkpoint_age_seconds) > 300 and on (shard) "
        "max by (shard) (vigil_stream_lag) > 0",
        "5m",
        severity=_TICKET,
        summary="A stream is not consumed",
        description="Shard {{ $labels.shard }} has unread records, and has had no checkpoint for"
        " {{ $value | humanizeDuration }}.",
    ),
)

_RETRAINING_ALERTS = (
    Alert(
        "VigilRetrainingFails",
        'sum(increase(vigil_retrains_total{outcome="failed"}[6h])) > 0',
        "0m",
        severity=_TICKET,
        summary="A retraining failed",
        description="The champion stays; the drift that asked for the retraining is still there.",
    ),
    Alert(
        "VigilRetrainingBudget",
        "max(vigil_governor_retrains_left) == 0 and on () max(vigil_drift_episode_open) == 1",
        "10m",
        severity=_TICKET,
        summary="Retraining is over its budget",
        description="An episode of drift is open, and the budget of retrainings of 24 hours is"
        " spent.",
    ),
)

_INCIDENT_ALERTS = (
    Alert(
        "VigilIncidentOpen",
        "max(vigil_incidents_open) > 0",
        "15m",
        severity=_TICKET,
        summary="An incident stays open",
        description="{{ $value }} incidents are open, one of them for a quarter of an hour:"
        " `vigil incidents --state open` names them.",
    ),
    Alert(
        "VigilMessagesNotDelivered",
        "max by (channel) (vigil_notify_oldest_seconds) > 120",
        "1m",
        severity=_PAGE,
        summary="Messages about incidents do not arrive",
        description="Channel {{ $labels.channel }} has not taken a message for"
        " {{ $value | humanizeDuration }}: people do not hear of incidents.",
    ),
    Alert(
        "VigilIncidentsNotStored",
        "sum(increase(vigil_incident_store_failures_total[5m])) > 2",
        "5m",
        severity=_PAGE,
        summary="Incidents cannot be stored",
        description="The database of incidents is away or refuses to write: nobody hears of"
        " incidents until it answers.",
    ),
)

ALERTS = (
    *_SERVICE_ALERTS,
    *_MODEL_ALERTS,
    *_DATA_ALERTS,
    *_INCIDENT_ALERTS,
    *_RETRAINING_ALERTS,
)


def rule_groups(runbooks: str = RUNBOOKS) -> list[JsonObject]:
    """Return the rule groups of a PrometheusRule, or of a rules file.

    `runbooks` is where docs/runbooks/ can be read.
    """
    return [{"name": "vigil", "rules": [*_recorded(), *(alert.json(runbooks) for alert in ALERTS)]}]


def _recorded() -> list[dict[str, str]]:
    """Return the rules whose results alerts and people query by a short name."""
    shares = {f"vigil:requests_failed:share{each}": failure_share(each) for each in _SHARE_WINDOWS}
    expressions = {
        "vigil:requests:rate5m": "sum(rate(vigil_requests_total[5m]))",
        "vigil:request_seconds:p99": _P99,
        **shares,
    }
    return [_record(name, expression) for name, expression in expressions.items()]


def _record(name: str, expression: str) -> dict[str, str]:
    return {"record": name, "expr": check_metrics(expression)}
