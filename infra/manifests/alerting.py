"""Who is told: the receiver of the stack's Alertmanager, and where incidents go by default."""

from __future__ import annotations

from collections.abc import Mapping

from infra.fields import PlatformFields
from infra.manifests.bindings import MONITORING_NAMESPACE, PLATFORM_PRIORITY
from vigil.json_types import JsonObject

ALERT_RECEIVER_SECRET = "alert-receiver"  # name of a Secret
ALERT_RECEIVER_FILE = "value"
ALERTMANAGER_PORT = 9093
# The Service that kube-prometheus-stack makes.
INCIDENT_CHANNEL = (
    "alertmanager+http://kube-prometheus-stack-alertmanager."
    f"{MONITORING_NAMESPACE}.svc.cluster.local:{ALERTMANAGER_PORT}"
)
_PEOPLE = "people"
_NOBODY = "null"
_RECEIVER_PATH = f"/etc/alertmanager/secrets/{ALERT_RECEIVER_SECRET}/{ALERT_RECEIVER_FILE}"
# Alertmanager's name of each receiver, and of the file that has its URL or key.
_INTEGRATIONS: Mapping[str, tuple[str, str]] = {
    "webhook": ("webhook_configs", "url_file"),
    "slack": ("slack_configs", "api_url_file"),
    "pagerduty": ("pagerduty_configs", "routing_key_file"),
    "msteams": ("msteamsv2_configs", "webhook_url_file"),
}


def alertmanager_values(settings: PlatformFields) -> JsonObject:
    """The chart's values of Alertmanager. The receiver's URL or key is in a file, from a Secret."""
    spec: JsonObject = {"retention": "120h", "priorityClassName": PLATFORM_PRIORITY}
    if settings.alert_receiver == "none":
        return {"alertmanagerSpec": spec}
    spec["secrets"] = [ALERT_RECEIVER_SECRET]
    return {"alertmanagerSpec": spec, "config": alertmanager_config(settings.alert_receiver)}


def alertmanager_config(receiver: str) -> JsonObject:
    """Everybody's alerts to one receiver, but the one that always fires."""
    always = {"receiver": _NOBODY, "matchers": ['alertname = "Watchdog"']}
    route = {
        "receiver": _PEOPLE,
        "group_by": ["namespace", "alertname", "detector"],
        "group_wait": "10s",
        "group_interval": "5m",
        "repeat_interval": "12h",
        "routes": [always],
    }
    people = {"name": _PEOPLE, **_integration(receiver)}
    return {"route": route, "receivers": [{"name": _NOBODY}, people]}


def _integration(receiver: str) -> JsonObject:
    kind, file_field = _INTEGRATIONS[receiver]
    return {kind: [{file_field: _RECEIVER_PATH, "send_resolved": True}]}


def with_incident_channel(settings: PlatformFields, secrets: JsonObject) -> JsonObject:
    """The stack's secrets; incidents go to its own Alertmanager where none says otherwise."""
    if "notify" in secrets or settings.alert_receiver == "none":
        return dict(secrets)
    return {**secrets, "notify": INCIDENT_CHANNEL}
