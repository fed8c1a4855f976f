"""The whole loop, as a newcomer runs it: train, serve, stream, drift, retrain, gate, swap."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Vigil, free_port

from serve import reaper


def run_demo(home: Path, *arguments: str) -> dict[str, object]:
    vigil = Vigil(home, free_port(), {reaper.MARK: ""})
    summary = vigil.json("demo", "--exit", *arguments)
    assert not vigil.home.joinpath("state", "platform.json").exists()
    return summary


def check(summary: dict[str, object]) -> None:
    assert summary["failed_requests"] == 0
    assert summary["retrains"] == 1
    assert int(str(summary["final_version"])) > int(str(summary["first_version"]))
    assert summary["final_phase_versions"] == [summary["final_version"]]


@pytest.mark.timeout(420)
def test_loop_on_real_telemetry_or_on_the_built_in(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """One run is enough for one code path: on real data where they are, else on the generator."""
    try:
        folder: Path = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        check(run_demo(tmp_path))
    else:
        check(run_demo(tmp_path, "--data", str(folder / "asd" / "omi-1.npz")))
