"""`make scan`: what could not be looked at is said, and fails on GitHub."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.recorded import ROOT

NEEDED = ("bash", "dirname", "mktemp", "rm")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH without Go and npm, and a `uv` whose tools find nothing."""
    for name in NEEDED:
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nexit 0\n")
    uv.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(("on_github", "code"), [("", 0), ("true", 1)])
def test_a_tool_that_is_missing_is_named_and_fails_on_github(
    programs: Path, on_github: str, code: int
) -> None:
    environment = {**os.environ, "PATH": str(programs), "GITHUB_ACTIONS": on_github}
    command = [shutil.which("bash") or "bash", ".ci/scan"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "not looked at: actionlint, which needs actionlint or Go" in done.stderr
    assert "not looked at: the definitions, which need npm" in done.stderr
