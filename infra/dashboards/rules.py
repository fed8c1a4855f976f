"""When someone is told: failing, slow, blind or drifting service."""

from __future__ import annotations

from typing import Any

from infra.dashboards.names import metric

RUNBOOK = "README.md#when-an-alert-fires"


def _rate(name: str, window: str = "5m", labels: str = "") -> str:
    return f"sum(rate({metric(name)}{{{labels}}}[{window}]))" if labels else f"sum(rate({metric(name)}[{window}]))"


def _alert(name: str, expression: str, wait: str, severity: str, summary: str) -> dict[str, Any]:
    annotations = {"summary": summary, "runbook": RUNBOOK}
    return {"alert": name, "expr": expression, "for": wait, "labels": {"severity": severity}, "annotations": annotations}


def groups() -> list[dict[str, Any]]:
    """Rule groups of a PrometheusRule."""
    requests, failures = _rate("vigil_requests_total"), _rate("vigil_requests_total", labels='outcome=~"NoModel|VigilError"')
    slow = f"histogram_quantile(0.99, sum by (le) (rate({metric('vigil_request_seconds_bucket')}[5m])))"
    alerts = [
        _alert(
            "VigilDown", 'absent(up{job="vigil"} == 1)', "2m", "page", "No metrics from Vigil: it is down, or cannot be reached"
        ),
        _alert("VigilFailing", f"{failures} / {requests} > 0.01", "5m", "page", "More than 1 % of the scoring requests fail"),
        _alert("VigilSlow", f"{slow} > 0.1", "10m", "ticket", "1 % of the requests take more than 100 ms in the handler"),
        _alert(
            "VigilVersionsDiffer",
            f"count({metric('vigil_model_replicas')} > 0) > 1",
            "5m",
            "ticket",
            "Replicas have served different model versions for five minutes",
        ),
        _alert(
            "VigilSwapFails",
            f"increase({metric('vigil_model_swap_failures_total')}[15m]) > 0",
            "0m",
            "ticket",
            "A model version could not be loaded or verified; the former one is served on",
        ),
        _alert(
            "VigilRegistryAway",
            f"{_rate('vigil_registry_failures_total')} > 0",
            "15m",
            "ticket",
            "MLflow cannot be reached; scoring goes on, new versions do not arrive",
        ),
        _alert(
            "VigilDataBreak",
            f'increase({metric("vigil_drift_windows_total")}{{verdict="data break"}}[15m]) > 2',
            "0m",
            "page",
            "The data itself is broken (missing, stuck or rescaled features); nothing is retrained on it",
        ),
        _alert(
            "VigilBlind",
            f"{_rate('vigil_rows_scored_total')} > 0 and {_rate('vigil_drift_windows_total', '30m')} == 0",
            "30m",
            "ticket",
            "Rows are scored, but the drift monitor has judged no window for half an hour",
        ),
        _alert(
            "VigilRetrainingFails",
            f'increase({metric("vigil_retrains_total")}{{outcome="failed"}}[6h]) > 0',
            "0m",
            "ticket",
            "A retraining failed",
        ),
    ]
    recorded = [
        {"record": "vigil:requests:rate5m", "expr": requests},
        {"record": "vigil:request_seconds:p99", "expr": slow},
    ]
    return [{"name": "vigil", "rules": [*recorded, *alerts]}]
