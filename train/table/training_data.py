"""Rows that a job is fitted, calibrated and judged on: of its table, and captured since."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from train.model.repeats import distinct_rows
from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.captured import read_captured
from train.table.categories import CategoryCodec
from train.table.checks import check_varies
from train.table.dataset import (
    Dataset,
    Fingerprint,
    read_table,
    split_holdout,
)
from train.table.impute import Imputation
from train.table.row_making import RowMaking
from train.table.table import Table
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Floats
from vigil.digests import text_digest
from vigil.errors import DataError


@dataclass(frozen=True)
class TrainingData:
    """The tables of one job.

    fit: rows to fit on; calibration: the recent ones of them, that the threshold is fitted to;
    reference_rows: recent rows in their order, for the drift reference; held_out: rows to judge by,
    that no forest is fitted on; test: labelled rows to test on, where the table has them; unused:
    columns of the table that are no features; context_columns: those of them that say whose a row
    is, and of when; imputation: of values that were missing; categories: makes numbers of words;
    unknown: rows with a word that it does not know; over_time: the transform as it is written, ""
    for none; of_champion: the held-out rows as the champion makes them, where its steps
    have learnt otherwise
    """

    fit: Table
    calibration: Table
    reference_rows: Table
    held_out: Table
    test: Table | None
    fingerprint: Fingerprint
    transform: FeatureTransform | None
    unused: tuple[str, ...] = ()
    context_columns: Mapping[str, str | None] = field(default_factory=dict)
    imputation: Imputation | None = None
    over_time: str = ""
    of_champion: Table | None = None
    categories: CategoryCodec | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)


def load_training_data(
    spec: JobSpec,
    settings: TrainSettings,
    progress: JobProgress,
    champion: RowMaking | None = None,
) -> TrainingData:
    """Read the rows that `spec` names; raises DataError where they cannot be learnt from.

    champion: how it makes rows. Captured rows are as it made them, and so are those beside them.
    """
    making = champion if champion is not None and _is_asked_for(champion, spec) else None
    dataset = _read(spec, settings, progress, making)
    for remark in dataset.remarks:
        progress.say(remark)
    data = _from_table(dataset, settings, is_shuffled=spec.shuffled)
    if champion is not None and _makes_others(champion, data.transform):
        others = _read(spec, settings, progress, champion)
        data = replace(data, of_champion=_held_out_again(data, others, settings, spec))
    if spec.captured is not None:
        live = _read_live(spec, data.fit.names, making)
        data = _with_captured(data, live, settings)
    _check_learnable(data, spec, settings)
    return data


def _read(
    spec: JobSpec,
    settings: TrainSettings,
    progress: JobProgress,
    making: RowMaking | None,
) -> Dataset:
    return read_table(
        spec.data,
        columns=spec.columns,
        max_rows=settings.sample_rows,
        seed=settings.seed,
        over_time=spec.transform,
        imputing=spec.imputing,
        making=making,
        fit_share=1.0 if spec.shuffled else 1 - settings.holdout,
        tasks=settings.workers,
        on_rows=progress.rows,
    )


def _makes_others(champion: RowMaking, transform: FeatureTransform | None) -> bool:
    """Whether the champion makes other values of the same features, by what it has learnt."""
    if transform is None or champion.transform is None or champion.transform == transform:
        return False
    return champion.transform.outputs == transform.outputs


def _held_out_again(
    data: TrainingData,
    made_otherwise: Dataset,
    settings: TrainSettings,
    spec: JobSpec,
) -> Table | None:
    """The held-out rows of `data` as they are made otherwise; None where those are not the same."""
    held_out = _from_table(made_otherwise, settings, is_shuffled=spec.shuffled).held_out
    return held_out if len(held_out) == len(data.held_out) else None


def _is_asked_for(champion: RowMaking, spec: JobSpec) -> bool:
    """Whether a job learns from captured rows, and names no other transform than theirs."""
    if spec.captured is None:
        return False
    return spec.over_time is None or champion.has_steps_of(spec.transform or "")


def _from_table(
    dataset: Dataset, settings: TrainSettings, *, is_shuffled: bool = False
) -> TrainingData:
    rows = dataset.train.take(distinct_rows(_with_labels(dataset.train)))
    recent = dataset.recent or rows
    if is_shuffled:
        rows = _shuffle(rows, settings.seed)
        recent = rows
    fit, held_out = split_holdout(rows, settings.holdout, settings.seed)
    return TrainingData(
        fit=fit,
        calibration=fit,
        reference_rows=recent,
        held_out=held_out,
        test=dataset.test,
        fingerprint=dataset.fingerprint,
        transform=dataset.transform,
        unused=dataset.unused,
        context_columns=dataset.context_columns,
        imputation=dataset.imputation,
        over_time=dataset.over_time,
        categories=dataset.categories,
        unknown=dataset.unknown,
    )


def _with_labels(rows: Table) -> Floats:
    if rows.labels is None:
        return rows.X
    return np.column_stack([rows.X, rows.labels]).astype(np.float64)


def _shuffle(rows: Table, seed: int) -> Table:
    """The rows in a random order: no block of them then stands for a time."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return replace(rows.take(order), ordered=False)


def _read_live(
    spec: JobSpec,
    names: tuple[str, ...],
    making: RowMaking | None,
) -> Table:
    assert spec.captured is not None
    until = math.inf if spec.until is None else spec.until
    live = read_captured(
        spec.captured,
        spec.since,
        until,
        made_by=None if making is None else making.key,
    )
    if live is None or live.names != names:
        raise DataError(
            f"no captured rows with the features of {spec.data} in {spec.captured} "
            f"since {spec.since:.0f}"
        )
    return live


def _with_captured(
    data: TrainingData,
    live: Table,
    settings: TrainSettings,
) -> TrainingData:
    # Live rows span too little time for their last part to stand for all: a random share is held
    # out.
    shuffled = replace(live, ordered=False)
    calibration, held_out = split_holdout(shuffled, settings.holdout, settings.seed)
    old = _baseline_share(data.fit, len(calibration), settings)
    return replace(
        data,
        fit=Table(np.concatenate([old.X, calibration.X]), data.fit.names),
        calibration=calibration,
        reference_rows=live,
        held_out=held_out,
        fingerprint=_joined_fingerprint(data.fingerprint, live),
    )


def _baseline_share(
    fit: Table,
    live_rows: int,
    settings: TrainSettings,
) -> Table:
    """By default as many old rows as new ones: a model learns the new, and forgets no old ones."""
    rng = np.random.default_rng(settings.seed)
    count = min(len(fit), round(live_rows / settings.captured_weight))
    return fit.take(np.sort(rng.choice(len(fit), count, replace=False)))


def _joined_fingerprint(fingerprint: Fingerprint, live: Table) -> Fingerprint:
    return replace(
        fingerprint,
        digest=text_digest(f"{fingerprint.digest} {live.fingerprint}"),
        rows=fingerprint.rows + len(live),
    )


def _check_learnable(
    data: TrainingData,
    spec: JobSpec,
    settings: TrainSettings,
) -> None:
    fit = data.fit
    if len(fit) < settings.max_samples:
        raise DataError(
            f"{len(fit)} rows are left to fit on after {settings.holdout:.0%} are held out, "
            f"fewer than max_samples={settings.max_samples}: give more rows, "
            "or set VIGIL_TRAIN_MAX_SAMPLES lower"
        )
    check_varies(fit, spec.data)
