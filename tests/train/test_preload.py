"""Imports ahead of need: in a thread, beside a Ray that starts."""

from __future__ import annotations

import subprocess
import sys

from tests.running import ROOT
from train.preload import preload

AHEAD = """
import sys
import ray
import train.connect
before = set(sys.modules)
from train.preload import TO_FIT, TO_REGISTER, preload
preload(TO_FIT).join()
print(*({"mlflow", "skops", "matplotlib"} & sys.modules.keys()))
preload(TO_REGISTER).join()
print(*(name for name in (*TO_FIT, *TO_REGISTER) if name not in sys.modules))
print(*(name for name in sys.modules.keys() - before if name.split(".")[0] == "ray"))
"""


def printed(program: str) -> str:
    """What a program in an interpreter of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_all_is_imported_and_nothing_of_ray() -> None:
    assert printed(AHEAD) == ""


def test_a_module_that_is_missing_fails_where_it_is_needed() -> None:
    thread = preload(["no_such_module", "zipfile"])
    thread.join()
    assert "zipfile" in sys.modules
