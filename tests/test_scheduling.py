"""The tests end, also where one of their processes dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEADLINE_S = 120

HOOKS = "from tests.scheduling import pytest_xdist_make_scheduler\n"

PASSES = "def test_it(): pass\n"

DIES_ONCE = """
import os, pathlib
mark = pathlib.Path(__file__).with_suffix(".died")

def test_before(): pass

def test_dies():
    if not mark.exists():
        mark.touch()
        os._exit(1)

def test_after(): pass
"""


def ended_with(folder: Path) -> str:
    """The last line of pytest over these files, in two processes."""
    options = ["-n", "2", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", folder]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return run.stdout.splitlines()[-1]


def test_all_tests_run_though_a_process_died(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    for number in range(8):
        (tmp_path / f"test_{number}.py").write_text(PASSES)
    (tmp_path / "test_2.py").write_text(DIES_ONCE)
    ended = ended_with(tmp_path)
    # What was running when its process died has failed, and is run again.
    assert "1 failed" in ended
    assert "10 passed" in ended
