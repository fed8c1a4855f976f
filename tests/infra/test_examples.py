"""The example of a Pulumi ESC environment gives a stack what it needs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

from infra.stack_keys import SECRET_KEYS, declared_keys, needed_secrets
from infra.stack_settings import read_files
from tests.infra.recorded import ROOT

ENVIRONMENT = ROOT / "docs" / "examples" / "esc" / "vigil-prod.yaml"


def test_the_environment_has_the_secrets_of_the_stack_and_no_key_that_none_has() -> None:
    values = yaml.safe_load(ENVIRONMENT.read_text())["values"]
    config = {key.removeprefix("vigil:"): value for key, value in values["pulumiConfig"].items()}
    assert config.keys() <= declared_keys().keys()
    assert set(needed_secrets(read_files("prod"))) <= config.keys()
    opened = values["aws"]["secrets"]["fn::open::aws-secrets"]["get"]
    for key in config.keys() & set(SECRET_KEYS):
        (name,) = re.findall(r"^\$\{aws\.secrets\.(\w+)\}$", config[key])
        assert name in opened, "a secret that is opened stays one; plain text would be refused"


def test_a_stack_that_imports_an_environment_is_read_as_before(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Pulumi.prod.yaml", tmp_path)
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(f"environment: [vigil/prod]\n{file.read_text()}")
    assert read_files("prod", tmp_path) == read_files("prod")
