"""`vigil replay`: score the rows of an answered request again, with the version that answered it."""

from __future__ import annotations

import sys

import click
import numpy as np

from serve.http.predict import reasons_by_row
from train.settings import TrainSettings
from vigil.errors import DataError
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, print_table, report_errors

TOLERANCE = 1e-9


@click.command()
@click.argument("request_id")
@click.option("--captured", help="folder or s3:// URL of captured rows (default: the home's)")
@json_option
@report_errors
def replay(request_id: str, captured: str | None, as_json: bool) -> None:
    """Reproduce the scores of the request with REQUEST_ID (X-Request-Id of its answer) from its captured rows."""
    from serve.model.loaded import LoadedModel
    from train.connect import open_registry
    from train.table.captured import read_request

    home = HomeSettings().open()
    found = read_request(captured or home.captured, request_id)
    if found is None:
        raise DataError(
            f"no captured row of request {request_id!r} in {captured or home.captured}: rows are captured in full windows, as a "
            "sample (VIGIL_SERVE_CAPTURE_RATE), and kept for a while (VIGIL_DRIFT_KEEP_WINDOWS)"
        )
    rows, scores, version = found
    registry = open_registry(home, TrainSettings())
    known = registry.get(version)
    model = LoadedModel.warm(version, known.digest, registry.fetch(known, home.cache))
    again = model.bundle.forest.score(rows.X)
    anomalous = again > model.bundle.threshold.value
    reasons = reasons_by_row(model, rows.X, anomalous, 3)
    same = bool((np.abs(again - scores) <= TOLERANCE).all())
    if as_json:
        print_json(
            {
                "request_id": request_id,
                "model_version": version,
                "model_digest": known.digest,
                "rows": rows.X.tolist(),
                "features": rows.names,
                "captured_scores": scores.tolist(),
                "scores": again.tolist(),
                "prediction": np.where(anomalous, -1, 1).tolist(),
                "reasons": reasons,
                "reproduced": same,
            }
        )
    else:
        print_table(
            ("row", "captured score", "score again", "anomaly", "reasons"),
            [
                (
                    i,
                    f"{scores[i]:.12f}",
                    f"{again[i]:.12f}",
                    bool(anomalous[i]),
                    ", ".join(r["feature"] for r in reasons[i]),
                )
                for i in range(len(scores))
            ],
        )
        click.echo(
            f"version {version} ({known.digest[:12]}): {'reproduced' if same else 'NOT reproduced'}"
        )
    if not same:
        sys.exit(1)
