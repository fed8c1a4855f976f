"""The Ray Train job: data -> fit -> calibrate -> evaluate -> bundle -> gate -> register. Prints run id and version."""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest

from train.model import bundle, forest, gate, reference, threshold
from train.model.bundle import ModelBundle
from train.model.evaluate import (
    evaluate,
    golden_rates,
    measure_row_microseconds,
    plant_anomalies,
    score_agreement,
)
from train.model.fit import fit, fit_part
from train.model.forest import CompiledForest
from train.model.gate import GateVerdict
from train.model.plots import draw_plots
from train.progress import JobProgress, Listener
from train.registry.candidate import Candidate
from train.registry.describe import run_parameters
from train.registry.versions import Registry, Version
from train.settings import TrainSettings
from train.spec import JobResult, JobSpec
from train.table.source import is_s3
from train.table.table import Table
from train.table.training_data import TrainingData, load_training_data
from train.tune import TRANSFORMS, TuneTrial, search
from vigil.errors import RegistryError
from vigil.home import Home
from vigil.revision import checked_out_commit

REGISTER_S = 90.0  # longer than the lock of a driver that has died is respected
LIBRARIES = ("ray", "scikit-learn", "numpy", "mlflow", "skops", "safetensors")


def run_job(
    spec: JobSpec,
    settings: TrainSettings,
    registry: Registry,
    home: Home,
    listener: Listener | None = None,
) -> JobResult:
    """Train, judge and register one version, telling `listener`; needs a connected Ray.

    Raises DataError for unusable data and VigilError when the job fails; a failed job registers nothing.
    """
    key = spec.key or uuid.uuid4().hex
    if (done := registry.of_job(key)) is not None:
        return JobResult(done, registry.gate(done))
    progress = JobProgress(listener)
    champion = registry.champion()
    prior = registry.fetch(champion, home.cache) if champion else None
    with progress.phase("read"):
        rows = load_training_data(spec, settings, progress)
    trials: tuple[TuneTrial, ...] = ()
    if spec.tune:
        with progress.phase("tune"):
            spec, settings, rows, trials = _tune(spec, settings, rows, home, progress)
    progress.say(
        f"{len(rows.fit)} rows of {len(rows.fit.names)} features to fit, {len(rows.held_out)} held out"
    )
    for name in rows.fit.constant:
        progress.say(f"warning: feature {name!r} is constant; it is kept but carries nothing")
    with progress.phase("fit"):
        merged = fit(
            rows.fit.X,
            settings,
            home.state / "train",
            lambda trees: progress.trees(trees, settings.n_estimators),
        )
    progress.say(f"fitted {merged.n_estimators} trees on {settings.workers} workers")
    with progress.phase("calibrate"):
        model = _assemble(merged, rows, spec, settings, prior)
    with progress.phase("evaluate"):
        metrics, verdict = _judge(model, prior, rows, settings, drifted=spec.captured is not None)
    progress.say(verdict.text())
    tags = {
        "data_fingerprint": rows.fingerprint.digest,
        "trigger": spec.trigger,
        "job": key,
        "verdict": "passed" if verdict.passed else "failed",
    }
    metrics |= {f"seconds_{phase}": seconds for phase, seconds in progress.seconds.items()}
    candidate = Candidate(
        merged,
        model,
        run_parameters(asdict(spec), settings, model),
        metrics,
        tags,
        verdict.to_json(),
        rows.fingerprint,
        draw_plots(model, rows.held_out, rows.test or rows.held_out),
        settings.revision or checked_out_commit(),
        trials,
    )
    with progress.phase("register"):
        version = _register(key, candidate, registry)
    progress.say(f"registered version {version.version}")
    return JobResult(version, registry.gate(version))


def _tune(
    spec: JobSpec, settings: TrainSettings, rows: TrainingData, home: Home, progress: JobProgress
) -> tuple[JobSpec, TrainSettings, TrainingData, tuple[TuneTrial, ...]]:
    """The job with the best configuration that a search of `spec.tune` seconds finds, its rows, and all trials."""
    loaded = {spec.over_time: rows}

    def load(over_time: str) -> tuple[Table, Table]:
        if over_time not in loaded:
            loaded[over_time] = load_training_data(
                replace(spec, over_time=over_time), settings, progress
            )
        return loaded[over_time].fit, loaded[over_time].held_out

    # Only labels can say what a transform is worth: planted anomalies know no time.
    labelled = rows.held_out.mixed_labels is not None
    transforms = (
        TRANSFORMS
        if labelled and rows.fit.ordered and spec.captured is None and not spec.over_time
        else ()
    )
    best, trials = search(
        load, spec.over_time, transforms, settings, spec.tune, home.state / "tune", progress.say
    )
    return (
        replace(spec, over_time=best.over_time),
        best.settings(settings),
        loaded[best.over_time],
        trials,
    )


