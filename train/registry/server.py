"""MLflow server (or database) behind the registry: its client, its errors as Vigil's, experiments.

MLflow reads a part of its environment when it is imported. It is therefore imported when the
first server is made, not with the modules of the registry (record.py, which imports it, is itself
imported when a version is registered).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vigil.errors import RegistryError, RegistryUnavailable, VigilError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

_ENVIRONMENT = {
    # Few and short retries: whoever polls tries again anyway, and must notice soon that the
    # server is gone.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is the caller's
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_UV_AUTO_DETECT": "false",  # the lock file is not part of a model
}


def configure_mlflow() -> None:
    """Set what MLflow reads from the environment, as far as nobody has; call it before MLflow
    is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def filter_text(text: str) -> str:
    """Return a text in the quotes of a search filter, which knows two kinds and no escapes.

    Names that have both kinds are refused with the settings.
    """
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


class MlflowServer:
    """Client of the MLflow server (or database) at `tracking_uri`.

    artifacts: where new experiments keep artifacts when there is no server to say so
    """

    def __init__(self, tracking_uri: str, artifacts: Path | None = None) -> None:
        configure_mlflow()
        from mlflow import MlflowClient

        self.tracking_uri = tracking_uri
        self.artifacts = artifacts
        self.client = MlflowClient(tracking_uri)

    def find_model(self, name: str) -> RegisteredModel | None:
        """Return the registered model, or None where there is none of this name."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def create_model(
        self,
        name: str,
        description: str,
        tags: dict[str, str] | None = None,
    ) -> bool:
        """Create a registered model; returns False where there is one of this name already."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(
                name,
                tags=tags,
                description=description,
            )
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":
                return False
            raise
        return True

    def experiment_id(self, name: str) -> str:
        """Return the id of the experiment; it is made where there is none of this name."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        location = f"{self.artifacts.as_uri()}/{name}" if self.artifacts else None
        return self.client.create_experiment(name, artifact_location=location)

    @contextmanager
    def translate_mlflow_errors(self) -> Iterator[None]:
        """Raise RegistryUnavailable where the server is away, RegistryError where it refuses."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise self._translated(error.error_code, str(error)) from error
        except OSError as error:
            raise RegistryUnavailable(
                f"artifacts of the MLflow server {self.tracking_uri} cannot be read: {error}"
            ) from error

    def _translated(self, code: str, text: str) -> VigilError:
        if code == "INTERNAL_ERROR":
            return RegistryUnavailable(
                f"the MLflow server {self.tracking_uri} does not answer: {text[:200]}"
            )
        return RegistryError(f"MLflow refused: {text[:300]}")
