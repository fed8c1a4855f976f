"""The pack over recorded resources, without Pulumi: what is wrong, skipped, or passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.levels import ConfiguredRule
from policies.manifest_files import FileOutcome
from policies.rule import Judgement, Level, Rule
from policies.subjects import Resource, Stack

Status = Literal["violated", "malformed", "skipped", "passed"]
# What a rule raises that looks into an object of a shape that no such object has.
_SHAPE_ERRORS = (AttributeError, LookupError, TypeError, ValueError, RecursionError)


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

    def has(self, status: Status, level: Level | None = None) -> bool:
        """Return whether it has this status, and this level where one is named."""
        return self.status == status and level in (None, self.level)


@dataclass(frozen=True)
class Report:
    """All lines of a run, and what became of each file that was looked at."""

    lines: tuple[Line, ...]
    files: tuple[FileOutcome, ...] = ()

    def of(self, status: Status, level: Level | None = None) -> list[Line]:
        """Return the lines with this status, of this level (of all where none is named)."""
        return [line for line in self.lines if line.has(status, level)]

    def count(self, status: Status, level: Level | None = None) -> int:
        """Return how many lines have this status."""
        return len(self.of(status, level))

    @property
    def broken_files(self) -> list[FileOutcome]:
        """Files that could not be read, or not all of them."""
        return [file for file in self.files if file.status == "broken"]

    @property
    def judged(self) -> int:
        """Judgements: what neither was skipped nor could not be looked into."""
        return self.count("violated") + self.count("passed")

    @property
    def not_passed(self) -> list[Line]:
        """Violations, and what could not be judged."""
        return [line for line in self.lines if line.status != "passed"]

    @property
    def skip_share(self) -> float:
        """Skipped judgements, as a share of all."""
        if not self.lines:
            return 0.0
        return self.count("skipped") / len(self.lines)


def judge_all(
    resources: Sequence[Resource],
    rules: Iterable[ConfiguredRule],
    files: Sequence[FileOutcome] = (),
) -> Report:
    """Judge every resource by every rule that applies; rules that are disabled are left out."""
    stack = Stack(tuple(resources))
    lines: list[Line] = []
    for each in rules:
        if each.rule.level != "disabled":
            lines.extend(_lines_of(each, stack))
    return Report(tuple(lines), tuple(files))


def _lines_of(configured: ConfiguredRule, stack: Stack) -> Iterator[Line]:
    for resource in stack.resources:
        if configured.rule.applies(resource):
            yield from _judge(configured, resource, stack)


def _judge(
    configured: ConfiguredRule,
    resource: Resource,
    stack: Stack,
) -> Iterator[Line]:
    try:
        judgement = configured.judge(resource, stack)
    except _SHAPE_ERRORS as error:
        yield _malformed(configured.rule, resource, error)
        return
    yield from _lines(configured.rule, resource, judgement)


def _malformed(
    rule: Rule,
    resource: Resource,
    error: Exception,
) -> Line:
    """Say that an object is not of the shape that its kind has."""
    cause = f"{type(error).__name__}: {error}"
    message = f"a {resource.kind} is not of this shape ({cause}): `kubectl apply --dry-run=server`"
    return Line(
        rule,
        resource,
        "malformed",
        message=message,
    )


def _lines(
    rule: Rule,
    resource: Resource,
    judgement: Judgement,
) -> Iterator[Line]:
    for message in judgement.violations:
        yield Line(
            rule,
            resource,
            "violated",
            message=message,
        )
    if judgement.unknown:
        yield Line(
            rule,
            resource,
            "skipped",
            message=judgement.unknown.message,
        )
    elif not judgement.violations:
        yield Line(rule, resource, "passed")
