"""Which rows a job is fitted, calibrated and judged on: of its table, and of those that were captured since."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.captured import read_captured
from train.table.dataset import Dataset, Fingerprint, read_table, split_holdout
from train.table.table import Table
from train.table.transform import Transform, parse
from vigil.errors import DataError


@dataclass(frozen=True)
class TrainingData:
    """The rows of one job: what is fitted on, the recent ones that calibrate, all the world as it is now in its order
    (the drift reference), and what is held out."""

    fit: Table
    calibration: Table
    reference_rows: Table
    held_out: Table
    test: Table | None
    fingerprint: Fingerprint
    transform: Transform | None


def load_training_data(
    spec: JobSpec, settings: TrainSettings, progress: JobProgress
) -> TrainingData:
    """Read what the job asks for; raises DataError where it cannot be learnt from."""
    dataset = _read(spec, settings, progress)
    reference_rows = dataset.recent or dataset.train
    fit, held_out = split_holdout(dataset.train, settings.holdout, settings.seed)
    calibration, fingerprint = fit, dataset.fingerprint
    if spec.captured is not None:
        live = read_captured(spec.captured, spec.since)
        if live is None or live.names != fit.names:
            raise DataError(
                f"no captured rows with the features of {spec.data} in {spec.captured} since {spec.since:.0f}"
            )
        # A random share is held out: live rows span too little time for their last part to stand for all of them.
        calibration, held_out = split_holdout(
            replace(live, ordered=False), settings.holdout, settings.seed
        )
        # By default as many old rows as new ones: the model learns the new world and does not forget the old one.
        rng = np.random.default_rng(settings.seed)
        most = min(len(fit), round(len(calibration) / settings.captured_weight))
        old = fit.take(np.sort(rng.choice(len(fit), most, replace=False)))
        fit, reference_rows = Table(np.concatenate([old.X, calibration.X]), fit.names), live
        both = hashlib.sha256(f"{fingerprint.digest} {live.fingerprint}".encode()).hexdigest()
        fingerprint = replace(fingerprint, digest=both, rows=fingerprint.rows + len(live))
    if len(fit) < settings.max_samples:
        raise DataError(
            f"{len(fit)} rows are left to fit on after {settings.holdout:.0%} are held out, fewer than "
            f"max_samples={settings.max_samples}: give more rows, or set VIGIL_TRAIN_MAX_SAMPLES lower"
        )
    if len(fit.constant) == len(fit.names):
        raise DataError(f"every feature of {spec.data} is constant: there is nothing to learn")
    transform = None
    if spec.over_time:
        steps = len(spec.over_time.split(","))
        transform = parse(spec.over_time, fit.names[: len(fit.names) // (steps + 1)])
    return TrainingData(
        fit, calibration, reference_rows, held_out, dataset.test, fingerprint, transform
    )


def _read(spec: JobSpec, settings: TrainSettings, progress: JobProgress) -> Dataset:
    columns = spec.columns if spec.columns.label else replace(spec.columns, label=spec.label)
    return read_table(
        spec.data,
        columns=columns,
        most=settings.sample_rows,
        seed=settings.seed,
        over_time=spec.over_time,
        tasks=settings.workers,
        progress=progress.rows,
    )
