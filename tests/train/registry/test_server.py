"""train/registry/server.py: MLflow is quiet and impatient, and imported when it is first needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = """
import json, os, sys
before = dict(os.environ)
from train.registry.versions import Registry
imported = "mlflow" in sys.modules
unchanged = before == dict(os.environ)
Registry("http://127.0.0.1:9", "vigil")
from mlflow.telemetry import get_telemetry_client
print(json.dumps({
    "imported": imported,
    "unchanged": unchanged,
    "telemetry": get_telemetry_client() is not None,
    "timeout": os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"],
    "retries": os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"],
}))
"""


def test_the_environment_is_set_when_a_registry_is_made_and_before_mlflow_reads_it() -> None:
    environment = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    environment = {name: value for name, value in environment.items() if name not in IN_CI}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        cwd=ROOT,
        env={**environment, "MLFLOW_HTTP_REQUEST_TIMEOUT": "7"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == {
        "imported": False,
        "unchanged": True,
        "telemetry": False,
        "timeout": "7",  # what somebody has set stays
        "retries": "2",
    }


# By these MLflow takes a process for a test, whose telemetry it leaves out anyway.
IN_CI = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")
