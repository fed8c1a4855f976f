"""Whether somebody is told of alerts and incidents."""

from __future__ import annotations

from collections.abc import Iterator

from policies.params import text
from policies.resource_types import HELM_RELEASE, KUBE_SECRETS, RAY_SERVICE_TYPE
from policies.rule import Violation, rule
from policies.serve_config import serve_applications
from policies.subjects import Context, Props, Resource, list_at, props_at, value_at

_INTEGRATION = "_configs"


@rule(
    HELM_RELEASE,
    message="Alertmanager's receiver {} tells nobody: set alertReceiver, and its secret",
    fix="Set vigil:alertReceiver and the secret vigil:alertReceiverSecret; the chart's own receiver"
    " drops everything.",
    severity="high",
    params={"chart": text("chart that installs an Alertmanager", "kube-prometheus-stack")},
)
def alerts_reach_somebody(release: Props, context: Context) -> Violation:
    """Alerts go to a receiver that tells people."""
    if release.get("chart") != context.params["chart"]:
        return None
    config = props_at(release, "values.alertmanager.config")
    name = str(value_at(config, "route.receiver") or "null")
    return None if name in _telling_receivers(config) else name


def _telling_receivers(config: Props) -> list[str]:
    """Return the names of receivers with an integration."""
    receivers = list_at(config, "receivers")
    return [str(receiver.get("name")) for receiver in receivers if _tells_people(receiver)]


def _tells_people(receiver: Props) -> bool:
    return any(key.endswith(_INTEGRATION) and receiver[key] for key in receiver)


@rule(
    RAY_SERVICE_TYPE,
    message="nobody is told of incidents: set alertReceiver, or the secret vigil:notify",
    fix="Name who is told in the secret vigil:notify; with an alertReceiver incidents go to the"
    " stack's Alertmanager by themselves.",
    severity="high",
    stack=True,
    params={
        "watches": text("import path of the application that finds them", "drift.monitor:build"),
        "variable": text("key of the Secret that names who is told", "VIGIL_DRIFT_NOTIFY"),
    },
)
def incidents_reach_somebody(_: Props, context: Context) -> Violation:
    """Incidents are told to somebody."""
    paths = [one.get("import_path") for one in serve_applications(context.resource)]
    if context.params["watches"] not in paths:
        return None
    keys = {key for secret in context.stack.of(KUBE_SECRETS) for key in _keys_of(secret)}
    return context.params["variable"] not in keys


def _keys_of(secret: Resource) -> Iterator[str]:
    for part in ("data", "stringData"):
        yield from props_at(secret.props, part)
