"""The Serve configuration that the settings render."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from ray._common.utils import import_attr
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from drift.settings import DriftSettings
from serve.applications import platform_config, ray_process_environment
from serve.http.door import middlewares
from serve.http.infer_messages import add_open_inference
from serve.local.keys import keys
from serve.settings import ServeSettings
from serve.stream.app import by_lag
from vigil.errors import BadSettings
from vigil.room_settings import Effect

DRIFT = DriftSettings.from_values(
    home=Path("/h"), tracking_uri="http://t", model_name="m", jobs_url="http://d"
)


def applications(settings: ServeSettings) -> dict[str, Any]:
    config: dict[str, Any] = platform_config(settings, DRIFT)
    return {application["name"]: application for application in config["applications"]}


def test_serve_accepts_the_configuration() -> None:
    settings = ServeSettings(home=Path("/h"), port=8123, min_replicas=3)
    schema = ServeDeploySchema.model_validate(
        json.loads(json.dumps(platform_config(settings, DRIFT)))
    )
    assert schema.http_options.port == 8123
    assert {a.name: a.import_path for a in schema.applications} == {
        "vigil": "serve.http.app:build",
        "drift": "drift.monitor:build",
    }
    assert schema.applications[0].deployments[0].autoscaling_config["min_replicas"] == 3  # type: ignore[index]


def test_logs_are_json_and_written_at_once() -> None:
    schema = ServeDeploySchema.model_validate(
        json.loads(json.dumps(platform_config(ServeSettings(), DRIFT)))
    )
    assert schema.logging_config is not None
    assert (schema.logging_config.encoding, schema.logging_config.log_level) == ("JSON", "WARNING")
    code = (
        "from ray.serve._private import constants; "
        "print(constants.RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE)"
    )
    environment = (
        os.environ
        | ray_process_environment(ServeSettings())
        | {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1"


def test_grpc_is_off_unless_it_has_a_port_and_asks_for_keys_then() -> None:
    assert "grpc_options" not in platform_config(ServeSettings(), DRIFT)
    assert not ServeSettings().auth_required
    settings = ServeSettings(grpc_port=8001)
    assert settings.auth_required
    schema = ServeDeploySchema.model_validate(platform_config(settings, DRIFT))
    options = schema.grpc_options.model_dump()
    assert options.pop("port") == 8001
    path = options["grpc_servicer_functions"][0]
    assert import_attr(path) is add_open_inference


def test_what_serve_puts_in_front_of_replicas_can_be_imported() -> None:
    environment = ray_process_environment(ServeSettings())
    path = environment["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
    assert import_attr(path) is middlewares


@pytest.mark.parametrize("metrics", [True, False])
def test_the_proxy_writes_a_line_a_request_for_metrics_alone(metrics: bool) -> None:
    environment = ray_process_environment(ServeSettings(haproxy_metrics=metrics))
    lines = environment["RAY_SERVE_HAPROXY_RETRY_ON"].splitlines()
    assert ("    option dontlog-normal" in lines) is not metrics


def test_no_model_version_is_in_what_restarts_replicas() -> None:
    for application in applications(ServeSettings()).values():
        configs = [
            application["args"],
            *(d.get("user_config", {}) for d in application.get("deployments", [])),
        ]
        assert not [
            key for config in configs for key in config if "version" in key or "digest" in key
        ]


def test_args_are_the_settings_that_a_replica_reads() -> None:
    settings = ServeSettings(home=Path("/h"), max_rows=7, reasons=1, score_threads=3, poll_s=9)
    found = applications(settings)
    again = ServeSettings.from_values(**found["vigil"]["args"]).with_live_values(
        found["vigil"]["deployments"][0]["user_config"]
    )
    assert again == settings
    drift = DriftSettings.from_values(**found["drift"]["args"]).with_live_values(
        found["drift"]["deployments"][0]["user_config"]
    )
    assert drift == DRIFT


def test_the_upper_bound_of_replicas_is_never_below_the_lower() -> None:
    scaling = applications(ServeSettings(min_replicas=6, max_replicas=4))["vigil"]["deployments"][
        0
    ]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (6, 6)


def test_the_environment_sets_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_SERVE_PORT", "9001")
    monkeypatch.setenv("VIGIL_SERVE_MAX_ROWS", "5")
    settings = ServeSettings(max_rows=6)
    assert (settings.port, settings.max_rows) == (9001, 6)


@pytest.mark.parametrize(
    "wrong", [{"port": 0}, {"capture_rate": 1.5}, {"max_rows": 0}, {"version": "3"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        ServeSettings(**wrong)


def test_settings_come_from_the_environment_and_wrong_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


def test_streams_have_an_application_of_their_own_that_scales_by_their_lag() -> None:
    settings = ServeSettings.from_values(
        stream_source="file:in", stream_consumers=2, stream_max_consumers=5, stream_lag=100
    )
    schema = ServeDeploySchema.model_validate(
        json.loads(json.dumps(platform_config(settings, DRIFT)))
    )
    streams = schema.applications[2]
    scaling: Any = streams.deployments[0].autoscaling_config
    config = AutoscalingConfig.model_validate(scaling)
    assert (config.min_replicas, config.max_replicas, config.target_ongoing_requests) == (2, 5, 100)
    policy: Any = config.policy.get_policy()
    assert policy.__name__ == by_lag.__name__  # Serve finds it by its path
    told: Any = streams.args | streams.deployments[0].user_config  # type: ignore[operator]
    assert {name for name in told if name != "home"} == {
        name for name in ServeSettings.names(*Effect) if name.startswith(("stream_", "context_"))
    }
    of_replicas = applications(settings)["vigil"]
    assert not [
        name
        for name in (*of_replicas["args"], *of_replicas["deployments"][0]["user_config"])
        if "stream" in name
    ]


@pytest.mark.parametrize(
    ("lags", "wanted"),
    [({}, 3), ({"a": 101.0, "b": 0.0}, 4), ({"a": 100.0, "b": 30.0}, 3), ({"a": 20.0}, 2)],
)
def test_a_consumer_is_added_while_a_shard_is_behind_and_taken_away_when_none_is(
    lags: dict[str, float], wanted: int
) -> None:
    context: Any = SimpleNamespace(
        aggregated_metrics={"lag": lags} if lags else {},
        config=SimpleNamespace(target_ongoing_requests=100),
        current_num_replicas=3,
    )
    assert by_lag(context) == (wanted, {})


def test_replicas_and_consumers_go_after_the_delay_of_the_settings() -> None:
    settings = ServeSettings(downscale_delay_s=60, stream_source="file:/in")
    by_name = applications(settings)
    for name in ("vigil", "stream"):
        autoscaling = by_name[name]["deployments"][0]["autoscaling_config"]
        assert autoscaling["downscale_delay_s"] == 60
    assert ServeSettings().downscale_delay_s == 300
