"""The clients that people have speak to the running service; all get the same scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import tritonclient.http as triton
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.running import Vigil
from vigil.arrays import Floats

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def names(platform: Vigil) -> list[str]:
    return platform.get("/readyz")[1]["features"]


@pytest.fixture(scope="module")
def rows(names: list[str]) -> Floats:
    """Ordinary and odd rows that float32 holds exactly, so that FP32 asks the same as FP64."""
    return (
        np.random.default_rng(4)
        .uniform(-50, 200, (40, len(names)))
        .astype(np.float32)
        .astype(np.float64)
    )


@pytest.fixture(scope="module")
def expected(platform: Vigil, rows: Floats) -> dict[str, Any]:
    """What `requests` hears at /predict."""
    answer = requests.post(f"{platform.url}/predict", json={"instances": rows.tolist()}, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["X-Vigil-Model-Version"] == answer.json()["model_version"]
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"]
    assert {-1} <= set(answer.json()["prediction"]) <= {1, -1}
    return answer.json()


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_tritonclient(
    platform: Vigil,
    rows: Floats,
    expected: dict[str, Any],
    binary_in: bool,
    binary_out: bool,
    datatype: str,
) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{platform.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("vigil")
        assert client.get_model_metadata("vigil")["inputs"][0]["shape"] == [-1, rows.shape[1]]
        tensor = triton.InferInput("features", list(rows.shape), datatype)
        tensor.set_data_from_numpy(
            rows.astype(np.float32 if datatype == "FP32" else np.float64), binary_data=binary_in
        )
        outputs = [
            triton.InferRequestedOutput(name, binary_data=binary_out)
            for name in ("anomaly_score", "prediction")
        ]
        result = client.infer(
            "vigil",
            [tensor],
            outputs=outputs,
            request_id="mine",
            model_version=expected["model_version"],
        )
    assert result.get_response()["id"] == "mine"
    for output in ("anomaly_score", "prediction"):
        values = result.as_numpy(output)
        assert values is not None
        assert values.tolist() == expected[output]


def test_tritonclient_is_told_what_is_wrong(platform: Vigil, rows: Floats) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{platform.port}") as client:
        tensor = triton.InferInput("features", [2, 3], "FP64")
        tensor.set_data_from_numpy(rows[:2, :3].copy())
        with pytest.raises(triton.InferenceServerException, match="shape") as failed:
            client.infer("vigil", [tensor])
        assert failed.value.status() == "422"


def test_mlflows_client(
    platform: Vigil, names: list[str], rows: Floats, expected: dict[str, Any]
) -> None:
    client = ScoringServerClient("127.0.0.1", platform.port)
    client.ping()
    assert client.get_version()
    frame = pd.DataFrame(rows, columns=names)
    answer = client.invoke(frame)
    assert [p["anomaly_score"] for p in answer["predictions"]] == expected["anomaly_score"]
    assert [p["prediction"] for p in client.invoke(rows)["predictions"]] == expected["prediction"]


def test_csv_by_requests(
    platform: Vigil, names: list[str], rows: Floats, expected: dict[str, Any]
) -> None:
    text = pd.DataFrame(rows, columns=names).to_csv(index=False)
    answer = requests.post(
        f"{platform.url}/invocations", text, headers={"Content-Type": "text/csv"}, timeout=30
    )
    assert [p["anomaly_score"] for p in answer.json()["predictions"]] == expected["anomaly_score"]


@pytest.mark.timeout(150)
def test_schemathesis_finds_no_fault_and_no_undocumented_answer(
    platform: Vigil, tmp_path: Path
) -> None:
    checks = (
        "not_a_server_error,status_code_conformance,"
        "content_type_conformance,response_schema_conformance"
    )
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{platform.url}/openapi.json",
        "--checks",
        checks,
        "--max-examples",
        "60",
        "--seed",
        "7",
        "--phases",
        "examples,coverage,fuzzing",
        "--request-timeout",
        "20",
        "--suppress-health-check",
        "all",
        "--generation-database",
        "none",
        "--warnings",
        "off",
        "--no-color",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert platform.get("/readyz")[0] == 200
