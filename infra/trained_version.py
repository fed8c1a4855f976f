"""A version that `vigil train --json` has registered, as a pull request shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.proposal import ShippingFailed
from vigil.json_types import JsonObject


@dataclass(frozen=True)
class TrainedVersion:
    """A registered version, its digest, and the verdict of the gate on it."""

    version: str
    digest: str
    verdict: JsonObject

    @classmethod
    def read(cls, result: Path) -> TrainedVersion:
        """What a training printed; raises ShippingFailed."""
        try:
            return cls.from_json(json.loads(result.read_text()))
        except (ValueError, LookupError, TypeError) as error:
            other = f"{result} is not what `vigil train --json` writes"
            raise ShippingFailed(f"{other}: {error}") from error

    @classmethod
    def from_json(cls, trained: JsonObject) -> TrainedVersion:
        """The version in the output of a training."""
        return cls(str(trained["version"]), trained["digest"], trained["verdict"])

    @property
    def has_passed(self) -> bool:
        return self.verdict["passed"]

    def wanted(self, reason: str) -> str:
        """The file whose merge promotes the version."""
        why = reason or self.verdict["reason"]
        content = {"version": self.version, "digest": self.digest, "reason": why}
        return f"{json.dumps(content, indent=1)}\n"

    def summary(self, reason: str) -> str:
        """The verdict, as Markdown."""
        return "\n".join(self._lines(reason))

    def _lines(self, reason: str) -> Iterator[str]:
        outcome = "passed" if self.has_passed else "refused"
        yield f"## Model version {self.version}: {outcome}\n"
        yield f"{self.verdict['reason']}\n"
        if reason:
            yield f"Trained because: {reason}\n"
        yield from self._checks()
        yield f"\nDigest `{self.digest}`\n"

    def _checks(self) -> Iterator[str]:
        yield "| gate | value | limit | passed |"
        yield "| --- | --- | --- | --- |"
        yield from map(_row, self.verdict.get("checks", []))


def _row(check: JsonObject) -> str:
    passed = "yes" if check["passed"] else "**no**"
    return f"| {check['name']} | {check['value']} | {check['limit']} | {passed} |"
