"""A report as a table, as JSON, as SARIF and as JUnit XML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from policies.manifest_files import FileOutcome
from policies.report import Line, Report
from policies.rule import Rule

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_SARIF_LEVELS = {"mandatory": "error", "advisory": "warning"}


def as_table(report: Report) -> str:
    """Return counts per rule, then each violation, each skip and each file."""
    return "\n".join(_table(report))


def _table(report: Report) -> Iterator[str]:
    yield from _count_rows(report)
    for line in report.of("violated"):
        yield _paragraph(line.level, line)
    for line in report.of("malformed"):
        yield _paragraph("malformed", line)
    for line in report.of("skipped"):
        yield _paragraph("skipped", line)
    if report.files:
        yield ""
    for file in report.files:
        yield str(file)


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
    """Return every line that is not a pass, the sums, and what became of each file."""
    content: dict[str, Any] = {
        "mandatory": report.count("violated", "mandatory"),
        "advisory": report.count("violated", "advisory"),
        "skipped": report.count("skipped"),
        "passed": report.count("passed"),
        "skip_share": round(report.skip_share, 4),
        "malformed": report.count("malformed"),
        "lines": [_line_to_json(line) for line in report.not_passed],
        "files": [asdict(file) for file in report.files],
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
        "runs": [
            {
                "tool": {"driver": driver},
                "results": results,
                "invocations": [_sarif_invocation(report)],
            }
        ],
    }
    return json.dumps(content, indent=2)


def _sarif_invocation(report: Report) -> dict[str, Any]:
    """Say whether all files could be read."""
    notes = [_sarif_notification(file) for file in report.broken_files]
    return {"executionSuccessful": not notes, "toolExecutionNotifications": notes}


def _sarif_notification(file: FileOutcome) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": quote(file.file)}}}
    return {
        "level": "error",
        "message": {"text": file.reason},
        "locations": [place],
    }


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.description},
        "help": {"text": rule.fix},
        "properties": {"severity": rule.severity, "tags": _standards(rule)},
    }


def _sarif_result(line: Line, names: Sequence[str]) -> dict[str, Any]:
    is_failure = line.status in ("violated", "malformed")
    location = {"fullyQualifiedName": line.resource.urn, "kind": "resource"}
    return {
        "ruleId": line.rule.name,
        "ruleIndex": names.index(line.rule.name),
        "level": _SARIF_LEVELS[line.level] if is_failure else "none",
        "kind": "fail" if is_failure else "review",
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
        tests=str(len(report.lines) + len(report.broken_files)),
        failures=str(report.count("violated", "mandatory")),
        errors=str(report.count("malformed") + len(report.broken_files)),
        skipped=str(report.count("skipped")),
    )
    for line in report.lines:
        _add_case(suite, line)
    for file in report.broken_files:
        case = ElementTree.SubElement(suite, "testcase", classname="file", name=file.file)
        ElementTree.SubElement(case, "error", message=file.reason)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _add_case(suite: ElementTree.Element, line: Line) -> None:
    names = {"classname": line.rule.name, "name": line.resource.urn}
    case = ElementTree.SubElement(suite, "testcase", names)
    if line.status == "skipped":
        ElementTree.SubElement(case, "skipped", message=line.message)
    elif line.status == "malformed":
        ElementTree.SubElement(case, "error", message=line.message)
    elif line.status == "violated" and line.level == "mandatory":
        details = {"message": line.message, "type": line.rule.severity}
        ElementTree.SubElement(case, "failure", details).text = line.rule.fix
    elif line.status == "violated":
        ElementTree.SubElement(case, "system-out").text = f"{line.level}: {line.message}"


REPORT_FORMATS = {"table": as_table, "json": as_json, "sarif": as_sarif, "junit": as_junit}
