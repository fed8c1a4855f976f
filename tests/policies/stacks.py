"""Vigil's own stacks as the engine would hand them to the pack.

After an update, and at the first preview.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from policies.levels import PolicyConfig
from policies.recorded import resources_of_states
from policies.report import Report, judge_all
from tests.infra import recorded
from tests.infra.shapes import state
from tests.policies.harness import UNKNOWN

State = dict[str, Any]
KUBERNETES = "pulumi:providers:kubernetes"


@cache
def deployment(stack: str, preview: bool) -> dict[str, Any]:
    """One of Vigil's stacks, see `as_deployment`."""
    return as_deployment(recorded.recorded(stack).resources, preview)


@cache
def for_stack_policies(stack: str) -> list[State]:
    """What the engine hands to stack policies at the first preview: as `as_deployment`, but without
    any property of an object whose provider is not configured yet, as its cluster does not exist.
    """
    states = deployment(stack, preview=True)["deployment"]["resources"]
    unknown = {each["urn"] for each in states if each["type"] == KUBERNETES and _waits(each)}
    providers = {each.urn: each.provider for each in recorded.recorded(stack).resources}
    return [
        {**each, "inputs": {}} if providers[each["urn"]].rsplit("::", 1)[0] in unknown else each
        for each in states
    ]


def judged(states: Sequence[State], environment: str) -> Report:
    """The rules of an environment over resources."""
    rules = PolicyConfig.of_environment(environment).rules()
    return judge_all(resources_of_states(states), rules)


def judged_at_first_preview(stack: str) -> Report:
    """The rules over what the engine hands to each kind of policy before anything exists."""
    each = judged(deployment(stack, preview=True)["deployment"]["resources"], stack)
    whole = judged(for_stack_policies(stack), stack)
    lines = [line for line in each.lines if not line.rule.stack]
    return Report((*lines, *(line for line in whole.lines if line.rule.stack)))


def _waits(provider: State) -> bool:
    return UNKNOWN in provider["inputs"].values()


def as_deployment(registered: Sequence[recorded.Resource], preview: bool) -> dict[str, Any]:
    """Return recorded resources in the form of `pulumi stack export`.

    At the first preview nothing exists: whatever was computed from an id, an ARN or another value
    that AWS makes is unknown, and only where it came from is known.
    """
    made = {each.urn: list(_made(each)) for each in registered}
    resources = []
    for each in registered:
        sources = {urn: made.get(urn, []) for urn in each.dependencies}
        links: dict[str, list[str]] = {}
        inputs = {
            key: _seen(value, sources, preview, links.setdefault(key, []))
            for key, value in each.inputs.items()
        }
        resources.append(
            {
                "urn": each.urn,
                "type": each.type,
                "inputs": inputs,
                "outputs": {} if preview else {"id": f"{each.name}-id"},
                "protect": each.protect,
                "propertyDependencies": {key: urns for key, urns in links.items() if urns},
            }
        )
    return {"version": 3, "deployment": {"resources": resources}}


def _made(resource: recorded.Resource) -> Iterator[str]:
    """Yield the values that AWS chooses for a resource, where other text does not hold them."""
    if resource.custom:
        yield f"{resource.name}-id"
    for key, value in state(resource.type, resource.name, resource.inputs).items():
        if key not in resource.inputs and key != "keyId" and isinstance(value, str):
            yield value


def _seen(value: Any, sources: Mapping[str, list[str]], preview: bool, links: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _seen(each, sources, preview, links) for key, each in value.items()}
    if isinstance(value, list):
        return [_seen(each, sources, preview, links) for each in value]
    if isinstance(value, str):
        found = [urn for urn, texts in sources.items() if any(text in value for text in texts)]
        links += [urn for urn in found if urn not in links]
        if found and preview:
            return UNKNOWN
    return value
