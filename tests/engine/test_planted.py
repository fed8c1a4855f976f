"""One mistake for each rule, planted in a stack: the real engine refuses each at its preview."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from policies.rules import RULES, TOPICS
from tests.engine.home import DEADLINE_S, SHARED, Engine
from tests.engine.run import Run
from tests.policies.cases.every import CASES
from tests.policies.good import GOOD
from tests.policies.harness import REMOVED, Given
from tests.policies.table import Break, broken
from tests.running import ROOT

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read


APART = {
    "eks-nodes-private",  # follows the id of a subnet, which is known after an update
    "ray-upgrade-has-room",  # adds up the limits of all pools, and every mistake brings its own
}
TYPES = {each.name: each.type for each in GOOD}
RULES_PLANTED = sorted(CASES.keys() - APART)


def chosen(rule: str) -> Break:
    """The mistake to plant: one that shows alone, else one that something is missing."""
    breaks = CASES[rule].breaks
    alone = [each for each in breaks if each.path and not each.on]
    absent = [each for each in breaks if each.value is REMOVED and not each.path]
    return [*alone, *absent, *breaks][0]


def planted(rule: str) -> list[Given]:
    """The resources that show the mistake; the one that is judged bears the rule's name."""
    one = chosen(rule)
    stack = {each.name: each for each in broken(one.resource, one.path, one.value)}
    judged = one.on or one.resource
    # What is looked for elsewhere is looked for among all of its kind.
    kin = {each.name for each in GOOD if one.on and each.type == TYPES[one.resource]}
    return [
        replace(each, name=rule if name == judged else f"{rule}-{name}")
        for name, each in stack.items()
        if name in {judged, one.resource} | kin
    ]


@pytest.fixture(scope="module")
def preview(engine: Engine) -> Run:
    """The preview of a stack that holds them all, as strict as in production."""
    program = engine.folder / "planted"
    shutil.copytree(Path(__file__).with_name("planted"), program)
    for name in SHARED:  # Pulumi's host of Python programs asks for the project of its uv
        (program / name).symlink_to(ROOT / name)
    found = [
        {
            "type": each.type,
            "name": each.name,
            "props": {key: value for key, value in each.props.items() if key != "id"},
        }
        for rule in RULES_PLANTED
        for each in planted(rule)
    ]
    file = engine.folder / "planted.json"
    file.write_text(json.dumps(found))
    own = replace(engine, project=program, env={**engine.env, "VIGIL_PLANTED": str(file)})
    own.must("stack", "init", "prod")
    return own.under_policies("preview", "prod")


def test_every_topic_has_a_mistake() -> None:
    topics = {
        name for name, rules in TOPICS.items() for rule in rules if rule.name in RULES_PLANTED
    }
    assert topics == TOPICS.keys()
    assert {each.name for each in GOOD} >= {chosen(rule).resource for rule in RULES_PLANTED}


def test_the_engine_refuses_the_stack(preview: Run) -> None:
    assert preview.code != 0
    assert preview.skipped == []


@pytest.mark.parametrize("rule", RULES_PLANTED)
def test_it_is_refused_by_its_rule(preview: Run, rule: str) -> None:
    config = json.loads((ROOT / "policies" / "environments" / "prod.json").read_text())
    own = config.get(rule, RULES[rule].level)
    level = own if isinstance(own, str) else own["enforcementLevel"]
    said = [each for each in preview.findings if (each.policy, each.name) == (rule, rule)]
    assert {each.level for each in said} == {level}
    assert any(chosen(rule).message in each.message for each in said), said
