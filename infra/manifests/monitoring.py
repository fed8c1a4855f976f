"""What Prometheus scrapes and judges, and what Grafana shows."""

from __future__ import annotations

from infra.dashboards import pages, rules
from infra.dashboards.scrape import JOB
from infra.manifests.bindings import MONITORING_NAMESPACE, RAY_NAMESPACE
from infra.manifests.delivery import SERVE_SERVICE
from infra.manifests.parts import Manifest, kube_manifest
from infra.manifests.ray_config import SERVE_PORT
from infra.settings import PlatformSettings

METRICS_KEY = (
    "vigil-metrics-key"  # name of the Secret with the API key that Prometheus shows to the service
)


def monitoring_manifests(settings: PlatformSettings) -> list[Manifest]:
    """None without monitoring: the kinds are those of kube-prometheus-stack."""
    if not settings.monitoring:
        return []
    repository = settings.github_repository
    runbooks = (
        f"https://github.com/{repository}/blob/HEAD/{rules.RUNBOOKS}"
        if repository
        else rules.RUNBOOKS
    )
    spec = {"groups": rules.rule_groups(runbooks)}
    return [
        _application(),
        _ray(),
        kube_manifest(
            "monitoring.coreos.com/v1", "PrometheusRule", "vigil", MONITORING_NAMESPACE, spec=spec
        ),
        *(_dashboard(uid, text) for uid, text in pages.render_dashboards().items()),
    ]


def _dashboard(uid: str, text: str) -> Manifest:
    """Grafana's sidecar shows every ConfigMap with this label.

    One for each dashboard, as a ConfigMap holds at most 1 MiB.
    """
    name = f"dashboard-{uid.lower()}"
    return kube_manifest(
        "v1",
        "ConfigMap",
        name,
        MONITORING_NAMESPACE,
        labels={"grafana_dashboard": "1"},
        data={f"{uid}.json": text},
    )


def _application() -> Manifest:
    """One target behind the Service, not one per pod.

    Whichever replica answers, `/metrics` is the sum over all.
    """
    return kube_manifest(
        "monitoring.coreos.com/v1alpha1",
        "ScrapeConfig",
        "vigil",
        MONITORING_NAMESPACE,
        spec={
            "jobName": JOB,
            "metricsPath": "/metrics",
            "scrapeInterval": "15s",
            "staticConfigs": [{"targets": [f"{SERVE_SERVICE}.{RAY_NAMESPACE}.svc:{SERVE_PORT}"]}],
            "authorization": {"type": "Bearer", "credentials": {"name": METRICS_KEY, "key": "key"}},
        },
    )


def _ray() -> Manifest:
    """Ray's and HAProxy's own metrics, from each pod."""
    return kube_manifest(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        "ray",
        MONITORING_NAMESPACE,
        spec={
            "namespaceSelector": {"matchNames": [RAY_NAMESPACE]},
            "selector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]},
            "podMetricsEndpoints": [
                {"port": port, "interval": "30s"} for port in ("metrics", "haproxy")
            ],
        },
    )
