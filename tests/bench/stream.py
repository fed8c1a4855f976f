"""`make bench ARGS=stream`: how fast the consumer reads a file log, and what 20 SIGKILLs do.

It reads through a running platform.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.report import Ratio
from tests.bench.under_test import ENVIRONMENT
from tests.chaos import stream_kills
from tests.running import Vigil, free_port
from tests.scoring import scoring, small_model
from vigil.terminal import say

RECORDS, FEATURES, TRAINING_ROWS = 300_000, 30, 5000
KILLED_RECORDS, KILLS = 100_000, 20
BOUND = 20_000  # records a second


def stream() -> list[dict[str, Any]]:
    """One row a figure, with its bound; about two minutes."""
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as name:
        folder = Path(name)
        say(f"{KILLED_RECORDS} records, the consumer SIGKILLed {KILLS} times")
        with scoring(small_model()) as server:
            kills = stream_kills.run(folder / "kills", server.url, KILLED_RECORDS, KILLS)
        say(json.dumps(kills))
        rate = throughput(folder)
    never = ("lost", "invented", "duplicates", "poison_missing", "dead_letters_too_many")
    found = [
        Ratio(
            f"{kills['kills']} kills: {what}", float(kills[what]), 0, at_least=False, unit="records"
        )
        for what in never
    ]
    found.append(Ratio(f"file log, {FEATURES} features", rate, BOUND, unit="records/s"))
    return [ratio.row() for ratio in found]


def throughput(folder: Path) -> float:
    """Records a second, from first read to last checkpoint, on a platform with one replica."""
    rng = np.random.default_rng(0)
    np.savez(folder / "rows.npz", train=rng.normal(size=(TRAINING_ROWS, FEATURES)))
    (folder / "in").mkdir()
    X = rng.normal(size=(RECORDS, FEATURES)).round(4)
    with (folder / "in" / "0.jsonl").open("w") as log:
        log.writelines(
            json.dumps({"id": f"r{i}", "features": row}) + "\n" for i, row in enumerate(X.tolist())
        )
    say("starting the platform")
    with Vigil(folder / "home", free_port(), ENVIRONMENT).running(folder / "rows.npz") as vigil:
        names = (f"file:{folder / kind}" for kind in ("in", "out", "dead"))
        options = zip(("--source", "--sink", "--dead-letters"), names, strict=True)
        done = vigil.json(
            "stream", "consume", *(word for pair in options for word in pair), "--until-end"
        )
    say(json.dumps(done))
    if done["scored"] != RECORDS:
        raise AssertionError(f"{done['scored']} of {RECORDS} records were scored")
    return done["scored"] / done["seconds"]
