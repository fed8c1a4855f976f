"""Record of a training run in MLflow: parameters, metrics, plots, the data as an input, the
bundle and the scikit-learn model."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.types import ColSpec, Schema

from train.model.bundle import ModelBundle
from train.model.skops_forest import SKOPS_TRUSTED
from train.registry.candidate import Candidate
from train.registry.library_client import translate_library_errors
from train.registry.model_signing import MODEL_SIGNATURE_FILE
from train.table.dataset import Fingerprint
from train.table.source import is_s3
from vigil.json_types import Fields, JsonObject

_EXAMPLE_ROWS = 4
# MLflow's own limit of one parameter is larger, but its pages show no more.
_MAX_PARAMETER_CHARACTERS = 500
_MAX_DIGEST_CHARACTERS = 32  # MLflow refuses more than 36
_REQUIREMENTS = ("scikit-learn", "numpy", "skops")


@dataclass(frozen=True)
class RecordedRun:
    """A run, and the model that was logged with it."""

    run_id: str
    model_uri: str
    model_id: str


def record_run(
    candidate: Candidate,
    bundle: Path,
    *,
    tracking_uri: str,
    experiment: str,
    tags: Mapping[str, str],
    about: str,
) -> RecordedRun:
    """Record one run in the experiment with the id `experiment`, described as `about`, with the
    bundle of the folder `bundle`.

    Raises MlflowRefusal when the server does not take it; the run is then marked as failed.
    """
    mlflow.set_tracking_uri(tracking_uri)
    all_tags = {**_software_tags(candidate), **tags}
    with (
        translate_library_errors(),
        mlflow.start_run(
            experiment_id=experiment,
            tags=all_tags,
            description=about,
        ) as run,
    ):
        _log_results(candidate)
        if candidate.data is not None:
            _log_data(candidate, candidate.data)
        mlflow.log_artifacts(str(bundle), "bundle")
        _log_model_signature(bundle)
        model = _log_sklearn(candidate)
        _log_trials(candidate, experiment)
    return RecordedRun(
        run.info.run_id,
        model.model_uri,
        model.model_id,
    )


def flatten_parameters(params: Fields, prefix: str = "") -> JsonObject:
    """Return groups of parameters by dotted names, `{"forest": {"seed": 0}}` as `forest.seed`.

    What is not set is left out.
    """
    flat: JsonObject = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten_parameters(value, f"{name}.")
        elif value not in (None, ""):
            flat[name] = value
    return flat


def _software_tags(candidate: Candidate) -> dict[str, str]:
    libraries = {
        "python": platform.python_version(),
        **candidate.bundle.info.get("libraries", {}),
    }
    tags = {f"version.{name}": str(version) for name, version in libraries.items()}
    if candidate.commit:
        tags["mlflow.source.git.commit"] = candidate.commit
    return tags


def _log_model_signature(bundle: Path) -> None:
    """Log the signature that others verify, where there is one."""
    signature = bundle.with_name(MODEL_SIGNATURE_FILE)
    if signature.is_file():
        mlflow.log_artifact(str(signature))


def _log_results(candidate: Candidate) -> None:
    mlflow.log_params(_short_parameters(candidate))
    mlflow.log_metrics(dict(candidate.metrics))
    mlflow.log_dict(dict(candidate.gate), "gate.json")
    for name, figure in candidate.plots.items():
        mlflow.log_figure(figure, f"plots/{name}")


def _short_parameters(candidate: Candidate) -> dict[str, str]:
    return {
        name: str(value)[:_MAX_PARAMETER_CHARACTERS]
        for name, value in flatten_parameters(candidate.params).items()
    }


def _log_data(candidate: Candidate, data: Fingerprint) -> None:
    """Log the table as an input of the run, by which its other runs are found, and what tells
    its content apart as data.json."""
    path = str(candidate.bundle.info.get("data", ""))
    dataset = MetaDataset(
        _source(path),
        Path(path).name,
        digest=data.digest[:_MAX_DIGEST_CHARACTERS],
        schema=_schema(candidate.bundle.names),
    )
    mlflow.log_input(dataset, context="training")
    mlflow.log_dict({"path": path, **asdict(data)}, "data.json")


def _uri(path: str) -> str:
    return path if is_s3(path) else Path(path).as_uri()


def _source(path: str) -> DatasetSource:
    uri = _uri(path)
    with warnings.catch_warnings():
        # MLflow has two readers of local files, and says so each time.
        warnings.simplefilter("ignore")
        return resolve_dataset_source(uri)


def _schema(names: tuple[str, ...]) -> Schema:
    return Schema([ColSpec("double", name) for name in names])


def _log_sklearn(candidate: Candidate) -> Any:
    """Log the plain model: whoever calls it by name is told of a missing column, and one in
    another place is put right."""
    forest: Any = candidate.forest
    forest.feature_names_in_ = np.array(candidate.bundle.names, dtype=object)
    example = _example(candidate.bundle)
    return mlflow.sklearn.log_model(
        forest,
        name="model",
        serialization_format="skops",
        # MLflow's own client reads this list from the model; Vigil's reader has its own
        # (train/registry/versions.py).
        skops_trusted_types=SKOPS_TRUSTED,
        signature=mlflow.models.infer_signature(example, forest.predict(example)),
        input_example=example,
        pip_requirements=_requirements(candidate.bundle),
    )


def _example(bundle: ModelBundle) -> pd.DataFrame:
    return pd.DataFrame(
        bundle.golden[:_EXAMPLE_ROWS],
        columns=pd.Index(bundle.names),
    )


def _requirements(bundle: ModelBundle) -> list[str]:
    libraries = bundle.info["libraries"]
    return [f"{name}=={libraries[name]}" for name in _REQUIREMENTS]


def _log_trials(candidate: Candidate, experiment: str) -> None:
    """Log the trials of the search for the parameters as child runs."""
    for trial in candidate.trials:
        with mlflow.start_run(
            experiment_id=experiment,
            run_name=trial.name,
            nested=True,
        ):
            mlflow.log_params(trial.params)
            mlflow.log_metrics({**trial.metrics, "seconds": trial.seconds})
