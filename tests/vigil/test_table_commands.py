"""Commands that read tables: they have the same options, and advise no option that they lack."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from train.spec import JobSpec
from vigil.__main__ import main

ROOT = Path(__file__).parents[2]
ROLES = {f"--{JobSpec.option(name)}" for name in JobSpec.role_fields()}
ORDER = ROLES | {"--over-time", "--shuffled", "--impute", "--max-missing"}
LEARNING = ("up", "demo", "train")
# What a command needs beside its table, which it reads before it needs anything else.
ARGUMENTS = {
    "up": ("--data", "{table}"),
    "demo": ("--data", "{table}"),
    "train": ("--data", "{table}"),
    "stream": ("--data", "{table}", "--rows", "5", "--to", "file:{folder}/out"),
    "backtest": ("--data", "{table}"),
    "drift check": ("--reference", "{table}", "--window", "{table}"),
}
# Tables that their first rows refuse, and the option that the refusal advises.
REFUSED = {
    "text": ("pump,load\na,1\nb,2\n", "--ignore"),
    "no name": (",load\n1.5,1\n1.5,2\n", "--ignore"),
    "no number": ("load,mode\n1,2\n3,auto\n", "--label"),
    "half of the times": ("at,load\n2026-01-01,1\nyesterday,2\n", "--time"),
}


def commands(
    command: click.Command = main, name: str = ""
) -> Iterator[tuple[str, click.Command, set[str]]]:
    """Each command by its words, with its options."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            assert below is not None
            yield from commands(below, f"{name} {word}".strip())
    yield name, command, {option for parameter in command.params for option in parameter.opts}


OPTIONS = {name: options for name, _, options in commands()}


def advised(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def test_all_that_have_an_option_for_a_table_are_tried_here() -> None:
    named = {"--data", "--reference"}
    assert {name for name, options in OPTIONS.items() if options & named} == set(ARGUMENTS)


@pytest.mark.parametrize("command", ARGUMENTS)
def test_every_command_that_reads_a_table_has_the_options_of_its_columns(command: str) -> None:
    assert OPTIONS[command] >= (ORDER if command in LEARNING else ROLES)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("command", ARGUMENTS)
def test_what_a_command_advises_is_an_option_of_it(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, option = REFUSED[kind]
    table = tmp_path / "rows.csv"
    table.write_text(text)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path / "home"))
    arguments = [word.format(table=table, folder=tmp_path) for word in ARGUMENTS[command]]
    result = CliRunner().invoke(main, [*command.split(), *arguments])
    assert result.exit_code == 1, result.output
    assert option in advised(result.stderr), result.stderr
    assert advised(result.stderr) <= OPTIONS[command]


@pytest.mark.parametrize(
    ("rows", "said"),
    [(["1,2", "2,1"] * 100, "VIGIL_TRAIN_MAX_SAMPLES"), (["1,2"] * 300, "is constant")],
)
@pytest.mark.parametrize("command", LEARNING)
def test_a_small_table_from_which_nothing_is_learnt_is_refused_before_anything_starts(
    command: str, rows: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["cpu,net", *rows]))
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(main, [command, "--data", str(table)])
    assert result.exit_code == 1
    assert said in result.stderr
    assert "starting" not in result.stderr


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("wobble:3", "there are diff, mean"),
        ("diff:x", "write steps with commas between"),
        ("mean:9999", "N from 1 to 1440"),
        ("season:Europe/Atlantis", "no such time zone"),
        ("season", "no column of times"),
        ("calendar:UTC", "no column of times"),
    ],
)
@pytest.mark.parametrize("command", LEARNING)
def test_a_bad_transform_is_wrong_usage_before_anything_starts(
    command: str, steps: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = transformed(command, "cpu,net", steps, tmp_path, monkeypatch)
    assert result.exit_code == 2, result.output
    assert said in in_one_line(result.stderr)
    assert "--over-time" in result.stderr
    assert "starting" not in result.stderr


def test_times_that_are_no_dates_have_no_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = transformed("train", "cpu,at", "season", tmp_path, monkeypatch, "--time", "at")
    assert result.exit_code == 2
    assert "are no dates" in in_one_line(result.stderr)


def transformed(
    command: str,
    header: str,
    steps: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *options: str,
) -> Result:
    """What a command makes of a transform of a table without dates."""
    table = folder / "rows.csv"
    rows = [f"{number % 7},{number}" for number in range(600)]
    table.write_text("\n".join([header, *rows]))
    monkeypatch.setenv("VIGIL_HOME", str(folder / "home"))
    words = [command, "--data", str(table), "--over-time", steps, *options]
    return CliRunner().invoke(main, words)


def in_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("folder", "options"), [("table", ORDER), ("model", ORDER)])
def test_no_message_about_a_table_advises_another_option(folder: str, options: set[str]) -> None:
    for file in (ROOT / "train" / folder).glob("*.py"):
        assert advised(" ".join(texts_of(file))) <= options, file


def texts_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
