"""`prod` in the real engine: as strict as it gets, and what holds data cannot be destroyed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.engine.home import DEADLINE_S, Engine
from tests.engine.run import Run, kind
from tests.engine.stacks import APPLY, configure, new_stack

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read

PREVIEW_BUDGET = 0.1  # of all judgements


@dataclass(frozen=True)
class Life:
    """Everything that was run, in this order."""

    first: Run
    up: Run
    second: Run
    without_admin: Run
    destroy: Run
    left: str


@pytest.fixture(scope="module")
def life(engine: Engine) -> Life:
    """The stack is made, looked at, and asked to go away."""
    new_stack(engine, "prod")
    first = engine.under_policies("preview", "prod")
    up = engine.under_policies("up", "prod", *APPLY)
    second = engine.under_policies("preview", "prod")
    configure(engine, "prod", {"adminPrincipals": []})
    without_admin = engine.pulumi("up", "--stack", "prod", *APPLY)
    destroy = engine.pulumi("destroy", "--stack", "prod", "--yes")
    left = engine.must("stack", "export", "--stack", "prod").output
    return Life(first, up, second, without_admin, destroy, left)


def test_the_first_preview_is_refused_by_no_policy(life: Life) -> None:
    assert life.first.violations() == []
    assert life.first.code == 0, life.first.output[-3000:]
    assert life.first.skips <= PREVIEW_BUDGET * life.first.judged


def test_after_the_update_every_policy_judges_and_nothing_changes(life: Life) -> None:
    assert life.up.code == 0, life.up.output[-3000:]
    assert (life.second.violations(), life.second.skipped) == ([], [])
    assert (life.second.code, life.second.changes) == (0, {})


def test_an_administrator_can_be_removed(life: Life) -> None:
    assert life.without_admin.code == 0, life.without_admin.output[-3000:]
    gone = [kind(urn) for op, urn in life.without_admin.steps if op == "delete"]
    assert "aws:eks/accessEntry:AccessEntry" in gone


def test_destroy_is_refused_before_anything_is_gone(life: Life) -> None:
    assert life.destroy.code != 0
    assert "protected" in life.destroy.output
    made = {urn for _, urn in life.up.steps} - {urn for _, urn in life.without_admin.steps}
    assert {urn for urn in made if f'"{urn}"' not in life.left} == set()
