"""The `vigil` command: what it imports, as process 1 of a container, and under any locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.running import printed_by
from vigil.__main__ import command_below_init, main
from vigil.commands import COMMANDS

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


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        # What `vigil --help` waits for.
        ("import vigil.__main__", {"pydantic", "rich", "numpy", "ray", "httpx"}),
        # Commands that ask a service or the registry.
        ("import train.versions_cli", {"mlflow", "ray", "pandas", "scipy.stats"}),
        ("import drift.incidents.cli", {"numpy", "ray", "pandas", "sqlalchemy"}),
        # `vigil train` where a platform runs: its job imports the rest.
        ("import train.connect, train.submit", {"mlflow", "sklearn", "matplotlib", "ray.train"}),
        # A replica, and each megabyte in it is there as often as there are replicas.
        ("import serve.http.app", {"mlflow", "scipy.stats", "sklearn", "boto3", "sqlalchemy"}),
    ],
)
def test_what_is_not_needed_is_not_imported(program: str, absent: set[str]) -> None:
    asked = f"{program}; import sys; print(*({absent!r} & sys.modules.keys()))"
    assert printed_by(asked) == ""


def test_nothing_is_searched_for_garbage_at_the_end(tmp_path: Path) -> None:
    program = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); "
        "from vigil.__main__ import main; main(['keys', 'list', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"VIGIL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "True"


def test_each_command_is_where_the_list_says() -> None:
    with click.Context(main) as context:
        for name in main.list_commands(context):
            assert main.get_command(context, name) is not None, name
    listed = CliRunner().invoke(main, ["--help"]).output
    assert all(mounted.help in listed for mounted in COMMANDS.values())
