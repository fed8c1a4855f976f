"""`make bench ARGS=entities`: a million entities, one row each a minute, in the context's shards.

Two processes, each one shard with half of the entities, as Ray would run them: rows come in batches
and are made into rows of the model. Ray's messages and the forest are not in it.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import numpy as np
import psutil

ENTITIES = 1_000_000
FEATURES = 12
SHARDS = 2
BATCH_ROWS = 5_000
ROUNDS = 2  # each entity has so many rows
NEEDED_ROWS_S = ENTITIES / 60
STEPS = "diff:1,mean:5"
MEMORY_MB = 1500  # of the rows, over both shards


def entities() -> list[dict[str, Any]]:
    """Rows a second and memory of both shards together, beside what is needed."""
    with multiprocessing.get_context("spawn").Pool(SHARDS) as pool:
        began = time.monotonic()
        shards = pool.map(_run_shard, range(SHARDS))
        seconds = time.monotonic() - began
    rows = sum(shard["rows"] for shard in shards)
    busiest = max(shard["seconds"] for shard in shards)
    return [
        {
            "entities": sum(shard["entities"] for shard in shards),
            "rows kept of each": shards[0]["depth"],
            "rows": rows,
            "rows a second": round(rows / busiest),
            "needed": round(NEEDED_ROWS_S),
            "ratio": round(rows / busiest / NEEDED_ROWS_S, 2),
            "MB of both": round(sum(shard["mb"] for shard in shards)),
            "evicted": sum(shard["evicted"] for shard in shards),
            "seconds in all": round(seconds),
        }
    ]


def _run_shard(number: int) -> dict[str, Any]:
    from serve.model.context_keeper import RawRows
    from serve.model.context_limits import ContextLimits
    from serve.model.context_store import ContextStore
    from train.table.transform.feature_transform import FeatureTransform

    transform = FeatureTransform.parse(STEPS, tuple(f"f{j}" for j in range(FEATURES)))
    own = ENTITIES // SHARDS
    limits = ContextLimits(entities=own, max_bytes=MEMORY_MB * 2**20 // SHARDS)
    store = ContextStore(FEATURES, transform.length, limits)
    store.learn("bench", transform)
    X = np.random.default_rng(number).normal(10, 1, (BATCH_ROWS, FEATURES))
    spent = 0.0
    rows = 0
    for turn in range(ROUNDS):
        for begin in range(0, own, BATCH_ROWS):
            names = [f"host-{number}-{i:07d}" for i in range(begin, begin + BATCH_ROWS)]
            batch = RawRows(X, names, np.full(BATCH_ROWS, 60.0 * turn))
            began = time.perf_counter()
            store.lift(["bench"], batch.X, batch.entities, batch.times, 1e6)
            spent += time.perf_counter() - began
            rows += BATCH_ROWS
    return {
        "entities": len(store),
        "depth": store.depth,
        "rows": rows,
        "seconds": spent,
        "mb": psutil.Process().memory_info().rss / 2**20,
        "evicted": store.counts.evicted,
    }
