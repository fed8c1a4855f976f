"""The pack over recorded resources, without Pulumi: what is wrong, skipped, or passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.levels import ConfiguredRule
from policies.rule import Judgement, Level, Rule
from policies.subjects import Resource, Stack

Status = Literal["violated", "skipped", "passed"]


@dataclass(frozen=True)
class Line:
    """One rule on one resource.

    A resource may both violate a rule and leave a part of it unjudged: that is two lines.
    """

    rule: Rule
    resource: Resource
    status: Status
    message: str = ""

    @property
    def level(self) -> Level:
        """Level of the rule."""
        return self.rule.level


@dataclass(frozen=True)
class Report:
    """All lines of a run."""

    lines: tuple[Line, ...]

    def of(self, status: Status, level: Level | None = None) -> list[Line]:
        """Return the lines with this status, of this level (of all where none is named)."""
        lines = [line for line in self.lines if line.status == status]
        return lines if level is None else [line for line in lines if line.level == level]

    @property
    def not_passed(self) -> list[Line]:
        """Violations and skipped judgements."""
        return [line for line in self.lines if line.status != "passed"]

    @property
    def skip_share(self) -> float:
        """Skipped judgements, as a share of all."""
        return len(self.of("skipped")) / len(self.lines) if self.lines else 0.0


def judge_all(resources: Sequence[Resource], rules: Iterable[ConfiguredRule]) -> Report:
    """Judge every resource by every rule that applies; rules that are disabled are left out."""
    stack = Stack(tuple(resources))
    enabled = [each for each in rules if each.rule.level != "disabled"]
    return Report(tuple(line for each in enabled for line in _lines_of(each, stack)))


def _lines_of(configured: ConfiguredRule, stack: Stack) -> Iterator[Line]:
    for resource in stack.resources:
        if configured.rule.applies(resource):
            judgement = configured.judge(resource, stack)
            yield from _lines(configured.rule, resource, judgement)


def _lines(rule: Rule, resource: Resource, judgement: Judgement) -> Iterator[Line]:
    for message in judgement.violations:
        yield Line(rule, resource, "violated", message=message)
    if judgement.unknown:
        yield Line(rule, resource, "skipped", message=judgement.unknown.message)
    elif not judgement.violations:
        yield Line(rule, resource, "passed")
