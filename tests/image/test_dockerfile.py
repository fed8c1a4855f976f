"""The Dockerfile without a build: what it copies is there, and what changes often comes last."""

from __future__ import annotations

import subprocess
import tomllib
from itertools import chain, pairwise

import pytest

from infra.manifests import parts
from tests.image.dockerfile import ROOT, Step, instructions, let_through, lineage, stages

TARGETS = ("ray", "mlflow")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
SECRETS = ("id=netrc", "id=certificates")


def from_context() -> list[str]:
    """Every path that a COPY takes from the build context."""
    copies = chain.from_iterable(stage.of("COPY", "ADD") for stage in stages().values())
    return [word for step in copies if step.origin is None for word in step.words[:-1]]


def fetching() -> list[Step]:
    """The steps that ask a package index."""
    runs = chain.from_iterable(stage.of("RUN") for stage in stages().values())
    return [step for step in runs if "pip" in step.words and "--offline" not in step.words]


def variables(target: str) -> dict[str, str]:
    """What ENV sets in an image."""
    steps = chain.from_iterable(stage.of("ENV") for stage in lineage(target))
    return dict(word.split("=", 1) for step in steps for word in step.words)


def last(target: str, keyword: str) -> Step:
    """The step with this keyword that counts in an image."""
    return [step for stage in lineage(target) for step in stage.of(keyword)][-1]


def test_continued_lines_and_options_are_read() -> None:
    text = "# a\nFROM a AS b\nRUN --mount=type=secret,id=c \\\n    # why\n    d --e \\\n    f\n"
    steps = list(instructions(text))
    assert [step.keyword for step in steps] == ["FROM", "RUN"]
    assert steps[1].options == ("--mount=type=secret,id=c",)
    assert steps[1].words == ["d", "--e", "f"]


def test_what_is_copied_from_the_context_is_in_the_tree_and_let_through() -> None:
    assert from_context()
    for path in from_context():
        assert (ROOT / path).exists(), path
        assert let_through(path), f".dockerignore leaves out {path}"


def test_the_wheel_finds_all_that_it_is_built_of() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    needed = {*wheel, PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert needed | {"pyproject.toml"} <= set(from_context())


def test_nothing_else_reaches_a_build() -> None:
    command = ["git", "ls-files"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip("not a git checkout")
    tops = {path.partition("/")[0] for path in asked.stdout.split()}
    copied = {path.partition("/")[0] for path in from_context()}
    assert {top for top in tops if let_through(top)} == copied
    assert not let_through("train/__pycache__")
    assert not let_through("serve/console/__pycache__/x.pyc")


def test_libraries_depend_on_the_exported_list_and_on_what_is_taken_out_alone() -> None:
    libraries = stages()["libraries"]
    copied = [(step.origin, step.words[:-1]) for step in libraries.of("COPY")]
    assert copied == [
        ("requirements", ["/build/requirements.txt"]),
        (None, ["infra/trim_libraries.py"]),
    ]
    assert "--require-hashes" in libraries.of("RUN")[0].rest
    runs = [step.rest for stage in stages().values() for step in stage.of("RUN")]
    assert not any("uv sync" in run for run in runs)  # it would ask the addresses of the lock file


def test_libraries_come_before_the_code_and_the_revision_after_every_layer() -> None:
    runtime = stages()["runtime"]
    assert [step.origin for step in runtime.of("COPY")] == ["libraries", "code"]
    steps = [step for stage in lineage("ray") for step in stage.steps]
    revision = next(i for i, step in enumerate(steps) if "REVISION" in step.rest)
    layers = ("RUN", "COPY", "ADD", "WORKDIR")
    assert max(i for i, step in enumerate(steps) if step.keyword in layers) < revision


def test_every_step_that_asks_an_index_takes_its_login_and_its_certificates() -> None:
    assert len(fetching()) == 2
    for step in fetching():
        mounts = " ".join(step.options)
        assert all(secret in mounts for secret in SECRETS)
    for step in stages()["code"].of("RUN"):
        assert step.rest.count("uv ") == step.rest.count("--offline")
    index = next(step for step in stages()["tools"].of("ARG") if step.rest.startswith("INDEX_URL"))
    assert index.rest == 'INDEX_URL=""'


def test_no_frontend_is_pulled() -> None:
    assert not (ROOT / "Dockerfile").read_text().startswith("# syntax")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_not_root_and_its_home_may_be_written(target: str) -> None:
    assert last(target, "USER").words == ["1000:1000"]
    home = variables(target)["VIGIL_HOME"]
    assert home == parts.HOME_PATH
    made = f"install --directory --owner={parts.VIGIL_USER_ID} --group={parts.VIGIL_USER_ID} {home}"
    assert made in last(target, "RUN").rest
    assert last(target, "WORKDIR").words == [home]


@pytest.mark.parametrize("target", TARGETS)
def test_process_1_reaps_and_is_a_library_of_the_lock(target: str) -> None:
    assert last(target, "ENTRYPOINT").words[0] == "dumb-init"
    assert any(one.startswith("dumb-init") for one in PROJECT["dependency-groups"]["image"])
    assert "--group image" in stages()["requirements"].of("RUN")[0].rest
    locked = next(package for package in LOCK["package"] if package["name"] == "dumb-init")
    built_for = " ".join(wheel["url"] for wheel in locked["wheels"])
    assert all(f"2014_{machine}" in built_for for machine in ("x86_64", "aarch64"))


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_runs_and_how_its_health_is_asked(target: str) -> None:
    assert last(target, "CMD").words
    assert last(target, "HEALTHCHECK").rest.startswith("CMD [")


def test_mlflow_keeps_what_it_must_in_the_home_and_starts_no_job_runner() -> None:
    words, home = last("mlflow", "CMD").words, variables("mlflow")["VIGIL_HOME"]
    options = dict(pairwise(words))
    assert options["--backend-store-uri"] == f"sqlite:///{home}/mlflow.db"
    assert options["--artifacts-destination"] == f"{home}/artifacts"
    assert variables("mlflow")["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
