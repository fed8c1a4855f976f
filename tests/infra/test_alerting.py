"""Who is told: Alertmanager's receiver, the channel of incidents, and the monitor's way to both."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from infra.manifests.alerting import (
    INCIDENT_CHANNEL,
    alertmanager_config,
    alertmanager_values,
    with_incident_channel,
)
from infra.manifests.bindings import MONITORING_NAMESPACE, RAY_NAMESPACE, Bindings
from infra.manifests.incidents import INCIDENTS_URL, incident_manifests
from infra.manifests.ray import ray_service
from infra.manifests.ray_config import drift_settings
from infra.settings import PlatformSettings, settings_from
from infra.stack_keys import needed_secrets
from tests.infra.test_platform_settings import AWS, KUBERNETES
from vigil.errors import BadSettings

needs_amtool = pytest.mark.skipif(
    not shutil.which("amtool"), reason="no amtool: Debian's package prometheus-alertmanager has it"
)
BINDINGS = Bindings(database_host="db.example.com", database_secret="arn:secret")


def stack(base: dict[str, Any], **values: Any) -> PlatformSettings:
    return settings_from("test", {**base, **values})


def test_without_a_receiver_the_chart_keeps_its_own() -> None:
    settings = stack(KUBERNETES)
    assert "config" not in alertmanager_values(settings)
    assert with_incident_channel(settings, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("receiver", ["webhook", "slack", "pagerduty", "msteams"])
def test_a_receiver_has_its_secret_from_a_file_and_hears_of_incidents(receiver: str) -> None:
    settings = stack(KUBERNETES, alertReceiver=receiver)
    values = alertmanager_values(settings)
    (_, people) = values["config"]["receivers"]
    (integration,) = people[next(key for key in people if key.endswith("_configs"))]
    (file,) = [value for key, value in integration.items() if key.endswith("_file")]

    assert values["alertmanagerSpec"]["secrets"] == ["alert-receiver"]
    assert file == "/etc/alertmanager/secrets/alert-receiver/value"
    assert values["config"]["route"]["receiver"] == people["name"]
    assert with_incident_channel(settings, {})["notify"] == INCIDENT_CHANNEL
    assert with_incident_channel(settings, {"notify": "x"})["notify"] == "x"


@pytest.mark.skipif(
    not shutil.which("amtool"), reason="no amtool: Debian's prometheus-alertmanager"
)
def test_alertmanager_takes_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(alertmanager_config("slack")))
    subprocess.run(["amtool", "check-config", str(file)], check=True, capture_output=True)


def test_a_receiver_without_an_alertmanager_is_refused() -> None:
    with pytest.raises(BadSettings, match="alertReceiver: needs monitoring"):
        stack(KUBERNETES, alertReceiver="slack", monitoring=False)


def test_the_monitor_alone_reaches_people_alertmanager_and_the_database() -> None:
    manifests = incident_manifests(stack(AWS), BINDINGS)
    policies = {one["metadata"]["name"]: one["spec"] for one in manifests if "spec" in one}

    assert policies.keys() == {
        "monitor-to-receivers",
        "monitor-to-alertmanager",
        "monitor-to-database",
    }
    for spec in policies.values():
        assert spec["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "monitor"}
    names = [one["metadata"]["name"] for one in incident_manifests(stack(KUBERNETES), Bindings())]
    assert names == ["monitor-to-receivers", "monitor-to-alertmanager"]
    assert MONITORING_NAMESPACE in INCIDENT_CHANNEL


def test_a_database_of_ones_own_is_reached_with_the_stacks_password() -> None:
    url = "postgresql://vigil@db.example.com:6432/incidents"
    settings = stack(KUBERNETES, drift={"incidentsUrl": url})
    policies = {
        one["metadata"]["name"]: one["spec"] for one in incident_manifests(settings, Bindings())
    }
    workers = ray_service(settings, Bindings())["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    pods = {group["groupName"]: group["template"]["spec"] for group in workers}
    names = {
        group: [variable["name"] for variable in pod["containers"][0]["env"]]
        for group, pod in pods.items()
    }

    (rule,) = policies["monitor-to-database"]["egress"]
    assert rule["ports"] == [{"port": 6432, "protocol": "TCP"}]
    assert drift_settings(settings).incidents_url == url
    assert "PGPASSWORD" in names["monitor"]
    assert "PGPASSWORD" not in names["serve"]
    # A database may know the monitor by other means.
    assert "incidentsPassword" not in needed_secrets(settings)


def test_on_aws_incidents_are_in_the_database_whose_password_is_kept_fresh() -> None:
    settings = stack(AWS)
    url = make_url(drift_settings(settings).incidents_url)
    workers = ray_service(settings, BINDINGS)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    pods = {group["groupName"]: group["template"]["spec"] for group in workers}
    (ray,) = pods["monitor"]["containers"]
    once, sidecar = pods["monitor"]["initContainers"]
    env = [variable["name"] for variable in ray["env"]]

    assert (url.host, url.username, url.password, url.database) == (None, "mlflow", None, "mlflow")
    assert len(env) == len(set(env))
    assert {"PGHOST", "PGPASSFILE"} <= set(env)
    assert once["command"][-1] == "once"
    assert sidecar["restartPolicy"] == "Always"
    assert "initContainers" not in pods["serve"]
    (config,) = [
        one for one in incident_manifests(settings, BINDINGS) if one["kind"] == "ConfigMap"
    ]
    assert config["metadata"]["namespace"] == RAY_NAMESPACE
    assert config["data"]["host"] == "db.example.com"


def test_elsewhere_incidents_are_where_the_stack_says() -> None:
    settings = stack(KUBERNETES, drift={"incidentsUrl": "postgresql://v@db/v"})
    workers = ray_service(settings, Bindings())["spec"]["rayClusterConfig"]["workerGroupSpecs"]

    assert drift_settings(settings).incidents_url == "postgresql://v@db/v"
    assert all("initContainers" not in group["template"]["spec"] for group in workers)
    assert INCIDENTS_URL.startswith("postgresql://")
