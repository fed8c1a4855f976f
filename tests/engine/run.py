"""What one command of Pulumi did, read from the engine's own events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]
# How the policy SDK says that a value was unknown.
SKIPPED = "can't run policy"
# And the pack, how many resources it could not judge.
COUNTED = re.compile(r"(\d+) of \d+ judgements skipped")


def read_events(log: Path) -> list[Event]:
    """The events that the engine wrote, one a line; none where it did not begin."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines() if line.strip()]


def kind(urn: str) -> str:
    """The type in a URN."""
    return urn.split("::")[2].split("$")[-1]


@dataclass(frozen=True)
class Finding:
    """What a policy said of a resource."""

    policy: str
    urn: str
    level: str
    message: str

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.urn.split("::")[-1]


@dataclass(frozen=True)
class Run:
    """Exit code, text and events of a command."""

    code: int
    output: str
    events: list[Event] = field(repr=False)

    def of(self, key: str) -> Iterator[Any]:
        """The events of one kind."""
        return (event[key] for event in self.events if key in event)

    @property
    def findings(self) -> list[Finding]:
        """Everything that policies said."""
        return [
            Finding(
                one["policyName"],
                one.get("resourceUrn", ""),
                one["enforcementLevel"],
                one["message"],
            )
            for one in self.of("policyEvent")
        ]

    @property
    def skipped(self) -> list[Finding]:
        """What policies said they could not judge, as a value was unknown."""
        return [one for one in self.findings if SKIPPED in one.message]

    @property
    def skips(self) -> int:
        """How many judgements that were."""
        counts = [COUNTED.search(one.message) for one in self.skipped]
        return sum(int(count[1]) if count else 1 for count in counts)

    def violations(self, level: str = "mandatory") -> list[Finding]:
        """What policies of a level refuse."""
        return [one for one in self.findings if one.level == level and SKIPPED not in one.message]

    @property
    def judged(self) -> int:
        """How many judgements policies made: a policy of a stack makes one of it."""
        lists = [*self.of("policyAnalyzeSummaryEvent"), *self.of("policyAnalyzeStackSummaryEvent")]
        return sum(len(one.get(key) or ()) for one in lists for key in ("passed", "failed"))

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(operation, URN) of what is changed, in the order in which it began."""
        metadata = [one["metadata"] for one in self.of("resourcePreEvent")]
        return [(one["op"], one["urn"]) for one in metadata if one["op"] not in ("same", "refresh")]

    @property
    def changes(self) -> dict[str, int]:
        """How many resources are created, updated and so on; what stays is left out."""
        summary = next(self.of("summaryEvent"), {})
        found: dict[str, int] = summary.get("resourceChanges", {})
        return {op: count for op, count in found.items() if op != "same" and count}

    def diffs(self) -> dict[str, list[str]]:
        """The changed properties of each resource that is updated or replaced, by its name."""
        metadata = [one["metadata"] for one in self.of("resourcePreEvent")]
        changed = [one for one in metadata if one["op"] in ("update", "replace")]
        return {one["urn"].split("::")[-1]: sorted(one.get("diffs") or ()) for one in changed}
