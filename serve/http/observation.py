"""The notes on one request that the request log and traces are made of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vigil.json_types import JsonObject

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(slots=True)
class RequestObservation:
    """One request under observation. Times are Unix nanoseconds, 0 where it did not get so far."""

    is_logged: bool
    began: int
    span: Span | None = None
    handling: int = 0
    scoring: int = 0
    scored: int = 0
    handled: int = 0
    status: int = 0
    rows: int | None = None
    anomalies: int | None = None
    model_version: str | None = None

    def begin_handling(self) -> None:
        """Note that the handler begins, with decoding."""
        self.handling = time.time_ns()

    def end_handling(self) -> None:
        """Note that the handler has encoded its response."""
        self.handled = time.time_ns()

    def begin_scoring(self, rows: int) -> None:
        """Note that so many rows were decoded."""
        self.scoring = time.time_ns()
        self.rows = rows

    def add_scored(
        self,
        rows: int,
        anomalies: int,
        model_version: str,
    ) -> None:
        """Note that a part of the rows was scored, and by which model."""
        self.rows = (self.rows or 0) + rows
        self.anomalies = (self.anomalies or 0) + anomalies
        self.model_version = model_version

    def end_scoring(self, model_version: str, anomalies: int) -> None:
        """Note which model scored the rows, and how many of them are anomalies."""
        self.scored = time.time_ns()
        self.model_version = model_version
        self.anomalies = anomalies

    @property
    def stages(self) -> dict[str, tuple[int, int]]:
        """Begin and end of each stage that the request went through."""
        stages = {
            "decode": (self.handling, self.scoring),
            "score": (self.scoring, self.scored),
            "encode": (self.scored, self.handled),
        }
        return {name: times for name, times in stages.items() if all(times)}

    @property
    def result(self) -> JsonObject:
        """The outcome of scoring; empty when nothing was scored."""
        if self.model_version is None:
            return {}
        return {
            "rows": self.rows,
            "anomalies": self.anomalies,
            "model_version": self.model_version,
        }
