"""The whole loop, as a newcomer runs it: train, serve, stream, drift, retrain, gate, swap; then Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.running import Vigil, eventually, free_port, left_of, listening


def data_arguments(request: pytest.FixtureRequest) -> list[str]:
    """Real telemetry where it is there, else the built-in: one run is enough for one code path."""
    try:
        folder: Path = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        return []
    return ["--data", str(folder / "asd" / "omi-1.npz")]


@pytest.mark.timeout(420)
def test_demo_goes_through_the_loop_and_leaves_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    vigil = Vigil(tmp_path, free_port())
    demo = vigil.start("demo", "--json", *data_arguments(request))
    assert demo.stdout is not None
    line = demo.stdout.readline()
    assert line, f"the demo ended early: {demo.communicate(timeout=60)[1]}"
    summary = json.loads(line)
    assert "error" not in summary, summary
    status, drift = vigil.get("/drift")
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 0, err
    assert summary["failed_requests"] == 0
    assert summary["retrains"] == drift["retrains"] == 1
    assert int(summary["final_version"]) > int(summary["first_version"])
    assert summary["final_phase_versions"] == [summary["final_version"]]
    assert status == 200
    assert {r["version"] for r in drift["replicas"]} == {summary["final_version"]}
    eventually(lambda: not left_of(vigil.home), 30)
    assert vigil.port not in listening()
