"""`make bench ARGS=reasons`: how often the reasons are features that labelled the anomaly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.model import reference, threshold
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.model.reasons import weigh_reasons
from train.table.dataset import read_table, split_holdout
from vigil.arrays import Floats
from vigil.errors import DataError

ALERT_RATE = 0.01
RANKINGS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "path gain": lambda gains, z: gains,
    "robust z": lambda gains, z: np.abs(z),
    "gain x z (served)": weigh_reasons,
}


def reasons() -> list[dict[str, Any]]:
    """Labelled segments of server telemetry with a row over the threshold.

    Is the first feature a labelled culprit, and what share of the first three? Means over
    segments, of the means over their rows over the threshold.
    """
    folder = Path(os.environ.get("VIGIL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        raise DataError(
            f"set VIGIL_TEST_DATA to the folder of the labelled tables: {folder} is absent"
        )
    return [_agreement(name, sorted((folder / name).glob("*.npz"))) for name in ("asd", "smd")]


def _agreement(name: str, files: list[Path]) -> dict[str, Any]:
    found = [segment for file in files for segment in _segments(file)]
    seen = [segment for segment in found if segment is not None]
    line: dict[str, Any] = {
        "tables": f"{name} ({len(files)})",
        "segments": len(found),
        "over the threshold": len(seen),
    }
    line["top-1 by chance"] = round(float(np.mean([culprits.mean() for culprits, _, _ in seen])), 3)
    for ranking, rank in RANKINGS.items():
        hits = [culprits[np.argsort(-rank(gains, z), axis=1)[:, :3]] for culprits, gains, z in seen]
        line[f"{ranking}: top-1"] = round(float(np.mean([hit[:, 0].mean() for hit in hits])), 3)
        line[f"{ranking}: top-3"] = round(float(np.mean([hit.mean() for hit in hits])), 3)
    return line


def _segments(file: Path) -> Iterator[tuple[NDArray[np.bool_], Floats, Floats] | None]:
    """For each labelled segment which features caused it [d], and gains and z [rows, d].

    Gains and z are of its rows over the threshold.
    """
    dataset = read_table(file)
    assert dataset.test is not None
    fitted, held = split_holdout(dataset.train, 0.2, seed=0)
    forest = CompiledForest.compile(
        fit_part(fitted.X, trees=100, max_samples=256, max_features=1.0, seed=0)
    )
    limit = threshold.to_alert_rate(forest.score(held.X), ALERT_RATE).value
    about = reference.build_reference(
        fitted.X, fitted.names, forest.score(fitted.X), window_rows=500
    )
    scores = forest.score(dataset.test.X)
    for line in (file.parent / "interpretation_label" / f"{file.stem}.txt").read_text().split():
        span, _, causes = line.partition(":")
        first, last = map(int, span.split("-"))
        rows = dataset.test.X[first : last + 1][scores[first : last + 1] > limit]
        culprits = np.isin(
            np.arange(len(fitted.names)), [int(cause) - 1 for cause in causes.split(",")]
        )
        yield (
            (culprits, forest.attribute(rows), (rows - about.median) / about.scale)
            if len(rows)
            else None
        )
