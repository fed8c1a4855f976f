"""`vigil replay`: score the rows of an answered request again, with the same version."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from serve.http.predict import reasons_by_row
from train.model.reasons import Reason
from train.settings import TrainSettings
from train.table.numbering import missing_rows
from vigil.arrays import Flags, Floats
from vigil.errors import DataError
from vigil.home import Home
from vigil.json_types import JsonObject
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, print_table, report_errors

if TYPE_CHECKING:  # their libraries take their time to be imported
    from serve.model.loaded import LoadedModel
    from train.table.captured import CapturedRequest

TOLERANCE = 1e-9
_MAX_REASONS = 3


@click.command()
@click.argument("request_id")
@click.option("--captured", help="folder or s3:// URL of captured rows (default: the home's)")
@json_option
@report_errors
def replay(
    request_id: str,
    captured: str | None,
    as_json: bool,
) -> None:
    """Reproduce the scores of the request with REQUEST_ID (X-Request-Id of its answer) from its
    captured rows."""
    home = HomeSettings().open()
    request = _find_request(captured or home.captured, request_id)
    replayed = Replayed.by(_load_model(home, request.version), request)
    if as_json:
        print_json(replayed.to_json(request_id))
    else:
        print_table(
            ("row", "captured score", "score again", "anomaly", "reasons"),
            list(replayed.table_rows()),
        )
        click.echo(replayed.summary())
    if not replayed.is_reproduced:
        sys.exit(1)


def _find_request(where: str | Path, request_id: str) -> CapturedRequest:
    from train.table.captured import read_request

    request = read_request(where, request_id)
    if request is None:
        raise DataError(
            f"no captured row of request {request_id!r} in {where}: rows are captured in full "
            "windows, as a sample (VIGIL_SERVE_CAPTURE_RATE), and kept for a while "
            "(VIGIL_DRIFT_KEEP_WINDOWS)"
        )
    return request


def _load_model(home: Home, number: str) -> LoadedModel:
    from serve.model.loaded import LoadedModel
    from train.connect import open_registry

    registry = open_registry(home, TrainSettings())
    version = registry.get(number)
    return LoadedModel.warm(number, version.digest, registry.fetch(version, home.cache))


@dataclass(frozen=True)
class Replayed:
    """The rows of a request with their captured scores, and what the same model says now.

    is_anomaly: whether a row alerted, by the threshold of its entity where it had one; of a window
    of an older Vigil, whether it does by the model's
    """

    request: CapturedRequest
    model: LoadedModel
    scores: Floats
    is_anomaly: Flags
    reasons: list[list[Reason]]

    @classmethod
    def by(cls, model: LoadedModel, request: CapturedRequest) -> Replayed:
        rows = request.rows.X
        scores = model.bundle.forest.score(rows)
        is_anomaly = request.alerts
        if is_anomaly is None:
            is_anomaly = scores > model.bundle.threshold.value
        reasons = reasons_by_row(model, rows, is_anomaly, _MAX_REASONS)
        return cls(
            request,
            model,
            scores,
            is_anomaly=is_anomaly,
            reasons=reasons,
        )

    @property
    def row_numbers(self) -> list[int]:
        """The number of each row in its request, from 0 on."""
        return self.request.numbering[:, 0].tolist()

    @property
    def missing_rows(self) -> list[tuple[int, int]]:
        """The first and the last number of each stretch of the request that is not captured."""
        return list(missing_rows(self.request.numbering))

    @property
    def is_reproduced(self) -> bool:
        return bool((np.abs(self.scores - self.request.scores) <= TOLERANCE).all())

    def to_json(self, request_id: str) -> JsonObject:
        return {
            "request_id": request_id,
            "model_version": self.model.version,
            "model_digest": self.model.digest,
            "rows": self.request.rows.X.tolist(),
            "row_numbers": self.row_numbers,
            "missing_rows": self.missing_rows,
            "features": self.request.rows.names,
            "captured_scores": self.request.scores.tolist(),
            "scores": self.scores.tolist(),
            "prediction": np.where(self.is_anomaly, -1, 1).tolist(),
            "reasons": self.reasons,
            "reproduced": self.is_reproduced,
        }

    def table_rows(self) -> Iterator[tuple[object, ...]]:
        for i, number in enumerate(self.row_numbers):
            features = ", ".join(reason["feature"] for reason in self.reasons[i])
            captured = f"{self.request.scores[i]:.12f}"
            yield number, captured, f"{self.scores[i]:.12f}", bool(self.is_anomaly[i]), features

    def summary(self) -> str:
        outcome = "reproduced" if self.is_reproduced else "NOT reproduced"
        summary = f"version {self.model.version} ({self.model.digest[:12]}): {outcome}"
        return f"{summary}{self._gap_note()}"

    def _missing_stretches(self) -> str:
        return ", ".join(f"{first}-{last}" for first, last in self.missing_rows)

    def _gap_note(self) -> str:
        if not self.missing_rows:
            return ""
        return (
            f"\nnot captured: rows {self._missing_stretches()} of this request. They lie in a "
            "window that is not full yet, was judged a broken one (a data break), or is no longer "
            "kept"
        )