def _register(key: str, candidate: Candidate, registry: Registry) -> Version:
    """Two drivers of one job may have come this far: the lock lets one of them register, the other waits for what it makes."""
    deadline = time.monotonic() + REGISTER_S
    while True:
        if (done := registry.of_job(key)) is not None:
            return done
        with ExitStack() as held:
            try:
                held.enter_context(registry.exclusive("vigil train", f"job-{key}"))
            except RegistryError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
                continue
            return registry.of_job(key) or registry.register(candidate)


def _assemble(
    merged: IsolationForest,
    rows: TrainingData,
    spec: JobSpec,
    settings: TrainSettings,
    prior: ModelBundle | None,
) -> ModelBundle:
    compiled = CompiledForest.compile(merged)
    scores = compiled.score(rows.calibration.X)
    limit = threshold.to_alert_rate(scores, settings.budget)
    if (labels := rows.calibration.mixed_labels) is not None:
        by_count = settings.label_goal == "precision_at_k"
        limit = (
            threshold.to_count(scores, settings.alerts_k, settings.budget)
            if by_count
            else threshold.to_labels(scores, labels, settings.budget, settings.beta)
        )
    forest.set_threshold(merged, limit.value)
    ref = reference.build_reference(
        rows.reference_rows.X,
        rows.reference_rows.names,
        scores,
        window_rows=settings.window_rows,
        max_rows=settings.reference_rows,
        prior=prior.reference if prior and spec.captured else None,
        budget=settings.drift_budget,
    )
    rows_kept = np.concatenate(
        [rows.held_out.X[:24], plant_anomalies(rows.held_out.X, ref.scale, most=8)]
    )
    info = {
        "data": spec.data if is_s3(spec.data) else str(Path(spec.data).absolute()),
        "label": spec.label,
        "columns": {
            name: value for name, value in asdict(spec.columns).items() if value is not None
        },
        "over_time": spec.over_time,
        "forest": settings.model_dump(include={"n_estimators", "max_samples", "max_features"}),
        "trigger": spec.trigger,
        "rows": len(rows.fit),
        "since": spec.since or None,
        "trained": time.time(),
        "data_fingerprint": rows.fingerprint.digest,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    return ModelBundle(rows.fit.names, compiled, limit, ref, rows_kept, info, rows.transform)


def _judge(
    model: ModelBundle,
    prior: ModelBundle | None,
    rows: TrainingData,
    settings: TrainSettings,
    *,
    drifted: bool,
) -> tuple[dict[str, float], GateVerdict]:
    scale = model.reference.scale
    metrics = evaluate(
        model.forest, model.threshold.value, rows.held_out, scale
    ) | standalone_metrics(model, rows, settings)
    # Another table is another detector: its rows mean nothing to the champion.
    rival = None
    if prior and prior.names == model.names:
        rival = evaluate(prior.forest, prior.threshold.value, rows.held_out, scale)
        metrics |= compare_with_champion(model, prior, rows.held_out)
    verdict = gate.judge_challenger(metrics, rival, settings, drifted=drifted)
    if rows.test is not None and rows.test.labels is not None:
        tested = evaluate(model.forest, model.threshold.value, rows.test, scale)
        metrics |= {f"test_{name}": value for name, value in tested.items()}
    metrics |= {f"champion_{name}": value for name, value in (rival or {}).items()}
    return metrics, verdict


def standalone_metrics(
    model: ModelBundle, rows: TrainingData, settings: TrainSettings
) -> dict[str, float]:
    """What only this model can tell: does its threshold do what it says, another seed's forest agree, is it small and fast."""
    other = fit_part(
        rows.fit.X,
        trees=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=settings.max_features,
        seed=settings.seed + 7919,
    )
    found = float(np.mean(model.forest.score(rows.calibration.X) > model.threshold.value))
    with tempfile.TemporaryDirectory() as folder:
        bundle.write_bundle(model, Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "calibration_error": abs(found - model.threshold.expected_rate),
        "seed_agreement": score_agreement(
            model.forest.score(rows.held_out.X),
            CompiledForest.compile(other).score(rows.held_out.X),
        ),
        "bundle_mb": size / 2**20,
        "row_us": measure_row_microseconds(model.forest, rows.held_out.X),
    }


def compare_with_champion(
    model: ModelBundle, prior: ModelBundle, held_out: Table
) -> dict[str, float]:
    """How a model differs from the champion: on the same rows, on the champion's golden ones, and in what it was fitted on."""
    alerted = prior.forest.score(prior.golden) > prior.threshold.value
    ours, theirs = model.reference, prior.reference
    varied = np.ptp(theirs.samples, axis=0) > 0
    lost = varied & (np.ptp(ours.samples, axis=0) == 0)
    both = varied & ~lost
    factors = (
        np.exp(np.abs(np.log(ours.scale[both] / theirs.scale[both]))) if both.any() else np.ones(1)
    )
    return golden_rates(model.forest, model.threshold.value, prior.golden, alerted) | {
        "rank_agreement": score_agreement(
            model.forest.score(held_out.X), prior.forest.score(held_out.X)
        ),
        "features_lost": float(lost.mean()),
        "scale_change": float(np.median(factors)),
    }
