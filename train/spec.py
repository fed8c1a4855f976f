"""What a training job is asked for, and what it answers: the same in this process, and as a Ray job somewhere else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.table.schema import Columns
from train.table.source import is_s3

if TYPE_CHECKING:
    from train.registry.versions import Version


@dataclass(frozen=True)
class JobSpec:
    """One training job.

    data: the baseline table; captured/since: live rows from that Unix time on are trained on as well, and become the
    reference; key: a second job with the same key returns the version of the first; tune: seconds to search for the parameters
    of the forest, and the transform where none is named.
    """

    data: str
    label: str | None = None
    captured: str | None = None
    since: float = 0.0
    trigger: str = "manual"  # | schedule | volume | drift
    key: str | None = None
    columns: Columns = field(default_factory=Columns)
    over_time: str = ""  # a transform, see train/table/transform.py
    tune: float = 0.0

    def absolute(self) -> JobSpec:
        """The same in whatever folder it is run."""
        captured = self.captured and _absolute(self.captured)
        schema = self.columns.schema and _absolute(self.columns.schema)
        return replace(
            self,
            data=_absolute(self.data),
            captured=captured,
            columns=replace(self.columns, schema=schema),
        )

    def arguments(self) -> list[str]:
        """The `vigil` command line that does this job."""
        columns = self.columns
        told = {
            "data": self.data,
            "label": self.label or columns.label,
            "time": columns.time,
            "entity": columns.entity,
            "columns": ",".join(columns.features or ()),
            "schema": columns.schema,
            "over-time": self.over_time,
            "captured": self.captured,
            "since": repr(self.since) if self.since else None,
            "trigger": self.trigger,
            "key": self.key,
            "tune": repr(self.tune) if self.tune else None,
        }
        return ["train", *(f"--{name}={value}" for name, value in told.items() if value), "--json"]


def _absolute(path: str) -> str:
    return path if is_s3(path) else str(Path(path).absolute())


@dataclass(frozen=True)
class JobResult:
    """What a training job made: the registered version, and the gate's verdict on it."""

    version: Version
    verdict: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        v = self.version
        return {
            "version": v.version,
            "run_id": v.run_id,
            "digest": v.digest,
            "metrics": dict(v.metrics),
            "verdict": self.verdict,
        }
