"""The components as a package: previews of the examples in the real engine, under the policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.stack_keys import SECRET_KEYS, declared_keys
from tests.engine.home import DEADLINE_S, Engine
from tests.engine.remote_sdk import (
    PLUGIN,
    THIS_PYTHON,
    added,
    consumer,
    generate_sdk,
    needs,
    package_program,
)
from tests.engine.run import Run, kind

pytestmark = pytest.mark.timeout(DEADLINE_S)


def assert_whole(run: Run) -> None:
    """A preview that has all of the Kubernetes part, and breaks no policy."""
    assert run.code == 0, run.output[-3000:]
    assert (run.violations(), run.skipped) == ([], [])
    made = {kind(urn) for _, urn in run.steps}
    assert made >= {
        "vigil:index:Platform",
        "kubernetes:apps/v1:Deployment",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "kubernetes:ray.io/v1:RayCluster",
        "kubernetes:ray.io/v1:RayService",
    }


def test_a_program_in_python_previews_the_platform(engine: Engine, tmp_path: Path) -> None:
    program, env = package_program(engine, tmp_path, "local")
    run = program.under_policies("preview", "local", env=env)
    assert_whole(run)


def test_a_program_in_python_previews_it_with_the_generated_sdk(
    engine: Engine, tmp_path: Path
) -> None:
    generate_sdk(engine, tmp_path)
    program = consumer(engine, "python", THIS_PYTHON, "local")
    run = program.under_policies("preview", "local", env={"PYTHONPATH": str(tmp_path)})
    assert_whole(run)


def test_wrong_inputs_are_told_as_a_stack_tells_its_keys(engine: Engine, tmp_path: Path) -> None:
    program, env = package_program(engine, tmp_path, "local")
    file = program.project / "__main__.py"
    for good, bad, told in (
        ("max_workers=2", "max_workers=0", "maxWorkers = 0"),
        ('ray_token=config.require_secret("rayToken"),', "", "rayToken: give it as a secret"),
    ):
        text = file.read_text()
        file.write_text(text.replace(good, bad))
        refused = program.pulumi("preview", "--stack", "local", env=env)
        file.write_text(text)
        assert refused.code != 0
        assert told in f"{refused.output} {refused.events}"


@needs("pulumi-language-yaml")
def test_a_program_in_yaml_previews_the_platform(engine: Engine) -> None:
    program = consumer(engine, "yaml", "yaml", "local")
    run = program.under_policies("preview", "local")
    assert_whole(run)


@needs("pulumi-language-nodejs", "node", "npm")
def test_a_program_in_typescript_previews_the_platform(engine: Engine) -> None:
    program = added(engine, "typescript", "local")
    run = program.under_policies("preview", "local")
    assert_whole(run)


@needs("pulumi-language-go", "go")
def test_a_program_in_go_previews_the_platform(engine: Engine) -> None:
    program = added(engine, "go", "local")
    run = program.under_policies("preview", "local")
    assert_whole(run)


def test_the_schema_has_every_key_of_a_stack_with_its_type(engine: Engine) -> None:
    said = engine.must("package", "get-schema", str(PLUGIN)).output
    schema, _ = json.JSONDecoder().raw_decode(said)  # a warning may follow
    resource = schema["resources"]["vigil:index:Platform"]
    inputs = resource["inputProperties"]
    assert inputs.keys() == declared_keys().keys() - {"target"} | {"environment"}
    kinds = {key: kind for key, kind in declared_keys().items() if key != "target"}
    assert {key: inputs[key]["type"] for key in kinds} == kinds
    assert resource["requiredInputs"] == ["environment"]
    assert not any(inputs[key].get("plain") for key in SECRET_KEYS)
