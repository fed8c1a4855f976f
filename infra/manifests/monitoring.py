"""What Prometheus scrapes and judges, and what Grafana shows."""

from __future__ import annotations

from infra.dashboards import pages, rules
from infra.dashboards.scrape import JOB
from infra.manifests.bindings import MONITORING, RAY
from infra.manifests.delivery import BACKEND
from infra.manifests.parts import Object, object_
from infra.manifests.ray_config import PORT
from infra.settings import PlatformSettings

METRICS_KEY = (
    "vigil-metrics-key"  # name of the Secret with the API key that Prometheus shows to the service
)


def objects(settings: PlatformSettings) -> list[Object]:
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
        object_("monitoring.coreos.com/v1", "PrometheusRule", "vigil", MONITORING, spec=spec),
        *(_dashboard(uid, text) for uid, text in pages.render_dashboards().items()),
    ]


def _dashboard(uid: str, text: str) -> Object:
    """Grafana's sidecar shows every ConfigMap with this label; one for each dashboard, as a ConfigMap holds at most 1 MiB."""
    name = f"dashboard-{uid.lower()}"
    return object_(
        "v1",
        "ConfigMap",
        name,
        MONITORING,
        labels={"grafana_dashboard": "1"},
        data={f"{uid}.json": text},
    )


def _application() -> Object:
    """One target behind the Service, not one per pod: whichever replica answers, `/metrics` is the sum over all."""
    return object_(
        "monitoring.coreos.com/v1alpha1",
        "ScrapeConfig",
        "vigil",
        MONITORING,
        spec={
            "jobName": JOB,
            "metricsPath": "/metrics",
            "scrapeInterval": "15s",
            "staticConfigs": [{"targets": [f"{BACKEND}.{RAY}.svc:{PORT}"]}],
            "authorization": {"type": "Bearer", "credentials": {"name": METRICS_KEY, "key": "key"}},
        },
    )


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
            "podMetricsEndpoints": [
                {"port": port, "interval": "30s"} for port in ("metrics", "haproxy")
            ],
        },
    )
