"""The Grafana dashboard of the service."""

from __future__ import annotations

from typing import Any

from infra.dashboards.names import metric

WIDTH, HEIGHT = 8, 7


def dashboard() -> dict[str, Any]:
    """One page: traffic, latency, anomalies, model versions, drift, retraining."""
    rate = "sum by ({by}) (rate({name}[$__rate_interval]))"
    total = "sum(rate({}[$__rate_interval]))"
    buckets = f"sum by (le) (rate({metric('vigil_request_seconds_bucket')}[$__rate_interval]))"
    panels = [
        ("Requests by outcome", "reqps", [rate.format(by="outcome", name=metric("vigil_requests_total"))]),
        ("Time in the handler, p50 and p99", "s", [f"histogram_quantile({q}, {buckets})" for q in (0.5, 0.99)]),
        (
            "Share of rows over the threshold",
            "percentunit",
            [f"{total.format(metric('vigil_anomalies_total'))} / {total.format(metric('vigil_rows_scored_total'))}"],
        ),
        ("Replicas by model version", "short", [metric("vigil_model_replicas")]),
        ("Drift: largest distance over its floor", "short", [metric("vigil_drift_severity")]),
        ("Windows by verdict", "short", [f"sum by (verdict) (increase({metric('vigil_drift_windows_total')}[1h]))"]),
        ("Retrainings by outcome", "short", [f"sum by (outcome) (increase({metric('vigil_retrains_total')}[1d]))"]),
        (
            "Rows dropped before the monitor",
            "short",
            [f"sum(rate({metric('vigil_capture_dropped_rows_total')}[$__rate_interval]))"],
        ),
        (
            "Failed swaps and registry polls",
            "short",
            [
                f"sum(increase({metric(name)}[1h]))"
                for name in ("vigil_model_swap_failures_total", "vigil_registry_failures_total")
            ],
        ),
    ]
    made = [_panel(i, *panel) for i, panel in enumerate(panels)]
    return {
        "uid": "vigil",
        "title": "Vigil",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "tags": ["vigil"],
        "panels": made,
    }


def _panel(number: int, title: str, unit: str, expressions: list[str]) -> dict[str, Any]:
    place = {"w": WIDTH, "h": HEIGHT, "x": number % 3 * WIDTH, "y": number // 3 * HEIGHT}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "expr": expression} for i, expression in enumerate(expressions)],
    }
