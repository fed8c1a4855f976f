"""The components as a package: previews of the examples in the real engine, under the policies."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from infra.stack_keys import SECRET_KEYS, declared_keys
from tests.engine.home import DEADLINE_S, Engine
from tests.engine.remote_sdk import NEEDED, PLUGIN, SDK, THIS_PYTHON, plugged
from tests.engine.run import Run, kind
from tests.infra.recorded import ROOT, SECRETS

pytestmark = pytest.mark.timeout(DEADLINE_S)

EXAMPLES = ROOT / "docs" / "examples" / "package"


def consumer(engine: Engine, language: str, runtime: object) -> Engine:
    """A copy of an example beside the engine's state, with its stack and its secrets."""
    folder = Path(tempfile.mkdtemp(dir=engine.folder)) / language
    shutil.copytree(EXAMPLES / language, folder)
    file = folder / "Pulumi.yaml"
    plugged(file, runtime)
    state = {"PULUMI_BACKEND_URL": f"file://{folder.parent}"}
    made = replace(engine, project=folder, env=engine.env | state)
    made.must("stack", "init", "local")
    pairs = [part for key in NEEDED for part in ("--secret", f"{key}={SECRETS[key]}")]
    made.must("config", "set-all", "--stack", "local", *pairs)
    return made


def added(engine: Engine, language: str, runtime: object) -> Engine:
    """The same with the SDK that Pulumi generates and installs, as a user does it."""
    made = consumer(engine, language, runtime)
    made.must("package", "add", str(PLUGIN))
    return made


def python(engine: Engine, tmp_path: Path) -> tuple[Engine, Mapping[str, str]]:
    (tmp_path / "pulumi_vigil.py").write_text(SDK)
    return consumer(engine, "python", THIS_PYTHON), {"PYTHONPATH": str(tmp_path)}


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of the programs is missing, and say how to get it."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason="; ".join(map(_missing, missing)))


def _missing(program: str) -> str:
    if program.startswith("pulumi-"):
        return f"no `{program}`: Pulumi's own archive has it beside `pulumi`"
    return f"no `{program}`: the language of the example needs it"


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
    program, env = python(engine, tmp_path)
    run = program.under_policies("preview", "local", env=env)
    assert_whole(run)


def test_wrong_inputs_are_told_as_a_stack_tells_its_keys(engine: Engine, tmp_path: Path) -> None:
    program, env = python(engine, tmp_path)
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
    program = consumer(engine, "yaml", "yaml")
    run = program.under_policies("preview", "local")
    assert_whole(run)


@needs("pulumi-language-nodejs", "node", "npm")
def test_a_program_in_typescript_previews_the_platform(engine: Engine) -> None:
    program = added(engine, "typescript", "nodejs")
    run = program.under_policies("preview", "local")
    assert_whole(run)


@needs("pulumi-language-go", "go")
def test_a_program_in_go_previews_the_platform(engine: Engine) -> None:
    program = added(engine, "go", "go")
    run = program.under_policies("preview", "local")
    assert_whole(run)


ON_AWS = """
import pulumi
import pulumi_aws as aws


class Remote(pulumi.ComponentResource):
    def __init__(self, kind, name, inputs, outputs):
        props = {**inputs, **dict.fromkeys(outputs)}
        super().__init__(f"vigil:index:{kind}", name, props, remote=True)


owned = {"environment": "local", "owner": "ml", "costCenter": "1"}
key = aws.kms.Key("key", enable_key_rotation=True, tags={"Name": "key"})
place = {"account": "111122223333", "region": "eu-west-1", "zones": ["eu-west-1a", "eu-west-1b"]}
inputs = {"ownership": owned, **place, "logKey": key.arn, "logDays": 90}
network = Remote("PlatformNetwork", "net", inputs, ["vpcId", "privateSubnetIds"])
Remote("TelemetryStream", "rows", {"ownership": owned, "key": key.arn, "hours": 24}, ["arn"])
"""


def test_a_network_and_a_stream_are_made_of_typed_inputs(engine: Engine, tmp_path: Path) -> None:
    program, env = python(engine, tmp_path)
    (program.project / "__main__.py").write_text(ON_AWS)
    run = program.must("preview", "--stack", "local", env=env)
    made = Counter(kind(urn) for _, urn in run.steps)
    assert made["aws:ec2/subnet:Subnet"] == 6
    assert made["aws:ec2/natGateway:NatGateway"] == 1
    assert made["aws:kinesis/stream:Stream"] == 1
    assert made["vigil:index:PlatformNetwork"] == made["vigil:index:TelemetryStream"] == 1


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
