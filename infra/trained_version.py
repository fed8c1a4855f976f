"""A version that `vigil train --json` has registered, as a pull request shows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.proposal import ShippingFailed


@dataclass(frozen=True)
class TrainedVersion:
    """A registered version, its digest, and the verdict of the gate on it."""

    version: str
    digest: str
    verdict: dict[str, Any]

    @classmethod
    def read(cls, result: Path) -> TrainedVersion:
        """What a training printed; raises ShippingFailed."""
        try:
            trained: dict[str, Any] = json.loads(result.read_text())
            return cls.from_json(trained)
        except (ValueError, LookupError, TypeError) as error:
            raise ShippingFailed(
                f"{result} is not what `vigil train --json` writes: {error}"
            ) from error

    @classmethod
    def from_json(cls, trained: dict[str, Any]) -> TrainedVersion:
        """The version in the output of a training."""
        return cls(str(trained["version"]), trained["digest"], trained["verdict"])

    @property
    def has_passed(self) -> bool:
        return self.verdict["passed"]

    def wanted(self, reason: str) -> str:
        """The file whose merge promotes the version."""
        content = {
            "version": self.version,
            "digest": self.digest,
            "reason": reason or self.verdict["reason"],
        }
        return json.dumps(content, indent=1) + "\n"

    def summary(self, reason: str) -> str:
        """The verdict, as Markdown."""
        outcome = "passed" if self.has_passed else "refused"
        lines = [f"## Model version {self.version}: {outcome}", "", self.verdict["reason"], ""]
        if reason:
            lines += [f"Trained because: {reason}", ""]
        lines += ["| gate | value | limit | passed |", "| --- | --- | --- | --- |"]
        lines += [_row(check) for check in self.verdict.get("checks", [])]
        return "\n".join([*lines, "", f"Digest `{self.digest}`", ""])


def _row(check: dict[str, Any]) -> str:
    passed = "yes" if check["passed"] else "**no**"
    return f"| {check['name']} | {check['value']} | {check['limit']} | {passed} |"
