"""Fit an IsolationForest on Ray Train workers: each fits its share of the trees on a random shard, the driver merges them.

Workers import this module and little else, so it stays light: their imports are most of the time a fit takes.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import ray
import ray.train
import skops.io
from numpy.typing import NDArray
from ray._raylet import PlacementGroupID
from ray.exceptions import RayActorError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group
from sklearn.ensemble import IsolationForest

from train.settings import TrainSettings
from vigil.arrays import Floats
from vigil.errors import DataError, VigilError

# skops refuses what it does not know. The tree is a C struct, so a hostile file could still read out of bounds: parts
# come from our own workers, and serving reads the verified bundle instead.
SKOPS_TRUSTED = ["sklearn.tree._tree.Tree"]
MAX_FIT_RETRIES = 2  # of a run in which a worker died
MAX_START_FAILURES = (
    5  # times that a group of workers may fail to start: each waits up to a minute for CPUs
)
PROGRESS_POLL_INTERVAL_S = 0.5


def fit(
    X: Floats,
    settings: TrainSettings,
    storage: Path,
    fitted: Callable[[int], None] = lambda _: None,
) -> IsolationForest:
    """The merged forest of a Ray Train run over the rows `X` [n, d]; `storage` holds the parts meanwhile, and `fitted` is told
    how many trees there are.

    A worker that dies costs a retry. Raises VigilError when the run fails for good.
    """
    rows, reserved = ray.put(X.astype(np.float32)), _reserved()
    for retries in reversed(range(MAX_FIT_RETRIES + 1)):
        folder = storage / uuid.uuid4().hex
        try:
            return merge_forests(
                _attended(_trainer(len(X), rows, settings, folder), folder, fitted)
            )
        except (ray.train.TrainingFailedError, RayActorError) as error:
            if not retries or not _died(error):
                raise VigilError(f"the training job failed: {error}") from error
            for group in (
                _reserved() - reserved
            ):  # Ray would let go of them when the job ends: a retry would get no CPUs
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("unreachable")


def _reserved() -> set[str]:
    """The placement groups that this job holds; the id of one ends with that of its job."""
    job = ray.get_runtime_context().get_job_id()
    return {
        group
        for group, told in placement_group_table().items()
        if group.endswith(job) and told["state"] != "REMOVED"
    }


def _died(error: Exception) -> bool:
    """Whether it is a death that Ray Train does not try again by itself: of its controller, or of a worker that is only just
    being handed the function (in Ray 2.60 that is an error of the controller, which is final)."""
    return isinstance(error, RayActorError) or isinstance(
        getattr(error, "controller_failure", None), RayActorError
    )


def _trainer(n: int, rows: Any, settings: TrainSettings, folder: Path) -> DataParallelTrainer:
    # Every shard needs max_samples rows, every worker at least one tree.
    workers = max(1, min(settings.workers, n // settings.max_samples, settings.n_estimators))
    config = settings.model_dump(include={"n_estimators", "max_samples", "max_features", "seed"})
    return DataParallelTrainer(
        _fit_shard,
        train_loop_config={**config, "rows": rows, "told": str(folder)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, resources_per_worker={"CPU": settings.cpus_per_worker}
        ),
        run_config=ray.train.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=ray.train.FailureConfig(
                max_failures=MAX_FIT_RETRIES, controller_failure_limit=MAX_START_FAILURES
            ),
        ),
    )


def _attended(
    trainer: DataParallelTrainer, folder: Path, fitted: Callable[[int], None]
) -> list[IsolationForest]:
    """The parts of a run. It runs in a thread, so that this one can tell how far it is, and takes Ctrl-C itself: Ray Train's
    own handler of that would end the process as if all were well."""
    result: Future[ray.train.Result] = Future()

    def run() -> None:
        try:
            result.set_result(trainer.fit())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    told = 0
    while not wait([result], PROGRESS_POLL_INTERVAL_S).done:
        if (trees := sum(map(_count, folder.glob("trees-*")))) != told:  # fewer, after a retry
            fitted(told := trees)
    checkpoint = result.result().checkpoint
    assert checkpoint is not None
    with checkpoint.as_directory() as parts:
        return [
            skops.io.load(part, trusted=SKOPS_TRUSTED)
            for part in sorted(Path(parts).glob("part-*.skops"))
        ]


def _count(file: Path) -> int:
    with suppress(OSError, ValueError):  # being written
        return int(file.read_text())
    return 0


def _fit_shard(config: dict[str, Any]) -> None:
    """One worker: all ranks report their file under one checkpoint name, which gathers the parts in storage."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    rows = ray.get(config["rows"])
    shard = np.random.default_rng(config["seed"]).permutation(len(rows))[rank::world]
    trees = len(range(rank, config["n_estimators"], world))
    told = Path(config["told"]) / f"trees-{rank:05d}"
    part = fit_part(
        rows[shard],
        trees=trees,
        max_samples=config["max_samples"],
        max_features=config["max_features"],
        seed=config["seed"] + rank,
        fitted=lambda done: told.write_text(str(done)),
    )
    with tempfile.TemporaryDirectory() as folder:
        skops.io.dump(part, Path(folder) / f"part-{rank:05d}.skops")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(
            {"rows": len(shard), "trees": trees}, checkpoint=checkpoint, checkpoint_dir_name="parts"
        )


def fit_part(
    X: NDArray[Any],
    *,
    trees: int,
    max_samples: int,
    max_features: float,
    seed: int,
    fitted: Callable[[int], Any] = lambda _: None,
) -> IsolationForest:
    """Fit `trees` trees on the shard `X` [n, d]. `fitted` is told after each tenth of them how many there are; scikit-learn draws
    the same trees as if it fitted them at once.

    Raises DataError when the shard has fewer than `max_samples` rows: scikit-learn would silently use fewer, and parts
    with different `max_samples` cannot be merged.
    """
    if len(X) < max_samples:
        raise DataError(
            f"{len(X)} rows are fewer than max_samples={max_samples}: "
            "give more rows, or set VIGIL_TRAIN_MAX_SAMPLES lower, or use fewer workers"
        )
    rows = X.astype(np.float32, copy=False)  # as scikit-learn would, each time
    estimator: Any = IsolationForest
    part = estimator(
        max_samples=max_samples,
        max_features=max_features,
        random_state=seed,
        n_jobs=1,
        warm_start=True,
    )
    for done in sorted({-(-trees * tenth // 10) for tenth in range(1, 11)}):
        part.set_params(n_estimators=done).fit(rows)
        fitted(done)
    return part.set_params(warm_start=False)


def merge_forests(parts: Sequence[IsolationForest]) -> IsolationForest:
    """Join forests fitted on random shards into one plain scikit-learn IsolationForest.

    Every tree sees `max_samples` random rows either way, so on random shards the merged forest is as good as one fit.
    It touches private attributes of scikit-learn, which is why its version is pinned.
    """
    members: Sequence[Any] = parts
    kinds = {(part._max_samples, part._max_features, part.n_features_in_) for part in members}
    if len(kinds) != 1:
        raise ValueError(f"parts differ in (max_samples, max_features, features): {sorted(kinds)}")
    whole: Any = parts[0]
    for name in (
        "estimators_",
        "estimators_features_",
        "_decision_path_lengths",
        "_average_path_length_per_tree",
    ):
        setattr(whole, name, [item for part in parts for item in getattr(part, name)])
    whole.n_estimators = len(whole.estimators_)
    return whole
