"""What a training run leaves in MLflow: parameters, metrics, plots, the data as an input, bundle and scikit-learn model.

With train/registry/versions.py and train/registry/ledger.py the only module that talks to MLflow.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.types import ColSpec, Schema

from train.model.fit import SKOPS_TRUSTED
from train.registry.versions import Candidate
from train.table.dataset import Fingerprint
from train.table.source import is_s3

EXAMPLE_ROWS = 4
MAX_PARAMETER_CHARACTERS = (
    500  # characters of one parameter: MLflow's own limit is larger, but its pages show no more
)
MAX_DIGEST_CHARACTERS = 32  # MLflow refuses more than 36 characters


def record_run(
    candidate: Candidate, bundle: Path, experiment: str, tags: Mapping[str, str], about: str
) -> tuple[str, str, str]:
    """One run in `experiment`, described as `about`, with the bundle of the folder `bundle`; returns its id, and URI and id of
    the logged model.

    Raises MlflowException when the server does not take it; the run is then marked as failed.
    """
    libraries = {"python": platform.python_version(), **candidate.bundle.info.get("libraries", {})}
    more = {f"version.{name}": str(version) for name, version in libraries.items()}
    more |= {"mlflow.source.git.commit": candidate.commit} if candidate.commit else {}
    with mlflow.start_run(
        experiment_id=experiment, tags={**more, **tags}, description=about
    ) as run:
        mlflow.log_params(
            {
                key: str(value)[:MAX_PARAMETER_CHARACTERS]
                for key, value in flatten_parameters(candidate.params).items()
            }
        )
        mlflow.log_metrics(dict(candidate.metrics))
        mlflow.log_dict(dict(candidate.gate), "gate.json")
        for name, figure in candidate.plots.items():
            mlflow.log_figure(figure, f"plots/{name}")
        if candidate.data is not None:
            _log_data(
                str(candidate.bundle.info.get("data", "")), candidate.data, candidate.bundle.names
            )
        mlflow.log_artifacts(str(bundle), "bundle")
        model = _log_sklearn(candidate)
        for trial in candidate.trials:
            with mlflow.start_run(experiment_id=experiment, run_name=trial.name, nested=True):
                mlflow.log_params(trial.params)
                mlflow.log_metrics({**trial.metrics, "seconds": trial.seconds})
    return run.info.run_id, model.model_uri, model.model_id


def flatten_parameters(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Groups of parameters as dotted names, `{"forest": {"seed": 0}}` as `forest.seed`; what is not set is left out."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= flatten_parameters(value, f"{prefix}{key}.")
        elif value is not None and value != "":
            found[f"{prefix}{key}"] = value
    return found


def _log_data(path: str, used: Fingerprint, names: tuple[str, ...]) -> None:
    """The table as an input of the run, by which its other runs are found, and what tells its content apart as data.json."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # MLflow has two readers of local files, and says so each time
        source = resolve_dataset_source(path if is_s3(path) else Path(path).as_uri())
    columns = Schema([ColSpec("double", name) for name in names])
    mlflow.log_input(
        MetaDataset(source, Path(path).name, used.digest[:MAX_DIGEST_CHARACTERS], columns),
        context="training",
    )
    mlflow.log_dict({"path": path, **asdict(used)}, "data.json")


def _log_sklearn(candidate: Candidate) -> Any:
    """The plain model: whoever calls it by name is told of a missing column, and one in another place is put right."""
    names = candidate.bundle.names
    forest: Any = candidate.forest
    forest.feature_names_in_ = np.array(names, dtype=object)
    example = pd.DataFrame(candidate.bundle.golden[:EXAMPLE_ROWS], columns=pd.Index(names))
    signature = mlflow.models.infer_signature(example, forest.predict(example))
    return mlflow.sklearn.log_model(
        forest,
        name="model",
        serialization_format="skops",
        # MLflow's own client reads this list from the model; Vigil's reader has its own (train/registry/versions.py).
        skops_trusted_types=SKOPS_TRUSTED,
        signature=signature,
        input_example=example,
        pip_requirements=[
            f"{name}=={candidate.bundle.info['libraries'][name]}"
            for name in ("scikit-learn", "numpy", "skops")
        ],
    )
