"""All rooms name one registered model."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from drift.settings import DriftSettings
from serve.local.follow import read_settings
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.__main__ import main
from vigil.commands import MODEL_COMMANDS
from vigil.errors import BadSettings
from vigil.model_names import check_given_model_names, check_model_names


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({"TRAIN": "pump", "SERVE": "fan"}, ""),
        ({"TRAIN": "pump", "DRIFT": "fan"}, ""),
        ({"SERVE": "pump", "DRIFT": "fan"}, ""),
        ({"SERVE": "pump"}, "train: {modelName: fan}"),
        ({}, "train: {modelName: pump}\nserve: {modelName: fan}"),
        ({"TRAIN": "pump", "SERVE": ""}, ""),
    ],
)
def test_names_that_differ_are_refused_with_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], file: str
) -> None:
    set_names(monkeypatch, tmp_path, variables, file)
    with pytest.raises(BadSettings, match="they must name one model") as caught:
        check_given_model_names()
    for room, name in variables.items():
        assert f"VIGIL_{room}_MODEL_NAME = {name!r}" in caught.value.message
    for room, name in (("train", "fan"), ("serve", "fan")):
        assert (f"{room}.modelName = {name!r}" in caught.value.message) == (
            f"{room}: {{modelName: {name}}}" in file
        )


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({}, ""),
        ({"TRAIN": "pump"}, ""),
        ({"TRAIN": "pump", "SERVE": "pump", "DRIFT": "pump"}, ""),
        ({"SERVE": "pump"}, "serve: {modelName: fan}\ntrain: {modelName: pump}"),
    ],
)
def test_names_that_agree_or_that_nobody_gave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], file: str
) -> None:
    set_names(monkeypatch, tmp_path, variables, file)
    check_given_model_names()


def set_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], file: str
) -> None:
    (tmp_path / "vigil.yaml").write_text(file)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    for room, name in variables.items():
        monkeypatch.setenv(f"VIGIL_{room}_MODEL_NAME", name)


def test_a_platform_counts_defaults_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_names(monkeypatch, tmp_path, {"TRAIN": "pump"}, "")
    with pytest.raises(BadSettings, match="VIGIL_SERVE_MODEL_NAME = 'vigil'"):
        read_settings()


def test_the_first_command_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_names(monkeypatch, tmp_path, {"TRAIN": "pump", "SERVE": "fan"}, "")
    for command in ("train", "models"):
        assert command in MODEL_COMMANDS
        done = CliRunner().invoke(main, [command])
        assert done.exit_code == 2
        assert "VIGIL_SERVE_MODEL_NAME = 'fan'" in done.stderr
    assert CliRunner().invoke(main, ["down"]).exit_code == 0


def test_one_name_is_one() -> None:
    check_model_names({"a": "x", "b": "x"})
    check_model_names({})


@pytest.mark.parametrize(
    "name", ["pump", "bob's pump", 'say "x"', "Prüfstand ✓", "100%", "x#y", "NA", "01", "-", "None"]
)
def test_names_that_people_have(name: str) -> None:
    for room in (TrainSettings, ServeSettings, DriftSettings):
        assert room(model_name=name).model_name == name


@pytest.mark.parametrize(
    "name",
    ["", " ", " x", "x ", ".", "..", "a/b", "a:b", "a?b", "a\nb", "\x1b[31m", "x" * 201, "'\""],
)
def test_names_that_mlflow_cannot_hold_are_refused_with_the_reason(name: str) -> None:
    for room in (TrainSettings, ServeSettings, DriftSettings):
        with pytest.raises(BadSettings, match=r"odelName = .*: a name "):
            room(model_name=name)
