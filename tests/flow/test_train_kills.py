"""Workers and drivers of training jobs die: a job leaves exactly one version, or none.

With one version it has ended well.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from tests.running import Vigil, eventually, free_port, left_of
from train.registry.versions import Registry
from vigil.home import Home

SLOW = {
    "VIGIL_TRAIN_N_ESTIMATORS": "1500",
    "VIGIL_TRAIN_MAX_SAMPLES": "1024",
}  # seconds on both workers


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(6000, 6)), columns=list("abcdef"))
    rows.to_parquet(tmp_path / "table.parquet")
    return ["train", "--data", str(tmp_path / "table.parquet"), "--key", "once", "--json"]


def workers(driver: subprocess.Popen[str], doing: str = "") -> list[psutil.Process]:
    """The train workers of a driver, by what their title says that they do."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(driver.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if f"RayTrainWorker{doing}" in " ".join(process.cmdline()):
                    found.append(process)
    return found


def fits(home: Path) -> Callable[[], Any]:
    """Whether a tenth of the trees of one worker, but not all of both, are there."""
    return lambda: [
        file for file in home.glob("state/train/*/trees-*") if file.read_text() not in ("", "750")
    ]


@pytest.mark.timeout(400)
def test_a_killed_worker_costs_a_retry_and_a_killed_driver_leaves_no_version(
    tmp_path: Path, arguments: list[str]
) -> None:
    vigil = Vigil(tmp_path, free_port(), SLOW)
    with vigil.start(*arguments) as driver:
        eventually(fits(tmp_path), 120)
        driver.send_signal(signal.SIGKILL)
    eventually(lambda: not left_of(tmp_path))
    registry = Registry(Home(tmp_path).database_uri, "vigil")
    assert registry.versions() == []

    for file in tmp_path.glob("state/train/*/trees-*"):
        file.unlink()
    with vigil.start(*arguments) as driver:
        eventually(lambda: workers(driver, ".run_train_fn"), 120)[
            0
        ].kill()  # while it is handed what to do
        eventually(fits(tmp_path), 120)
        workers(driver)[0].kill()
        out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    made = json.loads(out)
    assert (made["version"], made["verdict"]["passed"]) == ("1", True)
    (version,) = registry.versions()
    assert version.tags["job"] == "once"
    assert version.metrics["seconds_fit"] > 0
    eventually(lambda: not left_of(tmp_path))
