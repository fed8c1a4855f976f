"""The pack over recorded resources, without Pulumi: what is wrong, what could not be judged, what passes; in four forms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

from policies.rule import Resource, Rule, Stack

Level = str
Status = Literal["passed", "violated", "skipped"]
SARIF_LEVEL = {"mandatory": "error", "advisory": "warning"}


@dataclass(frozen=True)
class Line:
    """One rule on one resource. A resource may both violate a rule and leave a part of it unjudged: that is two lines."""

    rule: Rule
    level: Level
    resource: Resource
    status: Status
    message: str = ""


@dataclass(frozen=True)
class Report:
    """All lines of a run."""

    lines: tuple[Line, ...]

    def of(self, status: Status, *levels: Level) -> list[Line]:
        """The lines with this status, of these levels (all levels where none is named)."""
        return [
            line
            for line in self.lines
            if line.status == status and (not levels or line.level in levels)
        ]

    @property
    def skip_share(self) -> float:
        """Skipped judgements, as a share of all."""
        return len(self.of("skipped")) / len(self.lines) if self.lines else 0.0


def run(
    resources: Sequence[Resource],
    rules: Iterable[tuple[Rule, Level]],
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Judge every resource by every rule that applies; rules that are disabled are left out."""
    stack, lines = Stack(tuple(resources)), []
    for rule, level in rules:
        params = (config or {}).get(rule.name) or {}
        for resource in resources if level != "disabled" else ():
            if rule.applies(resource):
                judgement = rule.judge(resource, params, stack)
                lines += [
                    Line(rule, level, resource, "violated", message)
                    for message in judgement.violations
                ]
                if judgement.unknown:
                    lines.append(Line(rule, level, resource, "skipped", judgement.unknown.message))
                elif not judgement.violations:
                    lines.append(Line(rule, level, resource, "passed"))
    return Report(tuple(lines))


def as_table(report: Report) -> str:
    """Counts per rule, then each violation and each skip."""
    per_rule: dict[str, dict[str, int]] = {}
    for line in report.lines:
        counts = per_rule.setdefault(
            f"{line.rule.name} ({line.level})", {"violated": 0, "skipped": 0, "passed": 0}
        )
        counts[line.status] += 1
    width = max(map(len, per_rule), default=4)
    rows = [f"{'rule':{width}}  violated  skipped  passed"]
    rows += [
        f"{name:{width}}  {c['violated']:8}  {c['skipped']:7}  {c['passed']:6}"
        for name, c in sorted(per_rule.items())
    ]
    rows += [
        f"\n{line.level}: {line.rule.name}\n  {line.resource.urn}\n  {line.message}"
        for line in report.of("violated")
    ]
    rows += [
        f"\nskipped: {line.rule.name}\n  {line.resource.urn}\n  {line.message}"
        for line in report.of("skipped")
    ]
    return "\n".join(rows)


def as_json(report: Report) -> str:
    """Every line that is not a pass, and the sums."""
    lines = [
        {
            "rule": line.rule.name,
            "level": line.level,
            "severity": line.rule.severity,
            "standard": list(line.rule.standard) or ["own"],
            "status": line.status,
            "urn": line.resource.urn,
            "message": line.message,
            "fix": line.rule.fix,
        }
        for line in report.lines
        if line.status != "passed"
    ]
    sums = {
        "mandatory": len(report.of("violated", "mandatory")),
        "advisory": len(report.of("violated", "advisory")),
        "skipped": len(report.of("skipped")),
        "passed": len(report.of("passed")),
        "skip_share": round(report.skip_share, 4),
    }
    return json.dumps({**sums, "lines": lines}, indent=2)


def as_sarif(report: Report) -> str:
    """SARIF 2.1.0, for code-scanning pages; skips are notes of kind `review`."""
    found = [line for line in report.lines if line.status != "passed"]
    rules = {line.rule.name: line.rule for line in found}
    driver = {
        "name": "vigil-policies",
        "rules": [
            {
                "id": rule.name,
                "shortDescription": {"text": rule.description},
                "help": {"text": rule.fix},
                "properties": {"severity": rule.severity, "tags": list(rule.standard) or ["own"]},
            }
            for rule in rules.values()
        ],
    }
    results = [
        {
            "ruleId": line.rule.name,
            "ruleIndex": list(rules).index(line.rule.name),
            "level": SARIF_LEVEL[line.level] if line.status == "violated" else "none",
            "kind": "fail" if line.status == "violated" else "review",
            "message": {"text": line.message},
            "locations": [
                {
                    "logicalLocations": [
                        {"fullyQualifiedName": line.resource.urn, "kind": "resource"}
                    ]
                }
            ],
        }
        for line in found
    ]
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps(
        {
            "$schema": schema,
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        },
        indent=2,
    )


def as_junit(report: Report) -> str:
    """JUnit XML: a test case per line. Advisory violations are no failures, but say so in their output."""
    failures, skipped = len(report.of("violated", "mandatory")), len(report.of("skipped"))
    suite = ElementTree.Element(
        "testsuite",
        name="policies",
        tests=str(len(report.lines)),
        failures=str(failures),
        errors="0",
        skipped=str(skipped),
    )
    for line in report.lines:
        case = ElementTree.SubElement(
            suite, "testcase", classname=line.rule.name, name=line.resource.urn
        )
        if line.status == "skipped":
            ElementTree.SubElement(case, "skipped", message=line.message)
        elif line.status == "violated" and line.level == "mandatory":
            ElementTree.SubElement(
                case, "failure", message=line.message, type=line.rule.severity
            ).text = line.rule.fix
        elif line.status == "violated":
            ElementTree.SubElement(case, "system-out").text = f"{line.level}: {line.message}"
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


FORMS = {"table": as_table, "json": as_json, "sarif": as_sarif, "junit": as_junit}
