"""The template: `pulumi new` makes a project of it, whose preview passes the policies."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.engine.home import DEADLINE_S, Engine
from tests.engine.remote_sdk import NEEDED, SDK, THIS_PYTHON, plugged
from tests.engine.run import kind
from tests.infra.recorded import ROOT, SECRETS

pytestmark = pytest.mark.timeout(DEADLINE_S)

TEMPLATE = ROOT / "docs" / "examples" / "template"
GIVEN = ("image=vigil:dev", "homeStorageClass=standard")


def made_of_the_template(engine: Engine) -> Engine:
    """A project that `pulumi new` has made; its stack comes afterwards."""
    project = Path(tempfile.mkdtemp(dir=engine.folder))
    state = {"PULUMI_BACKEND_URL": f"file://{project}"}
    made = replace(engine, project=project, env=engine.env | state)
    named = ("--name", "detector", "--description", "of a test")
    made.must("new", str(TEMPLATE), "--yes", "--generate-only", *named)
    return made


def test_a_project_of_the_template_previews_the_platform(engine: Engine, tmp_path: Path) -> None:
    made = made_of_the_template(engine)
    file = made.project / "Pulumi.yaml"
    project = yaml.safe_load(file.read_text())
    assert (project["name"], project["description"]) == ("detector", "of a test")
    assert "template" not in project
    plugged(file, THIS_PYTHON)
    made.must("stack", "init", "local")
    plain = [part for pair in GIVEN for part in ("--plaintext", pair)]
    pairs = [part for key in NEEDED for part in ("--secret", f"{key}={SECRETS[key]}")]
    made.must("config", "set-all", "--stack", "local", *plain, *pairs)
    (tmp_path / "pulumi_vigil.py").write_text(SDK)
    run = made.under_policies("preview", "local", env={"PYTHONPATH": str(tmp_path)})
    assert run.code == 0, run.output[-3000:]
    assert run.violations() == []
    kinds = {kind(urn) for _, urn in run.steps}
    assert {"vigil:index:Platform", "kubernetes:ray.io/v1:RayService"} <= kinds


def test_the_template_asks_for_all_that_its_program_requires() -> None:
    template = yaml.safe_load((TEMPLATE / "Pulumi.yaml").read_text())["template"]
    asked = template["config"]
    program = (TEMPLATE / "__main__.py").read_text()
    assert {key for key in asked if f'"{key}"' in program} == asked.keys()
    secrets = {key for key, each in asked.items() if each.get("secret")}
    assert secrets == set(NEEDED)
