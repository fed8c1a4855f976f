"""Rules as CrossGuard policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    PolicyResource,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from policies.rule import Judgement, Resource, Rule, Stack

NAMED = 3  # resources that a message about skipped judgements names


class Skipped(UnknownValueError):
    """Judgements of one policy that need what is unknown; the engine shows the message, and goes on."""

    def __init__(self, found: Sequence[tuple[Resource, UnknownValueError]], judged: int) -> None:
        first = found[0][1]
        super().__init__(first.unknown_type_sentinel, first.props)
        names = [resource.name for resource, _ in found[:NAMED]]
        if len(found) > NAMED:
            names.append(f"{len(found) - NAMED} more")
        counted = f"{len(found)} of {judged} judgements skipped"
        self.message = f"{counted} ({', '.join(names)}): {first.message}"


def policy(rule: Rule, level: EnforcementLevel) -> Policy:
    """The policy that enforces a rule at a level. An unknown value leaves the violations found elsewhere reported."""
    kind = StackValidationPolicy if rule.stack else ResourceValidationPolicy
    return kind(
        rule.name,
        rule.description,
        _on_stack(rule) if rule.stack else _on_resource(rule),
        level,
        PolicyConfigSchema({name: dict(schema) for name, schema in rule.params.items()})
        if rule.params
        else None,
        severity=Severity(rule.severity),
        framework=_framework(rule),
        remediation_steps=rule.fix,
    )


def _framework(rule: Rule) -> PolicyComplianceFramework | None:
    if not rule.standard:
        return None
    name, control = rule.standard[0].rsplit(" ", 1)
    return PolicyComplianceFramework(name=name, reference=control)


def _on_resource(rule: Rule) -> Callable[..., None]:
    def validate(args: ResourceValidationArgs, report: Callable[..., None]) -> None:
        resource = Resource(args.resource_type, args.name, args.urn, args.props)
        if not rule.applies(resource):
            args.not_applicable()
        _report([(resource, rule.judge(resource, args.get_config()))], report)

    return validate


def _on_stack(rule: Rule) -> Callable[..., None]:
    def validate(args: StackValidationArgs, report: Callable[..., None]) -> None:
        stack = Stack(tuple(_seen(resource) for resource in args.resources))
        judged = [resource for resource in stack.resources if rule.applies(resource)]
        if not judged:
            args.not_applicable()
        config = args.get_config()
        _report([(each, rule.judge(each, config, stack)) for each in judged], report)

    return validate


def _seen(resource: PolicyResource) -> Resource:
    sources = resource.property_dependencies.items()
    links = {key: [each.urn for each in found] for key, found in sources}
    protect = bool(resource.opts and resource.opts.protect)
    return Resource(
        resource.resource_type, resource.name, resource.urn, resource.props, protect, links
    )


def _report(judgements: Sequence[tuple[Resource, Judgement]], report: Callable[..., None]) -> None:
    """Report every violation, then raise Skipped where some judgement was not possible."""
    for resource, judgement in judgements:
        for message in judgement.violations:
            report(message, resource.urn)
    unknown = [(resource, found.unknown) for resource, found in judgements if found.unknown]
    if unknown:
        raise Skipped(unknown, len(judgements))
