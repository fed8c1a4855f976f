"""The whole loop, as a newcomer runs it: train, serve, stream, drift, retrain, gate, swap; then Ctrl-C."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.running import Vigil, eventually, free_port, left_of, listening
from train.home import Home, Platform

pytestmark = pytest.mark.timeout(420)

# Who looks on, by name: each is entered when Ray and MLflow are up and nothing is served yet, and left before Ctrl-C.
WATCHERS: dict[str, Callable[[Platform], AbstractContextManager[Any]]] = {}


@dataclass
class Demo:
    """A demo that has told its summary and stays up; `seen` has what each of WATCHERS gave."""

    vigil: Vigil
    platform: Platform
    summary: dict[str, Any]
    seen: dict[str, Any]


def data_arguments(request: pytest.FixtureRequest) -> list[str]:
    """Real telemetry where it is there, else the built-in: one run is enough for one code path."""
    try:
        folder: Path = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        return []
    return ["--data", str(folder / "asd" / "omi-1.npz")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Demo]:
    """The one demo that all tests here look at; it leaves nothing when it is told to stop."""
    vigil = Vigil(tmp_path_factory.mktemp("demo"), free_port())
    process = vigil.start("demo", "--json", *data_arguments(request))
    assert process.stdout is not None

    def up() -> Platform | None:
        assert process.poll() is None, f"the demo ended early: {process.communicate()[1]}"
        return Home(vigil.home).platform()

    try:
        platform = eventually(up, 120)
        with ExitStack() as watching:
            seen = {name: watching.enter_context(watcher(platform)) for name, watcher in WATCHERS.items()}
            line = process.stdout.readline()
            assert line, f"the demo ended early: {process.communicate(timeout=60)[1]}"
            summary = json.loads(line)
            assert "error" not in summary, summary
            yield Demo(vigil, platform, summary, seen)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    eventually(lambda: not left_of(vigil.home), 30)
    assert vigil.port not in listening()


def test_the_demo_goes_through_the_loop(demo: Demo) -> None:
    summary = demo.summary
    status, drift = demo.vigil.get("/drift")
    assert summary["failed_requests"] == 0
    assert summary["retrains"] == drift["retrains"] == 1
    assert int(summary["final_version"]) > int(summary["first_version"])
    assert summary["final_phase_versions"] == [summary["final_version"]]
    assert status == 200
    assert {r["version"] for r in drift["replicas"]} == {summary["final_version"]}
