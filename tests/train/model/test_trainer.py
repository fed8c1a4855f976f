"""A fit on Ray Train starts the processes that it needs, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

FIT = """
import json, re, sys
from pathlib import Path
from threading import Event, Thread
from vigil.home import Home, use_ray_token
home = Path(sys.argv[1])
use_ray_token(Home(home))
import numpy as np
import psutil
from train.connect import connected
from train.model.fit import fit
from train.settings import TrainSettings

actors, done = set(), Event()

def watch():
    while not done.wait(0.05):
        for process in psutil.Process().children(recursive=True):
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            actors.update(re.findall(r"^ray::(\\w+)[.]", " ".join(words)))

rows = np.random.default_rng(0).normal(size=(2500, 3))
settings = TrainSettings(n_estimators=8, workers=2)
with connected(None):
    watcher = Thread(target=watch)
    watcher.start()
    forest = fit(rows, settings, home / "storage")
    done.set()
    watcher.join()
print(json.dumps({"actors": sorted(actors), "trees": forest.n_estimators}))
"""


@pytest.mark.timeout(180)
def test_a_fit_of_two_workers_has_a_controller_and_a_barrier_beside_them(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FIT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["trees"] == 8
    assert found["actors"] == ["RayTrainWorker", "SynchronizationActor", "TrainController"]
