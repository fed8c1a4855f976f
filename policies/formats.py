"""A report as a table, as JSON, as SARIF and as JUnit XML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from policies.report import Line, Report
from policies.rule import Rule

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_SARIF_LEVELS = {"mandatory": "error", "advisory": "warning"}


def as_table(report: Report) -> str:
    """Return counts per rule, then each violation and each skip."""
    violated = [_paragraph(line.level, line) for line in report.of("violated")]
    skipped = [_paragraph("skipped", line) for line in report.of("skipped")]
    return "\n".join([*_count_rows(report), *violated, *skipped])


def _count_rows(report: Report) -> list[str]:
    counts: dict[str, Counter[str]] = {}
    for line in report.lines:
        counts.setdefault(f"{line.rule.name} ({line.level})", Counter()).update([line.status])
    width = max(map(len, counts), default=4)
    rows = [_count_row(f"{name:{width}}", counts[name]) for name in sorted(counts)]
    return [f"{'rule':{width}}  violated  skipped  passed", *rows]


def _count_row(name: str, counts: Counter[str]) -> str:
    return f"{name}  {counts['violated']:8}  {counts['skipped']:7}  {counts['passed']:6}"


def _paragraph(heading: str, line: Line) -> str:
    return f"\n{heading}: {line.rule.name}\n  {line.resource.urn}\n  {line.message}"


def as_json(report: Report) -> str:
    """Return every line that is not a pass, and the sums."""
    content: dict[str, Any] = {
        "mandatory": len(report.of("violated", "mandatory")),
        "advisory": len(report.of("violated", "advisory")),
        "skipped": len(report.of("skipped")),
        "passed": len(report.of("passed")),
        "skip_share": round(report.skip_share, 4),
        "lines": [_line_to_json(line) for line in report.not_passed],
    }
    return json.dumps(content, indent=2)


def _line_to_json(line: Line) -> dict[str, Any]:
    return {
        "rule": line.rule.name,
        "level": line.level,
        "severity": line.rule.severity,
        "standard": _standards(line.rule),
        "status": line.status,
        "urn": line.resource.urn,
        "message": line.message,
        "fix": line.rule.fix,
    }


def _standards(rule: Rule) -> list[str]:
    return list(rule.standards) or ["own"]


def as_sarif(report: Report) -> str:
    """Return SARIF 2.1.0, for code-scanning pages; skips are notes of kind `review`."""
    lines = report.not_passed
    rules = {line.rule.name: line.rule for line in lines}
    driver = {"name": "vigil-policies", "rules": [_sarif_rule(rule) for rule in rules.values()]}
    results = [_sarif_result(line, list(rules)) for line in lines]
    content = {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(content, indent=2)


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.description},
        "help": {"text": rule.fix},
        "properties": {"severity": rule.severity, "tags": _standards(rule)},
    }


def _sarif_result(line: Line, names: Sequence[str]) -> dict[str, Any]:
    is_violated = line.status == "violated"
    location = {"fullyQualifiedName": line.resource.urn, "kind": "resource"}
    return {
        "ruleId": line.rule.name,
        "ruleIndex": names.index(line.rule.name),
        "level": _SARIF_LEVELS[line.level] if is_violated else "none",
        "kind": "fail" if is_violated else "review",
        "message": {"text": line.message},
        "locations": [{"logicalLocations": [location]}],
    }


def as_junit(report: Report) -> str:
    """Return JUnit XML: a test case per line.

    Advisory violations are no failures, but say so in their output.
    """
    suite = ElementTree.Element(
        "testsuite",
        name="policies",
        tests=str(len(report.lines)),
        failures=str(len(report.of("violated", "mandatory"))),
        errors="0",
        skipped=str(len(report.of("skipped"))),
    )
    for line in report.lines:
        _add_case(suite, line)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _add_case(suite: ElementTree.Element, line: Line) -> None:
    names = {"classname": line.rule.name, "name": line.resource.urn}
    case = ElementTree.SubElement(suite, "testcase", names)
    if line.status == "skipped":
        ElementTree.SubElement(case, "skipped", message=line.message)
    elif line.status == "violated" and line.level == "mandatory":
        details = {"message": line.message, "type": line.rule.severity}
        ElementTree.SubElement(case, "failure", details).text = line.rule.fix
    elif line.status == "violated":
        ElementTree.SubElement(case, "system-out").text = f"{line.level}: {line.message}"


REPORT_FORMATS = {"table": as_table, "json": as_json, "sarif": as_sarif, "junit": as_junit}
