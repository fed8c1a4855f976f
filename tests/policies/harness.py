"""Runs Python policies without the engine: plain dicts, unknown values, the stack, messages.

Nothing here knows Vigil's rules: it works for any policy of `pulumi_policy`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pulumi_policy import (
    Policy,
    PolicyCustomTimeouts,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.policy import _NotApplicableError as NotApplicable
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

UNKNOWN = UNKNOWN_STRING_VALUE
REMOVED = object()


@dataclass(frozen=True)
class Given:
    """A resource of a test.

    `links` names, per property, the resources that the property was computed from.
    """

    type: str
    name: str
    props: dict[str, Any]
    links: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    @property
    def urn(self) -> str:
        """Its URN in the test stack."""
        return f"urn:pulumi:test::policies::{self.type}::{self.name}"


def changed(given: Given, path: str, value: Any) -> Given:
    """The resource with one property set (or REMOVED): `spec.containers.0.image`.

    Keys may be quoted by backticks if dotted.
    """
    props = copy.deepcopy(given.props)
    at: Any = props
    *parents, last = _keys(path)
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    key: Any = int(last) if isinstance(at, list) else last
    if value is REMOVED:
        del at[key]
    else:
        at[key] = value
    return replace(given, props=props)


def _keys(path: str) -> list[str]:
    parts = path.split("`")
    return [
        key
        for number, part in enumerate(parts)
        for key in ([part] if number % 2 else part.strip(".").split("."))
        if key
    ]


@dataclass
class Result:
    """What a policy said.

    Violations as (resource name, message), what was unknown, and whether anything was judged.
    """

    violations: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    unknown: list[str] = field(default_factory=list[str])
    judged: bool = False

    @property
    def status(self) -> str:
        """`violated`, `skipped`, `passed` or `not applicable`."""
        if not self.judged:
            return "not applicable"
        return "violated" if self.violations else "skipped" if self.unknown else "passed"


def run(
    policy: Policy, resources: Sequence[Given], config: Mapping[str, Any] | None = None
) -> Result:
    """Run a policy as the engine does at a preview: on each resource, or on the whole stack."""
    result = Result()
    calls = _stack_calls if isinstance(policy, StackValidationPolicy) else _resource_calls
    names = {given.urn: given.name for given in resources}
    for args, urn in calls(resources, config):

        def report(message: str, at: str | None = None, urn: str | None = urn) -> None:
            result.violations.append((names[at or urn or ""], message))

        assert isinstance(policy, StackValidationPolicy | ResourceValidationPolicy)
        try:
            policy.validate(args, report)
        except UnknownValueError as error:
            result.unknown.append(error.message)
        except NotApplicable:
            continue
        result.judged = True
    return result


def _options() -> PolicyResourceOptions:
    return PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])


def _resource_calls(
    resources: Sequence[Given], config: Mapping[str, Any] | None
) -> list[tuple[Any, str | None]]:
    return [
        (
            ResourceValidationArgs(
                each.type,
                unknown_checking_proxy(copy.deepcopy(each.props)),
                each.urn,
                each.name,
                _options(),
                None,
                config,
            ),
            each.urn,
        )
        for each in resources
    ]


def _stack_calls(
    resources: Sequence[Given], config: Mapping[str, Any] | None
) -> list[tuple[Any, str | None]]:
    seen = {
        each.name: PolicyResource(
            each.type,
            unknown_checking_proxy(copy.deepcopy(each.props)),
            each.urn,
            each.name,
            _options(),
            None,
            None,
            [],
            {},
        )
        for each in resources
    }
    for each in resources:
        links = {
            key: [seen[name] for name in names if name in seen] for key, names in each.links.items()
        }
        seen[each.name].property_dependencies = links
    return [(StackValidationArgs(list(seen.values()), config), None)]
