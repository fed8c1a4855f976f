"""What `vigil train` says by its exit code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from train import cli


@pytest.mark.parametrize(
    ("passed", "options", "code"),
    [(True, ["--require-gate"], 0), (False, ["--require-gate"], 1), (False, [], 0)],
)
def test_a_failed_gate_is_an_exit_code_where_it_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool, options: list[str], code: int
) -> None:
    result: Any = SimpleNamespace(
        version=SimpleNamespace(version="3", run_id="r"), verdict={"passed": passed}
    )
    monkeypatch.setattr(cli, "train_version", lambda *_: result)
    data = tmp_path / "rows.csv"
    data.write_text("cpu,net\n" + "1.5,2.5\n2.5,3.5\n" * 300)
    arguments = ["--data", str(data), *options]
    home = {"VIGIL_HOME": str(tmp_path / "home")}
    assert CliRunner().invoke(cli.train_command, arguments, env=home).exit_code == code
