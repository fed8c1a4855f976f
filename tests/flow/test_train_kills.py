"""Workers and drivers of training jobs that die: a job ends well with exactly one version, or leaves none."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from tests.running import Vigil, eventually, free_port, left_of

LONG = {"VIGIL_TRAIN_N_ESTIMATORS": "3000"}  # several seconds on both workers


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(6000, 6)), columns=list("abcdef"))
    folder = tmp_path / "table"
    folder.mkdir()
    for i in range(3):
        rows[2000 * i : 2000 * (i + 1)].to_parquet(folder / f"{i}.parquet")
    return folder


def fitting(home: Path) -> Iterator[psutil.Process]:
    """The train workers of this home that have begun to fit: a worker that waits uses no processor."""
    for process in psutil.process_iter():
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()) and process.environ().get("VIGIL_HOME") == str(home):
                process.cpu_percent(0.3)
                if process.cpu_percent(0.5) > 30:
                    yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


@pytest.mark.timeout(240)
def test_a_killed_worker_costs_a_retry_and_a_killed_driver_leaves_no_version(tmp_path: Path, table: Path) -> None:
    vigil = Vigil(tmp_path, free_port(), LONG)
    arguments = ("train", "--data", str(table), "--key", "once", "--over-time", "diff:1,mean:4", "--json")
    driver = vigil.start(*arguments)
    worker = eventually(lambda: next(fitting(tmp_path), None))
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=60)
    eventually(lambda: not left_of(tmp_path), 60)
    assert not worker.is_running()
    assert vigil.json("models")["models"] == []

    second = vigil.start(*arguments)
    worker = eventually(lambda: next(fitting(tmp_path), None))
    worker.kill()
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0, err
    made = json.loads(out)
    assert (made["version"], made["verdict"]["passed"]) == ("1", True)
    assert vigil.json(*arguments[:-1])["version"] == "1"
    (model,) = vigil.json("models")["models"]
    assert model["tags"]["job"] == "once"
