"""Rules as CrossGuard policies."""

from __future__ import annotations

from collections.abc import Callable

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

from policies.rule import Judgement, Resource, Rule, Stack


def policy(rule: Rule, level: EnforcementLevel) -> Policy:
    """The policy that enforces a rule at a level. An unknown value leaves the violations found elsewhere reported."""
    kind = StackValidationPolicy if rule.stack else ResourceValidationPolicy
    return kind(
        rule.name,
        rule.description,
        _on_stack(rule) if rule.stack else _on_resource(rule),
        level,
        PolicyConfigSchema({name: dict(schema) for name, schema in rule.params.items()}) if rule.params else None,
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
        _report(rule.judge(resource, args.get_config()), resource, report)

    return validate


def _on_stack(rule: Rule) -> Callable[..., None]:
    def validate(args: StackValidationArgs, report: Callable[..., None]) -> None:
        stack = Stack(tuple(_seen(resource) for resource in args.resources))
        judged = [resource for resource in stack.resources if rule.applies(resource)]
        if not judged:
            args.not_applicable()
        unknown = None
        for resource in judged:
            judgement = rule.judge(resource, args.get_config(), stack)
            _report(Judgement(judgement.violations, None), resource, report)
            unknown = unknown or judgement.unknown
        if unknown:
            raise unknown

    return validate


def _seen(resource: PolicyResource) -> Resource:
    links = {key: [each.urn for each in found] for key, found in resource.property_dependencies.items()}
    protect = bool(resource.opts and resource.opts.protect)
    return Resource(resource.resource_type, resource.name, resource.urn, resource.props, protect, links)


def _report(judgement: Judgement, resource: Resource, report: Callable[..., None]) -> None:
    for message in judgement.violations:
        report(message, resource.urn)
    if judgement.unknown:
        raise judgement.unknown
