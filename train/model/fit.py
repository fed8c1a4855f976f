"""Fit an IsolationForest on Ray Train workers: each fits its share of the trees on a random
shard, the driver merges them.

Workers import this module and little else, so it stays light: their imports are most of the time
a fit takes.
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
from typing import Any, NamedTuple

import numpy as np
import ray
import ray.train
from ray._raylet import PlacementGroupID
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group
from sklearn.ensemble import IsolationForest

from train.model.columns import FitColumns
from train.model.grow import grow_trees
from train.model.shard import Shard
from train.model.skops_forest import dump_forest, load_forest
from train.model.trainer import LeanTrainer
from train.settings import TrainSettings
from vigil.arrays import Array, Floats, Positions
from vigil.errors import DataError, VigilError
from vigil.json_types import JsonObject

MAX_FIT_RETRIES = 2  # of a run in which a worker died
# Times that a group of workers may fail to start: each waits up to a minute for CPUs.
MAX_START_FAILURES = 5
PROGRESS_POLL_INTERVAL_S = 0.5
_REPORTS = 10  # of the progress of a part
_MERGED = (
    "estimators_",
    "estimators_features_",
    "_decision_path_lengths",
    "_average_path_length_per_tree",
)
TreesListener = Callable[[int], Any]  # is told how many trees there are


def _ignore(trees: int) -> None:
    """Listen to nothing."""


def fit(
    X: Floats,
    settings: TrainSettings,
    storage: Path,
    fitted: TreesListener = _ignore,
    names: Sequence[str] = (),
) -> IsolationForest:
    """Return the merged forest of a Ray Train run over the rows `X` [n, d], features `names`.

    `storage` holds the parts meanwhile, and `fitted` is told how many trees there are. A worker
    that dies costs a retry. Raises VigilError when the run fails for good.
    """
    rows = _StoredRows(ray.put(X.astype(np.float32)), len(X), tuple(names))
    reserved = _reserved_groups()
    for retries in reversed(range(MAX_FIT_RETRIES + 1)):
        folder = storage / uuid.uuid4().hex
        try:
            return _fit_once(
                _trainer(rows, settings, folder),
                folder,
                fitted,
            )
        except (ray.train.TrainingFailedError, RayActorError) as error:
            if not retries or not _is_death(error):
                raise VigilError(f"the training job failed: {error}") from error
            _release_groups(_reserved_groups() - reserved)
    raise AssertionError("unreachable")


def _fit_once(
    trainer: LeanTrainer,
    folder: Path,
    fitted: TreesListener,
) -> IsolationForest:
    """The forest of one run, which keeps its parts in `folder` meanwhile."""
    try:
        return merge_forests(_run(trainer, folder, fitted))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reserved_groups() -> set[str]:
    """The placement groups that this job holds; the id of one ends with that of its job."""
    job = ray.get_runtime_context().get_job_id()
    return {
        group
        for group, entry in placement_group_table().items()
        if group.endswith(job) and entry["state"] != "REMOVED"
    }


def _release_groups(groups: set[str]) -> None:
    """Release what Ray would only when the job ends: a retry would get no CPUs."""
    for group in groups:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def _is_death(error: Exception) -> bool:
    """Whether it is a death that Ray Train does not try again by itself.

    That of its controller, or of a worker that is only just being handed the function (in Ray
    2.60 that is an error of the controller, which is final).
    """
    cause = getattr(error, "controller_failure", None)
    return isinstance(error, RayActorError) or isinstance(cause, RayActorError)


class _StoredRows(NamedTuple):
    """Rows in Ray's store, how many they are, and the names of their features."""

    reference: Any
    rows: int
    names: tuple[str, ...]


def _trainer(
    rows: _StoredRows,
    settings: TrainSettings,
    folder: Path,
) -> LeanTrainer:
    config = settings.model_dump(include={"n_estimators", "max_samples", "max_features", "seed"})
    return LeanTrainer(
        _fit_shard,
        train_loop_config={
            **config,
            "rows": rows.reference,
            "names": rows.names,
            "progress": str(folder),
        },
        scaling_config=_scaling(rows.rows, settings),
        run_config=_run_config(folder),
    )


def _scaling(n: int, settings: TrainSettings) -> ray.train.ScalingConfig:
    # Every worker needs at least one tree. Trees of a small shard see the same few rows: its forest
    # tells anomalies worse than one of the whole table.
    rows = max(settings.shard_rows, settings.max_samples)
    workers = min(settings.workers, n // rows, settings.n_estimators)
    return ray.train.ScalingConfig(
        num_workers=max(1, workers),
        resources_per_worker={"CPU": settings.cpus_per_worker},
    )


def _run_config(folder: Path) -> ray.train.RunConfig:
    failures = ray.train.FailureConfig(
        max_failures=MAX_FIT_RETRIES,
        controller_failure_limit=MAX_START_FAILURES,
    )
    return ray.train.RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=failures,
    )


def _run(trainer: LeanTrainer, folder: Path, fitted: TreesListener) -> list[IsolationForest]:
    """The parts of a run; `fitted` is told how far it is."""
    result = _start(trainer)
    reported = 0
    while not wait([result], PROGRESS_POLL_INTERVAL_S).done:
        trees = _count_trees(folder)
        if trees != reported:  # fewer, after a retry
            reported = trees
            fitted(trees)
    return _load_parts(result.result())


