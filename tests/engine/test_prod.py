"""`prod` in the real engine: as strict as it gets, and what holds data cannot be destroyed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.engine.home import Engine
from tests.engine.run import Run, kind
from tests.engine.stacks import configure, new_stack

PREVIEW_BUDGET = 0.15


@dataclass(frozen=True)
class Life:
    """Everything that was run, in this order."""

    first: Run
    up: Run
    second: Run
    without_admin: Run
    destroy: Run


@pytest.fixture(scope="module")
def life(engine: Engine) -> Life:
    """The stack is made, looked at, and asked to go away."""
    new_stack(engine, "prod")
    first = engine.under_policies("preview", "prod")
    up = engine.under_policies("up", "prod", "--yes")
    second = engine.under_policies("preview", "prod")
    configure(engine, "prod", {"adminPrincipals": []})
    without_admin = engine.pulumi("up", "--stack", "prod", "--yes")
    destroy = engine.pulumi("destroy", "--stack", "prod", "--yes")
    return Life(first, up, second, without_admin, destroy)


def test_the_first_preview_is_refused_by_no_policy(life: Life) -> None:
    assert life.first.violations() == []
    assert life.first.code == 0, life.first.output[-3000:]
    assert len(life.first.skipped) <= PREVIEW_BUDGET * life.first.judged


def test_after_the_update_every_policy_judges_and_nothing_changes(life: Life) -> None:
    assert life.up.code == 0, life.up.output[-3000:]
    assert (life.second.violations(), life.second.skipped) == ([], [])
    assert (life.second.code, life.second.changes) == (0, {})


def test_an_administrator_can_be_removed(life: Life) -> None:
    assert life.without_admin.code == 0, life.without_admin.output[-3000:]
    gone = [kind(urn) for op, urn in life.without_admin.steps if op == "delete"]
    assert "aws:eks/accessEntry:AccessEntry" in gone


def test_what_is_protected_is_not_destroyed(life: Life) -> None:
    assert life.destroy.code != 0
    assert "protected" in life.destroy.output
    assert [step for step in life.destroy.steps if step[0] == "delete"] == []
