"""MLflow server (or database) behind the registry: client, errors as Vigil's, experiments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from train.registry.client_choice import client_of
from train.registry.entities import MlflowModel, MlflowRefusal
from train.registry.library_client import configure_mlflow
from train.registry.rest_client import UNAVAILABLE
from vigil.errors import RegistryError, RegistryUnavailable, VigilError


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
        self.tracking_uri = tracking_uri
        self.artifacts = artifacts
        self.client = client_of(tracking_uri)

    def find_model(self, name: str) -> MlflowModel | None:
        """Return the registered model, or None where there is none of this name."""
        try:
            return self.client.get_registered_model(name)
        except MlflowRefusal as error:
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
        try:
            self.client.create_registered_model(
                name,
                tags=tags,
                description=description,
            )
        except MlflowRefusal as error:
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
        try:
            yield
        except MlflowRefusal as error:
            raise self._translated(error.error_code, str(error)) from error
        except OSError as error:
            raise RegistryUnavailable(
                f"artifacts of the MLflow server {self.tracking_uri} cannot be read: {error}"
            ) from error

    def _translated(self, code: str, text: str) -> VigilError:
        if code == UNAVAILABLE:
            return RegistryUnavailable(
                f"the MLflow server {self.tracking_uri} does not answer: {text[:200]}"
            )
        return RegistryError(f"MLflow refused: {text[:300]}")
