"""Grafana in kube-prometheus-stack: who may log in, which dashboards it shows, whom it asks."""

from __future__ import annotations

from infra.dashboards.sources import incident_source
from infra.manifests.bindings import MONITORING_NAMESPACE
from infra.manifests.monitoring import METRICS_KEY, SERVICE_ADDRESS
from vigil.json_types import JsonObject

GRAFANA_SECRET = "grafana-admin"
_KEY_VARIABLE = "VIGIL_KEY"  # of Grafana's environment


def grafana_values() -> JsonObject:
    """The chart's values of Grafana.

    The password comes from a Secret that Pulumi makes; the sidecar shows every ConfigMap that
    carries the label. Grafana reads incidents with the key that Prometheus shows.
    """
    login = {
        "existingSecret": GRAFANA_SECRET,
        "userKey": "username",
        "passwordKey": "password",
    }
    dashboards = {
        "enabled": True,
        "label": "grafana_dashboard",
        "searchNamespace": MONITORING_NAMESPACE,
    }
    key = {"secretKeyRef": {"name": METRICS_KEY, "key": "key"}}
    return {
        "admin": login,
        "sidecar": {"dashboards": dashboards},
        "envValueFrom": {_KEY_VARIABLE: key},
        "additionalDataSources": [
            incident_source(f"http://{SERVICE_ADDRESS}", f"${_KEY_VARIABLE}")
        ],
    }
