"""Pulumi.yaml under the engine's own rules, and what somebody is told whose stack file is wrong."""

from __future__ import annotations

import pytest

from tests.engine.home import DEADLINE_S, Engine
from tests.engine.run import Run
from tests.engine.stacks import configure, new_stack
from tests.quiet_uv import uv

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read


@pytest.fixture(scope="module")
def bare(engine: Engine) -> Engine:
    """A stack `local` whose secrets are not set."""
    new_stack(engine, "local", secrets=())
    return engine


@pytest.fixture(scope="module")
def lacking(bare: Engine) -> Run:
    """Its preview."""
    return bare.pulumi("preview", "--stack", "local")


def test_every_default_is_what_the_engine_takes_and_none_becomes_a_plain_secret(
    lacking: Run,
) -> None:
    assert "could not validate" not in lacking.output
    assert "encrypted" not in lacking.output


def test_a_stack_that_lacks_a_secret_is_told_how_to_set_it(lacking: Run) -> None:
    assert lacking.code != 0
    for key in ("rayToken", "apiKeys", "mlflowPassword", "mlflowSecretKey"):
        assert f"pulumi config set --secret vigil:{key}" in lacking.output
    assert "redisPassword" not in lacking.output  # this stack needs none
    assert "Traceback" not in lacking.output


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"minWorker": 3}, ["minWorker: no such key"]),
        ({"minWorkers": "many"}, ["minWorkers"]),
        (
            {"mlflowStore": "mysql", "serve": {"cpusPerReplica": "none"}, "minWorkers": 0},
            ["mlflowStore", "serve.cpusPerReplica", "minWorkers"],
        ),
        ({"minWorkers": 9}, ["minWorkers", "maxWorkers"]),
        ({"rayToken": "as-plain-text"}, ["`pulumi config set --secret vigil:rayToken VALUE`"]),
    ],
    ids=["misspelt", "of another type", "out of range", "at odds", "secret as plain text"],
)
def test_a_wrong_key_is_refused_by_its_name(
    bare: Engine,
    values: dict[str, object],
    told: list[str],
) -> None:
    file = bare.project / "Pulumi.local.yaml"
    before = file.read_text()
    configure(bare, "local", values)
    run = bare.pulumi("preview", "--stack", "local")
    file.write_text(before)
    assert run.code != 0
    assert [each for each in told if each not in run.output] == []
    assert "Traceback" not in run.output
    assert run.changes.get("create", 0) <= 1  # the stack itself


def test_install_takes_no_package_of_pulumi_away(engine: Engine) -> None:
    """`pulumi install` lets uv sync the environment; here uv only says what it would do."""
    shim = engine.folder / "dry" / "uv"
    dry = f'#!/bin/sh\n[ "$1" != sync ] || set -- "$@" --dry-run --frozen\nexec "{uv()}" "$@"\n'
    shim.parent.mkdir()
    shim.write_text(dry)
    shim.chmod(0o755)
    run = engine.must("install", env={"PATH": f"{shim.parent}:{engine.env['PATH']}"})
    assert "Would" in run.output, run.output
    assert [line for line in run.output.splitlines() if line.strip().startswith("- pulumi")] == []
