"""A report as a table, as JSON, as SARIF and as JUnit XML."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from urllib.parse import quote
from xml.etree import ElementTree

from policies.manifest_files import FileOutcome
from policies.report import Line, Report
from policies.rule import Rule
from vigil.json_types import JsonObject

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_SARIF_LEVELS = {"mandatory": "error", "advisory": "warning"}


def as_table(report: Report) -> str:
    """Return counts per rule, then each violation, each skip and each file."""
    return "\n".join(_table(report))


def _table(report: Report) -> Iterator[str]:
    yield from _count_rows(report)
    for line in report.of("violated"):
        yield _paragraph(line.level, line)
    for status in ("malformed", "skipped"):
        for line in report.of(status):
            yield _paragraph(status, line)
    if report.files:
        yield ""
        yield from map(str, report.files)


def _count_rows(report: Report) -> list[str]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in report.lines:
        name = f"{line.rule.name} ({line.level})"
        counts[name][line.status] += 1
    width = max(map(len, counts), default=4)
    rows = [_count_row(f"{name:{width}}", counts[name]) for name in sorted(counts)]
    return [f"{'rule':{width}}  violated  skipped  passed", *rows]


def _count_row(name: str, counts: Counter[str]) -> str:
    return f"{name}  {counts['violated']:8}  {counts['skipped']:7}  {counts['passed']:6}"


def _paragraph(heading: str, line: Line) -> str:
    return f"\n{heading}: {line.rule.name}\n  {line.resource.urn}\n  {line.message}"


def as_json(report: Report) -> str:
    """Return every line that is not a pass, the sums, and what became of each file."""
    content: JsonObject = {
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


def _line_to_json(line: Line) -> JsonObject:
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
    driver = {
        "name": "vigil-policies",
        "rules": list(map(_sarif_rule, rules.values())),
    }
    names = list(rules)
    run = {
        "tool": {"driver": driver},
        "results": [_sarif_result(line, names) for line in lines],
        "invocations": [_sarif_invocation(report)],
    }
    content = {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(content, indent=2)


def _sarif_invocation(report: Report) -> JsonObject:
    """Say whether all files could be read."""
    notes = [_sarif_notification(file) for file in report.broken_files]
    return {"executionSuccessful": not notes, "toolExecutionNotifications": notes}


def _sarif_notification(file: FileOutcome) -> JsonObject:
    place = {"artifactLocation": {"uri": quote(file.file)}}
    return {
        "level": "error",
        "message": {"text": file.reason},
        "locations": [{"physicalLocation": place}],
    }


def _sarif_rule(rule: Rule) -> JsonObject:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.description},
        "help": {"text": rule.fix},
        "properties": {"severity": rule.severity, "tags": _standards(rule)},
    }


def _sarif_result(line: Line, names: Sequence[str]) -> JsonObject:
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
    broken = len(report.broken_files)
    suite = ElementTree.Element(
        "testsuite",
        name="policies",
        tests=str(len(report.lines) + broken),
        failures=str(report.count("violated", "mandatory")),
        errors=str(report.count("malformed") + broken),
        skipped=str(report.count("skipped")),
    )
    for line in report.lines:
        _add_case(suite, line)
    for file in report.broken_files:
        _add_broken_file(suite, file)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _add_broken_file(suite: ElementTree.Element, file: FileOutcome) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": "file", "name": file.file})
    ElementTree.SubElement(case, "error", message=file.reason)


def _add_case(suite: ElementTree.Element, line: Line) -> None:
    names = {"classname": line.rule.name, "name": line.resource.urn}
    case = ElementTree.SubElement(suite, "testcase", names)
    if line.status == "skipped":
        ElementTree.SubElement(case, "skipped", message=line.message)
    elif line.status == "malformed":
        ElementTree.SubElement(case, "error", message=line.message)
    elif line.status == "violated":
        _add_violation(case, line)


def _add_violation(case: ElementTree.Element, line: Line) -> None:
    if line.level != "mandatory":
        output = ElementTree.SubElement(case, "system-out")
        output.text = f"{line.level}: {line.message}"
        return
    details = {"message": line.message, "type": line.rule.severity}
    failure = ElementTree.SubElement(case, "failure", details)
    failure.text = line.rule.fix


REPORT_FORMATS = {
    "table": as_table,
    "json": as_json,
    "sarif": as_sarif,
    "junit": as_junit,
}
