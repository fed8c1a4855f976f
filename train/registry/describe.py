"""What a run and a model version say of themselves in MLflow: parameters in groups, and a text for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from train.model.bundle import ModelBundle
from train.settings import TrainSettings

MODEL_DESCRIPTION = (
    "Isolation forests that Vigil trains, judges and serves. The alias `champion` is what production answers with, `challenger` "
    "the newest version, `previous` the one to go back to. `vigil promote` and `vigil rollback` move them; each move is a run in "
    "the experiment `vigil-promotions`."
)


def run_parameters(
    spec: Mapping[str, Any], settings: TrainSettings, model: ModelBundle
) -> dict[str, Any]:
    """Those of a run of the job `spec`, in groups: runs are compared by what they are about."""
    of_forest = {
        "n_estimators",
        "max_samples",
        "max_features",
        "seed",
        "workers",
        "sample_rows",
        "captured_weight",
    }
    of_gate = {
        name for name in type(settings).model_fields if name.startswith(("min_", "max_"))
    } - of_forest
    chosen = {key: value for key, value in spec.items() if key not in ("key", "trigger")}
    return {
        "data": {**chosen, "holdout": settings.holdout},
        "forest": settings.model_dump(include=of_forest),
        "threshold": {
            "value": model.threshold.value,
            "policy": model.threshold.policy,
            "budget": settings.budget,
        },
        "drift": settings.model_dump(include={"window_rows", "drift_budget", "reference_rows"}),
        "gate": settings.model_dump(include={*of_gate, "alert_band", "auroc_tolerance"}),
    }


def describe_version(
    model: ModelBundle, metrics: Mapping[str, float], verdict: Mapping[str, Any], trigger: str
) -> str:
    """The description of one version."""
    info, limit, forest = model.info, model.threshold, model.forest
    told = [
        f"Isolation forest of {forest.trees} trees, each of {forest.max_samples} rows, fitted on {info.get('rows', 0)} rows of "
        f"{_code(info.get('data'))} with {len(model.names)} features; trigger: {trigger}.",
        f"It alerts on scores above {limit.value:.4f}: {limit.expected_rate:.2%} of the rows it was calibrated on"
        + (
            f" (95 % interval {limit.low:.2%} to {limit.high:.2%})"
            if limit.low is not None and limit.high is not None
            else ""
        )
        + f", with a budget of {limit.budget:.2%}.",
    ]
    if model.transform is not None:
        told.append(
            f"Features over time: {_code(info.get('over_time'))}; callers send the rows before as `history`."
        )
    labelled = [
        f"{name} {metrics[key]:.3f}"
        for prefix in ("test_", "")
        for key, name in (
            (f"{prefix}auroc", "AUROC"),
            (f"{prefix}average_precision", "average precision"),
        )
        if key in metrics
    ][:2]
    if labelled:
        told.append(f"On labelled rows that it has not seen: {', '.join(labelled)}.")
    told.append(
        f"The gate {'passed' if verdict.get('passed') else 'FAILED'}: {verdict.get('reason', '')}."
    )
    told.append(f"Data fingerprint {_code(str(info.get('data_fingerprint', ''))[:16])}.")
    return "\n\n".join(told)


def _code(value: object) -> str:
    """As Markdown shows it and nothing else: a path may hold anything."""
    return "`" + str(value or "").replace("`", "'").replace("\n", " ") + "`"
