"""Objects of MLflow's REST API as entities. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train.registry.entities import (
    ArtifactFile,
    MlflowModel,
    ModelVersion,
    Run,
    RunData,
    RunInfo,
)


def _tags(entries: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {entry["key"]: entry.get("value", "") for entry in entries}


def read_registered_model(answer: Mapping[str, Any]) -> MlflowModel:
    """Return a registered model as the REST API answers it."""
    aliases = {entry["alias"]: str(entry["version"]) for entry in answer.get("aliases", [])}
    return MlflowModel(
        name=answer["name"],
        aliases=aliases,
        tags=_tags(answer.get("tags", [])),
        creation_timestamp=int(answer.get("creation_timestamp", 0)),
        description=answer.get("description", ""),
    )


def read_model_version(answer: Mapping[str, Any]) -> ModelVersion:
    """Return a version as the REST API answers it."""
    return ModelVersion(
        version=str(answer["version"]),
        run_id=answer.get("run_id", ""),
        aliases=answer.get("aliases", []),
        tags=_tags(answer.get("tags", [])),
        creation_timestamp=int(answer.get("creation_timestamp", 0)),
        description=answer.get("description", ""),
    )


def read_run(answer: Mapping[str, Any]) -> Run:
    """Return a run as the REST API answers it."""
    info = answer["info"]
    data = answer.get("data", {})
    metrics = {entry["key"]: float(entry["value"]) for entry in data.get("metrics", [])}
    return Run(
        RunInfo(
            run_id=info["run_id"],
            experiment_id=info["experiment_id"],
            status=info["status"],
            start_time=int(info.get("start_time", 0)),
            artifact_uri=info.get("artifact_uri", ""),
        ),
        RunData(_tags(data.get("tags", [])), metrics),
    )


def read_artifact_file(answer: Mapping[str, Any]) -> ArtifactFile:
    """Return an artifact as the REST API answers it."""
    size = answer.get("file_size")
    return ArtifactFile(
        answer["path"],
        bool(answer.get("is_dir")),
        None if size is None else int(size),
    )
