"""Rules as CrossGuard policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

from policies.rule import Judgement, Rule
from policies.subjects import Resource, Stack

_MAX_NAMED_RESOURCES = 3  # in a message about skipped judgements

Callback = Callable[..., None]


class SkippedJudgements(UnknownValueError):
    """Judgements of one policy that need what is unknown; the engine shows it, and goes on."""

    def __init__(self, skipped: Sequence[tuple[Resource, UnknownValueError]], judged: int) -> None:
        first = skipped[0][1]
        super().__init__(first.unknown_type_sentinel, first.props)
        names = _name_some([resource for resource, _ in skipped])
        counts = f"{len(skipped)} of {judged} judgements skipped"
        self.message = f"{counts} ({names}): {first.message}"


def _name_some(resources: Sequence[Resource]) -> str:
    names = [resource.name for resource in resources[:_MAX_NAMED_RESOURCES]]
    if len(resources) > _MAX_NAMED_RESOURCES:
        names.append(f"{len(resources) - _MAX_NAMED_RESOURCES} more")
    return ", ".join(names)


def as_policy(rule: Rule) -> Policy:
    """Return the policy that enforces a rule at its level.

    An unknown value leaves the violations found elsewhere reported.
    """
    validator = RuleValidator(rule)
    validate: Callback = validator.validate_stack if rule.stack else validator.validate_resource
    kind = StackValidationPolicy if rule.stack else ResourceValidationPolicy
    return kind(
        rule.name,
        rule.description,
        validate,
        enforcement_level=EnforcementLevel(rule.level),
        config_schema=_config_schema(rule),
        severity=Severity(rule.severity),
        framework=_framework(rule),
        remediation_steps=rule.fix,
    )


def _config_schema(rule: Rule) -> PolicyConfigSchema | None:
    properties = {name: dict(schema) for name, schema in rule.params.items()}
    return PolicyConfigSchema(properties) if properties else None


def _framework(rule: Rule) -> PolicyComplianceFramework | None:
    if not rule.standards:
        return None
    name, control = rule.standards[0].rsplit(" ", 1)
    return PolicyComplianceFramework(name=name, reference=control)


@dataclass(frozen=True)
class RuleValidator:
    """A rule as CrossGuard calls it."""

    rule: Rule

    def validate_resource(self, args: ResourceValidationArgs, report: Callback) -> None:
        """Judge one resource; a rule of other types does not apply."""
        resource = Resource(
            args.resource_type,
            args.name,
            args.urn,
            props=args.props,
        )
        if not self.rule.applies(resource):
            args.not_applicable()
        judgement = self.rule.judge(resource, args.get_config())
        _report_all([(resource, judgement)], report)

    def validate_stack(self, args: StackValidationArgs, report: Callback) -> None:
        """Judge the resources of the rule's types, with the whole stack in view."""
        stack = Stack(tuple(map(_as_resource, args.resources)))
        judged = [resource for resource in stack.resources if self.rule.applies(resource)]
        if not judged:
            args.not_applicable()
        config = args.get_config()
        _report_all([(each, self.rule.judge(each, config, stack)) for each in judged], report)


def _as_resource(resource: PolicyResource) -> Resource:
    sources = resource.property_dependencies.items()
    return Resource(
        resource.resource_type,
        resource.name,
        resource.urn,
        props=resource.props,
        protect=bool(resource.opts and resource.opts.protect),
        links={key: [each.urn for each in linked] for key, linked in sources},
    )


def _report_all(judgements: Sequence[tuple[Resource, Judgement]], report: Callback) -> None:
    """Report every violation, then raise SkippedJudgements where a judgement was not possible."""
    for resource, judgement in judgements:
        for message in judgement.violations:
            report(message, resource.urn)
    skipped = [(each, judgement.unknown) for each, judgement in judgements if judgement.unknown]
    if skipped:
        raise SkippedJudgements(skipped, len(judgements))