def _count_trees(folder: Path) -> int:
    """Trees that all workers have fitted so far."""
    return sum(map(_read_count, folder.glob("trees-*")))


def _load_parts(result: ray.train.Result) -> list[IsolationForest]:
    checkpoint = result.checkpoint
    assert checkpoint is not None
    with checkpoint.as_directory() as parts:
        return [load_forest(part) for part in sorted(Path(parts).glob("part-*.skops"))]


def _start(trainer: LeanTrainer) -> Future[ray.train.Result]:
    """Run in a thread, so that this one can tell how far it is, and takes Ctrl-C itself: Ray
    Train's own handler of that would end the process as if all were well."""
    result: Future[ray.train.Result] = Future()

    def run() -> None:
        try:
            result.set_result(trainer.fit())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result


def _read_count(file: Path) -> int:
    with suppress(OSError, ValueError):  # being written
        return int(file.read_text())
    return 0


def _fit_shard(config: JsonObject) -> None:
    """Fit the part of one worker: all ranks report their file under one checkpoint name, which
    gathers the parts in storage."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    workers = context.get_world_size()
    rows: Any = ray.get(config["rows"])
    places = _shard(config["seed"], len(rows), rank, workers)
    trees = len(range(rank, config["n_estimators"], workers))
    part = fit_part(
        rows,
        trees=trees,
        max_samples=config["max_samples"],
        max_features=config["max_features"],
        seed=config["seed"] + rank,
        names=config["names"],
        places=places,
        fitted=_progress_writer(config, rank),
    )
    _report(
        part,
        rank,
        {"rows": len(places), "trees": trees},
    )


def _shard(
    seed: int,
    rows: int,
    rank: int,
    workers: int,
) -> Positions:
    """Places of the rows of one worker: a random share of all."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[rank::workers]


def _progress_writer(config: JsonObject, rank: int) -> TreesListener:
    file = Path(config["progress"]) / f"trees-{rank:05d}"
    return lambda trees: file.write_text(str(trees))


def _report(
    part: IsolationForest,
    rank: int,
    metrics: JsonObject,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dump_forest(part, Path(folder) / f"part-{rank:05d}.skops")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(
            metrics,
            checkpoint=checkpoint,
            checkpoint_dir_name="parts",
        )


def fit_part(
    X: Array,
    *,
    trees: int,
    max_samples: int,
    max_features: float,
    seed: int,
    names: Sequence[str] = (),
    places: Positions | None = None,
    fitted: TreesListener = _ignore,
) -> IsolationForest:
    """Return a forest of `trees` trees that is fitted on the rows `X` [n, d], features `names`.

    places [m]: the rows of `X` that the shard has, in its order; None: all. Of a long table few
    rows are read. `fitted` is told after each tenth of the trees how many there are. They are those
    of scikit-learn's own fit. Raises DataError when the shard has fewer than
    `max_samples` rows: scikit-learn would silently use fewer, and parts with different
    `max_samples` cannot be merged.
    """
    shard = Shard(X, places)
    _check_rows(len(shard), max_samples)
    columns = FitColumns.of(
        shard,
        names,
        may_leave_out=max_features == 1,
    )
    estimator: Any = IsolationForest
    part = estimator(
        n_estimators=trees,
        max_samples=max_samples,
        max_features=max_features,
        random_state=seed,
        n_jobs=1,
    )
    told = _milestones(trees)
    for done in grow_trees(part, lambda rows: columns.take(shard.rows(rows)), len(shard)):
        if done in told:
            fitted(done)
    columns.restore(part)
    return part


def _check_rows(rows: int, max_samples: int) -> None:
    if rows < max_samples:
        raise DataError(
            f"{rows} rows are fewer than max_samples={max_samples}: "
            "give more rows, or set VIGIL_TRAIN_MAX_SAMPLES lower, or use fewer workers"
        )


def _milestones(trees: int) -> set[int]:
    """Counts of trees after each tenth of them, rounded up."""
    return {-(-trees * tenth // _REPORTS) for tenth in range(1, _REPORTS + 1)}


def merge_forests(parts: Sequence[IsolationForest]) -> IsolationForest:
    """Join forests fitted on random shards into one plain scikit-learn IsolationForest.

    Every tree sees `max_samples` random rows either way, so on random shards the merged forest is
    as good as one fit. It touches private attributes of scikit-learn, which is why its version is
    pinned.
    """
    members: Sequence[Any] = parts
    _check_alike(members)
    whole: Any = members[0]
    for name in _MERGED:
        setattr(whole, name, _joined(members, name))
    whole.n_estimators = len(whole.estimators_)
    return whole


def _check_alike(parts: Sequence[Any]) -> None:
    kinds = {(part._max_samples, part._max_features, part.n_features_in_) for part in parts}
    if len(kinds) != 1:
        raise ValueError(f"parts differ in (max_samples, max_features, features): {sorted(kinds)}")


def _joined(parts: Sequence[Any], name: str) -> list[Any]:
    """The items of a list that each part has."""
    return [item for part in parts for item in getattr(part, name)]
