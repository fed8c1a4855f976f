"""The platform on one machine, as far as it can be looked at without starting it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from serve.local import platform as local
from serve.settings import ServeSettings
from tests.running import eventually
from train.settings import TrainSettings
from vigil.errors import PlatformError

NAME = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
ASK = f"import os, time; print(os.environ['{NAME}'], flush=True); time.sleep(60)"


@pytest.mark.parametrize(("given", "told"), [(None, "false"), ("true", "true")])
def test_mlflow_runs_without_its_job_runner_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if given is not None:
        monkeypatch.setenv(NAME, given)
    server = local._Server([sys.executable, "-c", ASK], tmp_path / "log")
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
    assert local.reserved_cpus(settings, training) == pytest.approx(4 * 0.25 + 0.2 + 4 * 0.5)
    streams = {"stream_source": "file:x", "stream_consumers": 2, "stream_max_consumers": 3}
    more = settings.model_copy(update={"min_replicas": 8, **streams})
    assert local.reserved_cpus(more, training) == pytest.approx(8 * 0.25 + 0.5 + 4 * 0.5)
    small = TrainSettings(workers=1, cpus_per_worker=0.5)  # a task that reads a table takes more
    assert local.reserved_cpus(settings, small) == pytest.approx(1.2 + local.SCAN_CPUS)


def test_no_folder_for_sockets_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    with pytest.raises(PlatformError, match="--tmpfs /tmp"):
        local._short_folder()
