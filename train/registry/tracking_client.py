"""What the registry asks of MLflow: the methods that both of its clients have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from train.registry.entities import (
    ArtifactFile,
    Experiment,
    MlflowModel,
    ModelVersion,
    Run,
    SearchPage,
)


class TrackingClient(Protocol):
    """The methods of `mlflow.MlflowClient` that are called, with their parameters.

    They raise MlflowRefusal; those of artifacts raise OSError as well.
    """

    def get_registered_model(self, name: str) -> MlflowModel: ...

    def create_registered_model(
        self, name: str, tags: Mapping[str, str] | None = None, description: str = ""
    ) -> None: ...

    def delete_registered_model(self, name: str) -> None: ...

    def set_registered_model_alias(
        self,
        name: str,
        alias: str,
        version: str,
    ) -> None: ...

    def delete_registered_model_alias(self, name: str, alias: str) -> None: ...

    def set_registered_model_tag(
        self,
        name: str,
        key: str,
        value: str,
    ) -> None: ...

    def delete_registered_model_tag(self, name: str, key: str) -> None: ...

    def get_model_version(self, name: str, version: str) -> ModelVersion: ...

    def search_model_versions(
        self, filter_string: str, max_results: int | None = None, order_by: Sequence[str] = ()
    ) -> list[ModelVersion]: ...

    def create_model_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str,
        tags: Mapping[str, str],
        model_id: str,
        description: str,
    ) -> ModelVersion: ...

    def get_experiment_by_name(self, name: str) -> Experiment | None: ...

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str: ...

    def create_run(
        self,
        experiment_id: str,
        *,
        run_name: str,
        tags: Mapping[str, str],
    ) -> Run: ...

    def get_run(self, run_id: str) -> Run: ...

    def log_metric(
        self,
        run_id: str,
        key: str,
        value: float,
    ) -> None: ...

    def set_terminated(self, run_id: str, status: str = "FINISHED") -> None: ...

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str,
        *,
        max_results: int,
        order_by: Sequence[str],
        page_token: str | None = None,
    ) -> SearchPage: ...

    def list_artifacts(self, run_id: str, path: str) -> list[ArtifactFile]: ...

    def download_artifacts(
        self,
        run_id: str,
        path: str,
        dst_path: str,
    ) -> str: ...

    def log_text(
        self,
        run_id: str,
        text: str,
        artifact_file: str,
    ) -> None: ...
