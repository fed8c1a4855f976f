"""The platform on one machine, as far as it can be looked at without starting it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from serve.local.mlflow_server import SupervisedProcess
from serve.local.platform import is_deployed, socket_folder, stop_platform
from serve.local.ray_node import SCAN_TASK_CPUS, reserved_cpus
from serve.settings import ServeSettings
from tests.running import eventually
from train.settings import TrainSettings
from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform, write_json

NAME = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
ASK = f"import os, time; print(os.environ['{NAME}'], flush=True); time.sleep(60)"


@pytest.mark.parametrize(("given", "told"), [(None, "false"), ("true", "true")])
def test_mlflow_runs_without_its_job_runner_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if given is not None:
        monkeypatch.setenv(NAME, given)
    server = SupervisedProcess([sys.executable, "-c", ASK], tmp_path / "log")
    server.start()
    assert server.process is not None
    try:
        assert eventually(lambda: (tmp_path / "log").read_text()).strip() == told
    finally:
        server.process.kill()
        server.process.wait()


def test_ray_is_asked_for_all_replicas_and_one_training_at_once() -> None:
    settings = ServeSettings(min_replicas=2, max_replicas=4, cpus_per_replica=0.25)
    training = TrainSettings(workers=4, cpus_per_worker=0.5)
    assert reserved_cpus(settings, training) == pytest.approx(4 * 0.25 + 0.2 + 4 * 0.5)
    streams = {"stream_source": "file:x", "stream_consumers": 2, "stream_max_consumers": 3}
    more = settings.model_copy(update={"min_replicas": 8, **streams})
    assert reserved_cpus(more, training) == pytest.approx(8 * 0.25 + 0.5 + 4 * 0.5)
    small = TrainSettings(workers=1, cpus_per_worker=0.5)  # a task that reads a table takes more
    assert reserved_cpus(settings, small) == pytest.approx(1.2 + SCAN_TASK_CPUS)


def test_no_folder_for_sockets_is_a_sentence() -> None:
    def read_only(**_: object) -> Any:
        raise FileNotFoundError(2, "No usable temporary directory found")

    with pytest.raises(PlatformError, match="--tmpfs /tmp"):
        socket_folder(read_only)


def test_the_folder_of_sockets_is_short_wherever_temporary_files_are(tmp_path: Path) -> None:
    far = tmp_path / "a-folder-for-temporary-files-of-a-user"
    far.mkdir()
    with socket_folder(temporary=str(far)) as folder:
        assert len(folder) <= 25


def test_a_platform_is_deployed_when_its_own_record_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    platform = RunningPlatform("this", 1, "", "x", "x", "x", "x", "x")
    assert not is_deployed(home, platform)
    write_json(home.state / "deployed.json", {"id": "of one that crashed"})
    assert not is_deployed(home, platform)
    write_json(home.state / "deployed.json", {"id": "this"})
    assert is_deployed(home, platform)


def test_down_removes_what_says_that_a_platform_runs(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    assert stop_platform(home) == 0
    home.write_platform(RunningPlatform("gone", 1, "", "x", "x", "x", "x", "x"))
    write_json(home.state / "deployed.json", {"id": "gone"})
    assert stop_platform(home) == 0
    assert not list(home.state.glob("*.json"))
