"""What Prometheus scrapes and judges, and what Grafana shows."""

from __future__ import annotations

from infra.dashboards import pages, rules
from infra.dashboards.scrape import JOB
from infra.manifests.bindings import MONITORING_NAMESPACE, RAY_NAMESPACE
from infra.manifests.delivery import SERVE_SERVICE
from infra.manifests.parts import Manifest, Manifests, config_map, kube_manifest
from infra.manifests.ray_config import SERVE_PORT
from infra.settings import PlatformSettings

# Name of the Secret with the API key that Prometheus and Grafana show to the service.
METRICS_KEY = "vigil-metrics-key"
SERVICE_ADDRESS = f"{SERVE_SERVICE}.{RAY_NAMESPACE}.svc:{SERVE_PORT}"
_MONITORING_API = "monitoring.coreos.com/v1"
_SHOWN_BY_GRAFANA = {"grafana_dashboard": "1"}
_SCRAPE_SPEC = {
    "jobName": JOB,
    "metricsPath": "/metrics",
    "scrapeInterval": "15s",
    "staticConfigs": [{"targets": [SERVICE_ADDRESS]}],
    "authorization": {"type": "Bearer", "credentials": {"name": METRICS_KEY, "key": "key"}},
}
_RAY_PODS_SPEC = {
    "namespaceSelector": {"matchNames": [RAY_NAMESPACE]},
    "selector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]},
    "podMetricsEndpoints": [
        {"port": "metrics", "interval": "30s"},
        {"port": "haproxy", "interval": "30s"},
    ],
}


def monitoring_manifests(settings: PlatformSettings) -> Manifests:
    """None without monitoring: the kinds are those of kube-prometheus-stack."""
    if not settings.monitoring:
        return []
    dashboards = pages.render_dashboards().items()
    return [
        _scrape_service(),
        _scrape_ray(),
        _rules(settings),
        *(_dashboard(uid, text) for uid, text in dashboards),
    ]


def _rules(settings: PlatformSettings) -> Manifest:
    return _monitor("PrometheusRule", "vigil", {"groups": rules.rule_groups(_runbooks(settings))})


def _runbooks(settings: PlatformSettings) -> str:
    """Where a rule's runbook can be read."""
    repository = settings.github_repository
    if not repository:
        return rules.RUNBOOKS
    return f"https://github.com/{repository}/blob/HEAD/{rules.RUNBOOKS}"


def _dashboard(uid: str, text: str) -> Manifest:
    """Grafana's sidecar shows every ConfigMap with this label.

    One for each dashboard, as a ConfigMap holds at most 1 MiB.
    """
    name = f"dashboard-{uid.lower()}"
    return config_map(
        name,
        MONITORING_NAMESPACE,
        {f"{uid}.json": text},
        labels=_SHOWN_BY_GRAFANA,
    )


def _monitor(
    kind: str,
    name: str,
    spec: Manifest,
    api: str = _MONITORING_API,
) -> Manifest:
    return kube_manifest(
        api,
        kind,
        name,
        MONITORING_NAMESPACE,
        spec=spec,
    )


def _scrape_service() -> Manifest:
    """One target behind the Service, not one per pod.

    Whichever replica answers, `/metrics` is the sum over all.
    """
    return _monitor(
        "ScrapeConfig",
        "vigil",
        _SCRAPE_SPEC,
        api="monitoring.coreos.com/v1alpha1",
    )


def _scrape_ray() -> Manifest:
    """Ray's and HAProxy's own metrics, from each pod."""
    return _monitor("PodMonitor", "ray", _RAY_PODS_SPEC)
