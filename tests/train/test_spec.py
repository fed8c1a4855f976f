"""One job by three ways: the command line, the bundle of its model, and what MLflow shows."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from train.cli import train_command
from train.spec import JobSpec
from train.spec_options import parse_spec, spec_options
from train.table.schema import Columns

EVERYTHING = JobSpec(
    data="/tables/-x y.csv",
    label="y",
    time="t",
    entity="e",
    features=("a", "b"),
    schema_file="/tables/s.json",
    shuffled=True,
    over_time="diff:1",
    tune=30.0,
    captured="s3://captured/rows",
    since=12.5,
    trigger="volume",
    key="retrain-17",
)


def run(words: list[str]) -> tuple[list[JobSpec], Result]:
    """The jobs that a command with the options of one gets, and how it ended."""
    specs: list[JobSpec] = []

    @click.command()
    @spec_options
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool, **options: object) -> None:
        specs.append(parse_spec(options))

    return specs, CliRunner().invoke(command, words)


@pytest.mark.parametrize("spec", [EVERYTHING, JobSpec(data="t.csv")], ids=["all", "least"])
def test_the_arguments_of_a_job_make_the_same_job(spec: JobSpec) -> None:
    specs, result = run(spec.arguments()[1:])
    assert result.exit_code == 0, result.output
    assert specs == [spec]


def test_a_job_says_the_roles_of_columns() -> None:
    assert EVERYTHING.columns == Columns("y", "t", "e", ("a", "b"), "/tables/s.json")


def test_paths_are_absolute_for_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = JobSpec(data="t.csv", captured="s3://rows", schema_file="s.json").absolute()
    assert spec.data == str(tmp_path / "t.csv")
    assert spec.captured == "s3://rows"
    assert spec.schema_file == str(tmp_path / "s.json")


def test_the_bundle_keeps_the_job_for_its_retraining() -> None:
    kept = EVERYTHING.kept()
    again = JobSpec.of_bundle(kept, trigger="drift", key="17")
    expected = EVERYTHING.model_copy(
        update={"captured": None, "tune": 0.0, "trigger": "drift", "key": "17"}
    )
    assert again == expected


def test_the_bundle_keeps_it_as_it_always_has() -> None:
    assert EVERYTHING.kept() == {
        "data": "/tables/-x y.csv",
        "label": "y",
        "columns": {
            "label": "y",
            "time": "t",
            "entity": "e",
            "features": ("a", "b"),
            "schema": "/tables/s.json",
        },
        "shuffled": True,
        "over_time": "diff:1",
        "since": 12.5,
        "trigger": "volume",
    }


@pytest.mark.parametrize(
    "info",
    [
        {"data": "/t.csv", "label": "y"},
        {"data": "/t.csv", "label": None, "columns": {"label": "y"}, "since": None},
        {"data": "/t.csv", "label": "y", "columns": {}, "over_time": "", "rows": 9, "forest": {}},
    ],
    ids=["before columns", "of a retraining", "with what is no option"],
)
def test_the_job_in_an_older_bundle_is_read(info: dict[str, object]) -> None:
    assert JobSpec.of_bundle(info) == JobSpec(data="/t.csv", label="y", over_time="none")


def test_mlflow_shows_the_roles_of_columns_as_one_group() -> None:
    grouped = EVERYTHING.grouped()
    assert grouped["columns"]["time"] == "t"
    assert grouped["label"] == "y"
    assert grouped.keys().isdisjoint({"time", "entity", "features", "schema_file"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--key", "a b"], "Invalid value for '--key': letters, digits and _ . : - only"),
        (["--key", ""], "Invalid value for '--key': letters, digits and _ . : - only"),
        (["--tune", "0"], "Invalid value for '--tune': 0.0 is not in the range x>0."),
        (["--trigger", "whim"], "Invalid value for '--trigger': 'whim' is not one of"),
        (["--over-time", "diff"], "Invalid value for '--over-time': transform 'diff', 'diff'"),
        (["--since", "now"], "Invalid value for '--since': 'now' is not a valid float."),
    ],
)
def test_a_wrong_option_is_named(words: list[str], message: str) -> None:
    specs, result = run(["--data", "t.csv", *words])
    assert (specs, result.exit_code) == ([], 2)
    assert message in result.output


def test_the_search_has_a_default_time() -> None:
    specs, _ = run(["--data", "t.csv", "--tune"])
    assert specs[0].tune == 120.0


def test_columns_may_have_spaces_and_none_are_all() -> None:
    specs, _ = run(["--data", "t.csv", "--columns", " a , b"])
    assert specs[0].features == ("a", "b")
    specs, _ = run(["--data", "t.csv", "--columns", ""])
    assert specs[0].features is None


def test_a_job_takes_no_field_that_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="extra"):
        JobSpec.model_validate({"data": "t.csv", "epochs": 3})


def test_vigil_train_has_an_option_for_each_field() -> None:
    options = {option for parameter in train_command.params for option in parameter.opts}
    assert options == {f"--{JobSpec.option(name)}" for name in JobSpec.model_fields} | {
        "--json",
        "--require-gate",
    }
