"""Resources that the engine hands over without a single property, as on a first preview.

Nobody judges them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.rules import POLICIES, RULES
from tests.policies.good import GOOD
from tests.policies.harness import run

POLICY = {policy.name: policy for policy in POLICIES}
OBJECTS = {each.type for each in GOOD if each.type.startswith("kubernetes:")}


@pytest.mark.parametrize("name", RULES)
def test_objects_without_properties_are_skipped_not_passed_nor_violated(name: str) -> None:
    """So the engine hands over every object of a cluster that does not exist yet."""
    resources = [replace(each, props={}) if each.type in OBJECTS else each for each in GOOD]
    result = run(POLICY[name], resources)
    assert result.violations == []
    assert result.judged is (name != "iam-no-users")
    if any(kind.startswith("kubernetes:") for kind in RULES[name].types):
        assert result.status == "skipped"
        assert "it has no properties before its provider can be asked" in result.unknown[0]
    else:
        assert result.unknown == []


def test_a_stack_policy_counts_and_names_what_it_skips() -> None:
    """One policy may raise only once.

    The message stands for all judgements that were not possible.
    """
    names = ["serve", "second", "third", "fourth"]
    service = next(each for each in GOOD if each.name == "serve")
    unknown = [replace(service, name=name, props={}) for name in names]
    known = replace(service, name="known")
    pools = [each for each in GOOD if each.type.endswith(":NodePool")]
    said = run(POLICY["ray-head-on-demand"], [known, *unknown, *pools])
    first = "it has no properties before its provider can be asked"
    assert said.unknown == [f"4 of 5 judgements skipped (serve, second, third, 1 more): {first}"]
    assert said.violations == []
