"""The `vigil` command as process 1 of a container, and under any locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vigil.__main__ import command_below_init

INIT = "/bin/dumb-init"


def test_process_1_runs_below_an_init() -> None:
    assert command_below_init(1, INIT) == [INIT, "--single-child", "--", *sys.orig_argv]


@pytest.mark.parametrize(("pid", "init"), [(1, None), (7, INIT)])
def test_other_processes_do_not_nor_where_there_is_none(pid: int, init: str | None) -> None:
    assert command_below_init(pid, init) is None


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
        {"LC_ALL": "xx_XX.UTF-8"},  # there is none
        {"LANG": "de_DE.ISO-8859-1", "PYTHONUTF8": "0"},
    ],
    ids=lambda locale: " ".join(locale.values()),
)
def test_names_are_utf_8_whatever_the_locale_says(tmp_path: Path, locale: dict[str, str]) -> None:
    home = tmp_path / "Zuhause \u2713"
    others = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    environment = {**others, "VIGIL_HOME": str(home), **locale}

    def vigil(*arguments: str) -> str:
        command = [sys.executable, "-m", "vigil", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        return done.stdout.decode()

    vigil("keys", "new", "Pr\u00fcfstand \u2713")
    assert "Pr\u00fcfstand \u2713" in vigil("keys", "list")
    assert (home / "keys.json").exists()
