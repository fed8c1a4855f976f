"""What Prometheus scrapes and judges, and what Grafana shows."""

from __future__ import annotations

import json

from infra.dashboards import overview, rules
from infra.manifests.bindings import MONITORING, RAY
from infra.manifests.delivery import BACKEND
from infra.manifests.parts import Object, object_
from infra.manifests.ray import PORT
from infra.settings import PlatformSettings


def objects(settings: PlatformSettings) -> list[Object]:
    """None without monitoring: the kinds are those of kube-prometheus-stack."""
    if not settings.monitoring:
        return []
    dashboard = json.dumps(overview.dashboard(), indent=1, sort_keys=True)
    return [
        _application(),
        _ray(),
        object_("monitoring.coreos.com/v1", "PrometheusRule", "vigil", MONITORING, spec={"groups": rules.groups()}),
        object_(
            "v1", "ConfigMap", "vigil-dashboard", MONITORING, labels={"grafana_dashboard": "1"}, data={"vigil.json": dashboard}
        ),
    ]


def _application() -> Object:
    """One target behind the Service, not one per pod: whichever replica answers, `/metrics` is the sum over all."""
    return object_("monitoring.coreos.com/v1alpha1", "ScrapeConfig", "vigil", MONITORING, spec={
        "jobName": "vigil", "metricsPath": "/metrics", "scrapeInterval": "15s",
        "staticConfigs": [{"targets": [f"{BACKEND}.{RAY}.svc:{PORT}"]}],
    })  # fmt: skip


def _ray() -> Object:
    """Ray's and HAProxy's own metrics, from each pod."""
    return object_(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        "ray",
        MONITORING,
        spec={
            "namespaceSelector": {"matchNames": [RAY]},
            "selector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]},
            "podMetricsEndpoints": [{"port": port, "interval": "30s"} for port in ("metrics", "haproxy")],
        },
    )
