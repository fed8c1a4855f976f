"""Fit an IsolationForest on Ray Train workers: each fits its share of the trees on a random shard, the driver merges them.

Workers import this module and little else, so it stays light: their imports are most of the time a fit takes.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import skops.io
from numpy.typing import NDArray
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from sklearn.ensemble import IsolationForest

from train.errors import DataError, VigilError
from train.settings import TrainSettings

# skops refuses what it does not know. The tree is a C struct, so a hostile file could still read out of bounds: parts
# come from our own workers, and serving reads the verified bundle instead.
SKOPS_TRUSTED = ["sklearn.tree._tree.Tree"]


def fit(X: NDArray[np.float64], settings: TrainSettings, storage: Path) -> IsolationForest:
    """The merged forest of a Ray Train run over the rows `X` [n, d]; `storage` holds the parts meanwhile.

    Raises VigilError when the run fails after one retry.
    """
    name = uuid.uuid4().hex
    # Every shard needs max_samples rows, every worker at least one tree.
    workers = max(1, min(settings.workers, len(X) // settings.max_samples, settings.n_estimators))
    config = settings.model_dump(include={"n_estimators", "max_samples", "max_features", "seed"})
    trainer = DataParallelTrainer(
        _fit_shard,
        train_loop_config={**config, "rows": ray.put(X.astype(np.float32))},
        scaling_config=ray.train.ScalingConfig(num_workers=workers, resources_per_worker={"CPU": settings.cpus_per_worker}),
        run_config=ray.train.RunConfig(
            name=name, storage_path=str(storage), failure_config=ray.train.FailureConfig(max_failures=1)
        ),
    )
    try:
        result = trainer.fit()
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as folder:
            parts = [skops.io.load(part, trusted=SKOPS_TRUSTED) for part in sorted(Path(folder).glob("part-*.skops"))]
    except ray.train.TrainingFailedError as error:
        raise VigilError(f"the training job failed: {error}") from error
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)
    return merge(parts)


def _fit_shard(config: dict[str, Any]) -> None:
    """One worker: all ranks report their file under one checkpoint name, which gathers the parts in storage."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    rows = ray.get(config["rows"])
    shard = np.random.default_rng(config["seed"]).permutation(len(rows))[rank::world]
    trees = len(range(rank, config["n_estimators"], world))
    part = fit_part(
        rows[shard],
        trees=trees,
        max_samples=config["max_samples"],
        max_features=config["max_features"],
        seed=config["seed"] + rank,
    )
    with tempfile.TemporaryDirectory() as folder:
        skops.io.dump(part, Path(folder) / f"part-{rank:05d}.skops")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"rows": len(shard), "trees": trees}, checkpoint=checkpoint, checkpoint_dir_name="parts")


def fit_part(X: NDArray[Any], *, trees: int, max_samples: int, max_features: float, seed: int) -> IsolationForest:
    """Fit `trees` trees on the shard `X` [n, d].

    Raises DataError when the shard has fewer than `max_samples` rows: scikit-learn would silently use fewer, and parts
    with different `max_samples` cannot be merged.
    """
    if len(X) < max_samples:
        raise DataError(
            f"{len(X)} rows are fewer than max_samples={max_samples}: "
            "give more rows, or set VIGIL_TRAIN_MAX_SAMPLES lower, or use fewer workers"
        )
    estimator: Any = IsolationForest
    return estimator(n_estimators=trees, max_samples=max_samples, max_features=max_features, random_state=seed, n_jobs=1).fit(X)


def merge(parts: Sequence[IsolationForest]) -> IsolationForest:
    """Join forests fitted on random shards into one plain scikit-learn IsolationForest.

    Every tree sees `max_samples` random rows either way, so on random shards the merged forest is as good as one fit.
    It touches private attributes of scikit-learn, which is why its version is pinned.
    """
    members: Sequence[Any] = parts
    kinds = {(part._max_samples, part._max_features, part.n_features_in_) for part in members}
    if len(kinds) != 1:
        raise ValueError(f"parts differ in (max_samples, max_features, features): {sorted(kinds)}")
    whole: Any = parts[0]
    for name in ("estimators_", "estimators_features_", "_decision_path_lengths", "_average_path_length_per_tree"):
        setattr(whole, name, [item for part in parts for item in getattr(part, name)])
    whole.n_estimators = len(whole.estimators_)
    return whole
