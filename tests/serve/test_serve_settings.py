"""The Serve configuration that the settings render."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ray.serve.schema import ServeDeploySchema

from drift.settings import DriftSettings
from serve.keys import keys
from serve.settings import ServeSettings
from train.options import BadSettings

DRIFT = DriftSettings.given(home=Path("/h"), tracking_uri="http://t", model_name="m", jobs_url="http://d")


def applications(settings: ServeSettings) -> dict[str, Any]:
    config: dict[str, Any] = settings.application(DRIFT)
    return {application["name"]: application for application in config["applications"]}


def test_serve_accepts_the_configuration() -> None:
    settings = ServeSettings(home=Path("/h"), port=8123, min_replicas=3)
    schema = ServeDeploySchema.model_validate(json.loads(json.dumps(settings.application(DRIFT))))
    assert schema.http_options.port == 8123
    assert {a.name: a.import_path for a in schema.applications} == {"vigil": "serve.app:build", "drift": "drift.monitor:build"}
    assert schema.applications[0].deployments[0].autoscaling_config["min_replicas"] == 3  # type: ignore[index]


def test_logs_are_json_and_written_at_once() -> None:
    schema = ServeDeploySchema.model_validate(json.loads(json.dumps(ServeSettings().application(DRIFT))))
    assert schema.logging_config is not None
    assert (schema.logging_config.encoding, schema.logging_config.log_level) == ("JSON", "WARNING")
    code = "from ray.serve._private import constants; print(constants.RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE)"
    environment = os.environ | ServeSettings().environment | {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1"


def test_no_model_version_is_in_what_restarts_replicas() -> None:
    for application in applications(ServeSettings()).values():
        configs = [application["args"], *(d.get("user_config", {}) for d in application.get("deployments", []))]
        assert not [key for config in configs for key in config if "version" in key or "digest" in key]


def test_args_are_the_settings_that_a_replica_reads() -> None:
    settings = ServeSettings(home=Path("/h"), max_rows=7, reasons=1, score_threads=3, poll_s=9)
    found = applications(settings)
    again = ServeSettings.given(**found["vigil"]["args"]).with_live(found["vigil"]["deployments"][0]["user_config"])
    assert again == settings
    drift = DriftSettings.given(**found["drift"]["args"]).with_live(found["drift"]["deployments"][0]["user_config"])
    assert drift == DRIFT


def test_the_upper_bound_of_replicas_is_never_below_the_lower() -> None:
    scaling = applications(ServeSettings(min_replicas=6, max_replicas=4))["vigil"]["deployments"][0]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (6, 6)


def test_the_environment_sets_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_SERVE_PORT", "9001")
    monkeypatch.setenv("VIGIL_SERVE_MAX_ROWS", "5")
    settings = ServeSettings(max_rows=6)
    assert (settings.port, settings.max_rows) == (9001, 6)


@pytest.mark.parametrize("wrong", [{"port": 0}, {"capture_rate": 1.5}, {"max_rows": 0}, {"version": "3"}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        ServeSettings(**wrong)


def test_settings_come_from_the_environment_and_wrong_ones_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    monkeypatch.setenv("VIGIL_SERVE_OVERLOAD_STATUS", "429")
    assert ServeSettings().overload_status == 429
    monkeypatch.setenv("VIGIL_SERVE_OVERLOAD_STATUS", "200")
    monkeypatch.setenv("VIGIL_SERVE_PORT", "eighty")
    result = CliRunner().invoke(keys, ["list"])
    assert result.exit_code == 2
    assert "VIGIL_SERVE_PORT = 'eighty'" in result.stderr.replace("\n", " ")
    assert "VIGIL_SERVE_OVERLOAD_STATUS = '200'" in result.stderr.replace("\n", " ")
    assert "429 or 503" in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
