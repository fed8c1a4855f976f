"""Description of a run and of a model version in MLflow: parameters in groups, and a text for a
person."""

from __future__ import annotations

from collections.abc import Iterator

from train.model.bundle import ModelBundle
from train.model.threshold import Threshold
from train.settings import TrainSettings
from vigil.json_types import Fields, JsonObject, Numbers

MODEL_DESCRIPTION = (
    "Isolation forests that Vigil trains, judges and serves. "
    "The alias `champion` is what production answers with, `challenger` the newest version, "
    "`previous` the one to go back to. `vigil promote` and `vigil rollback` move them; "
    "each move is a run in the experiment `vigil-promotions`."
)
_FOREST = {
    "n_estimators",
    "max_samples",
    "max_features",
    "seed",
    "workers",
    "sample_rows",
    "captured_weight",
}
_DRIFT = {"window_rows", "drift_budget", "reference_rows"}
_GATE_PREFIXES = ("min_", "max_")
_OTHER_GATE = {"alert_band", "auroc_tolerance"}
_LABELLED = {"auroc": "AUROC", "average_precision": "average precision"}
_SHOWN_METRICS = 2
_FINGERPRINT_CHARACTERS = 16


def run_parameters(
    spec: Fields,
    settings: TrainSettings,
    model: ModelBundle,
) -> JsonObject:
    """Return the parameters of a run of the job `spec`, in groups: runs are compared by what they
    are about."""
    chosen = {key: value for key, value in spec.items() if key not in ("key", "trigger")}
    threshold = {
        "value": model.threshold.value,
        "policy": model.threshold.policy,
        "budget": settings.budget,
    }
    return {
        "data": {**chosen, "holdout": settings.holdout},
        "forest": settings.model_dump(include=_FOREST),
        "threshold": threshold,
        "drift": settings.model_dump(include=_DRIFT),
        "gate": settings.model_dump(include=_gate_fields(settings)),
    }


def _gate_fields(settings: TrainSettings) -> set[str]:
    limits = {name for name in type(settings).model_fields if name.startswith(_GATE_PREFIXES)}
    return (limits - _FOREST) | _OTHER_GATE


def describe_version(
    model: ModelBundle,
    metrics: Numbers,
    verdict: Fields,
    trigger: str,
) -> str:
    """Return the description of one version, in Markdown."""
    outcome = "passed" if verdict.get("passed") else "FAILED"
    fingerprint = str(model.info.get("data_fingerprint", ""))[:_FINGERPRINT_CHARACTERS]
    paragraphs = [
        _describe_forest(model, trigger),
        _describe_threshold(model.threshold),
        *_describe_transform(model),
        *_describe_labelled(metrics),
        f"The gate {outcome}: {verdict.get('reason', '')}.",
        f"Data fingerprint {_code(fingerprint)}.",
    ]
    return "\n\n".join(paragraphs)


def _describe_forest(model: ModelBundle, trigger: str) -> str:
    forest = model.forest
    rows = model.info.get("rows", 0)
    return (
        f"Isolation forest of {forest.trees} trees, each of {forest.max_samples} rows, "
        f"fitted on {rows} rows of {_code(model.info.get('data'))} "
        f"with {len(model.names)} features; trigger: {trigger}."
    )


def _describe_threshold(threshold: Threshold) -> str:
    return (
        f"It alerts on scores above {threshold.value:.4f}: {threshold.expected_rate:.2%} "
        f"of the rows it was calibrated on{_describe_interval(threshold)}, "
        f"with a budget of {threshold.budget:.2%}."
    )


def _describe_interval(threshold: Threshold) -> str:
    if threshold.low is None or threshold.high is None:
        return ""
    return f" (95 % interval {threshold.low:.2%} to {threshold.high:.2%})"


def _describe_transform(model: ModelBundle) -> Iterator[str]:
    if model.transform is not None:
        steps = _code(model.info.get("over_time"))
        yield f"Features over time: {steps}; callers send the rows before as `history`."


def _describe_labelled(metrics: Numbers) -> Iterator[str]:
    shown = list(_labelled_metrics(metrics))[:_SHOWN_METRICS]
    if shown:
        yield f"On labelled rows that it has not seen: {', '.join(shown)}."


def _labelled_metrics(metrics: Numbers) -> Iterator[str]:
    """Those of the rows that were set apart as a test first."""
    for prefix in ("test_", ""):
        for key, name in _LABELLED.items():
            if f"{prefix}{key}" in metrics:
                yield f"{name} {metrics[f'{prefix}{key}']:.3f}"


def _code(value: object) -> str:
    """As Markdown shows it and nothing else: a path may hold anything."""
    return "`" + str(value or "").replace("`", "'").replace("\n", " ") + "`"
