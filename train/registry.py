"""The only module that talks to MLflow: log, register, aliases, the promotion ledger.

The alias `champion` is the only message from training to serving; moving it is the only way a model reaches production.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Few and short retries: whoever polls tries again anyway, and must notice soon that the server is gone.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is the caller's
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # the lock file is not part of a model

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from train import bundle as bundles
from train.bundle import ModelBundle
from train.errors import BundleError, RegistryError, RegistryUnavailable

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

EXPERIMENT = "vigil-training"
LEDGER = "vigil-promotions"
DIGEST = re.compile("[0-9a-f]{64}")  # it becomes a path
KEPT_BUNDLES = 8  # on a node's disk


@dataclass(frozen=True)
class Version:
    """One registered model version."""

    version: str
    run_id: str
    digest: str
    created: float
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """What a training job hands over for registration."""

    forest: IsolationForest
    bundle: ModelBundle
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    gate: Mapping[str, Any]


class Registry:
    """The registered model `model_name` on the MLflow server (or database) `tracking_uri`."""

    def __init__(self, tracking_uri: str, model_name: str, artifacts: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.model_name = model_name
        self._artifacts = artifacts  # where new experiments keep artifacts when there is no server to say so
        self._client = MlflowClient(tracking_uri)

    def champion(self) -> Version | None:
        """The version that production should serve, or None before the first promotion."""
        return self._aliased("champion")

    def get(self, version: str) -> Version:
        """One version by number; raises RegistryError when there is none."""
        with self._talking():
            try:
                return self._version(self._client.get_model_version(self.model_name, version), with_metrics=True)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise RegistryError(f"model {self.model_name!r} has no version {version}; see `vigil models`") from error
                raise

    def versions(self) -> list[Version]:
        """Every version, latest first, with aliases and metrics."""
        with self._talking():
            # Search results carry no aliases: they are on the model.
            try:
                aliases = self._client.get_registered_model(self.model_name).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return []
                raise
            found = [self._version(v, with_metrics=True) for v in self._client.search_model_versions(f"name='{self.model_name}'")]
        by_version = {v.version: v for v in found}
        for alias, version in aliases.items():
            known = by_version[str(version)]
            by_version[str(version)] = Version(**{**vars(known), "aliases": tuple(sorted({*known.aliases, alias}))})
        return sorted(by_version.values(), key=lambda v: -int(v.version))

    def of_job(self, job: str) -> Version | None:
        """The version that the training job `job` registered, or None."""
        with self._talking():
            found = self._client.search_model_versions(f"name='{self.model_name}' and tags.job='{job}'")
            return self._version(found[0], with_metrics=True) if found else None

    def gate(self, version: Version) -> dict[str, Any]:
        """The gate verdict that was logged with the version."""
        with self._talking(), tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(version.run_id, "gate.json", folder)
            return json.loads(Path(path).read_text())

    def register(self, candidate: Candidate) -> Version:
        """Log run, bundle and scikit-learn flavour, register the version and make it the `challenger`."""
        with self._talking(), tempfile.TemporaryDirectory() as folder:
            mlflow.set_tracking_uri(self.tracking_uri)
            digest = bundles.write(candidate.bundle, Path(folder) / "bundle")
            tags = {**candidate.tags, "digest": digest}
            with mlflow.start_run(experiment_id=self._experiment(EXPERIMENT), tags=tags) as run:
                mlflow.log_params(dict(candidate.params))
                mlflow.log_metrics(dict(candidate.metrics))
                mlflow.log_dict(dict(candidate.gate), "gate.json")
                mlflow.log_artifacts(f"{folder}/bundle", "bundle")
                model = _log_sklearn(candidate)
            self._ensure_model()
            created = self._client.create_model_version(
                self.model_name, model.model_uri, run_id=run.info.run_id, tags=tags, model_id=model.model_id
            )
            self._client.set_registered_model_alias(self.model_name, "challenger", created.version)
        return self.get(str(created.version))

    def promote(self, version: str, *, reason: str, actor: str, gates: Mapping[str, Any] | None = None) -> Version:
        """Make `version` the champion, the former one `previous`, and write the move into the ledger."""
        target, former = self.get(version), self.champion()
        if former is not None and former.version == target.version:
            return target
        with self._talking():
            if former is not None:
                self._client.set_registered_model_alias(self.model_name, "previous", former.version)
            self._client.set_registered_model_alias(self.model_name, "champion", target.version)
            run = self._client.create_run(
                self._experiment(LEDGER),
                run_name=f"{former.version if former else 'none'} to {target.version}",
                tags={
                    "model": self.model_name, "from": former.version if former else "", "to": target.version,
                    "digest": target.digest, "reason": reason, "actor": actor, "gates": json.dumps(gates or {}),
                },
            )  # fmt: skip
            self._client.set_terminated(run.info.run_id)
        return self.get(version)

    def rollback(self, *, reason: str, actor: str) -> Version:
        """Make the version before the champion champion again."""
        previous = self._aliased("previous")
        if previous is None:
            raise RegistryError("there is no former champion to go back to; `vigil promote V` names one")
        return self.promote(previous.version, reason=reason, actor=actor)

    def ledger(self) -> list[dict[str, str]]:
        """Every move of `champion`, latest first: from, to, digest, reason, actor, gates, at (Unix seconds)."""
        with self._talking():
            runs = self._client.search_runs([self._experiment(LEDGER)], f"tags.model = '{self.model_name}'")
        keys = ("from", "to", "digest", "reason", "actor", "gates")
        return [{"at": str(r.info.start_time / 1000), **{k: r.data.tags.get(k, "") for k in keys}} for r in runs]

    def fetch(self, version: Version, cache: Path) -> ModelBundle:
        """The verified bundle of `version`; downloaded once per node into `cache`, which is addressed by digest.

        Raises BundleError when it is not what was registered, RegistryUnavailable when it cannot be had.
        """
        if not DIGEST.fullmatch(version.digest):
            raise BundleError(f"version {version.version} has no valid digest tag: it was not registered by Vigil")
        folder = cache / version.digest
        try:
            return bundles.read(folder, version.digest)
        except BundleError:
            shutil.rmtree(folder, ignore_errors=True)  # absent, torn or tampered with: get it anew
        cache.mkdir(parents=True, exist_ok=True)
        with self._talking(), tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
            downloaded = Path(self._client.download_artifacts(version.run_id, "bundle", temporary))
            verified = bundles.read(downloaded, version.digest)
            try:
                downloaded.rename(folder)
            except OSError:  # another replica was first; its copy has the same digest
                if not folder.exists():
                    raise
        _trim(cache)
        return verified

    def _aliased(self, alias: str) -> Version | None:
        with self._talking():
            try:
                return self._version(self._client.get_model_version_by_alias(self.model_name, alias))
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def _version(self, found: ModelVersion, with_metrics: bool = False) -> Version:
        metrics = self._client.get_run(found.run_id).data.metrics if with_metrics and found.run_id else {}
        return Version(
            str(found.version), str(found.run_id), found.tags.get("digest", ""), found.creation_timestamp / 1000,
            tuple(sorted(found.aliases)), dict(found.tags), metrics,
        )  # fmt: skip

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        location = f"{self._artifacts.as_uri()}/{name}" if self._artifacts else None
        return self._client.create_experiment(name, artifact_location=location)

    def _ensure_model(self) -> None:
        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Tell a server that is away from one that refuses."""
        try:
            yield
        except MlflowException as error:
            if error.error_code == "INTERNAL_ERROR":
                raise RegistryUnavailable(f"the MLflow server {self.tracking_uri} does not answer: {str(error)[:200]}") from error
            raise RegistryError(f"MLflow refused: {str(error)[:300]}") from error
        except OSError as error:
            raise RegistryUnavailable(f"artifacts of the MLflow server {self.tracking_uri} cannot be read: {error}") from error


def _log_sklearn(candidate: Candidate) -> Any:
    from train.fit import SKOPS_TRUSTED  # not at the top: it brings Ray Train and scikit-learn, which a replica does not need

    rows = candidate.bundle.golden[:4]
    return mlflow.sklearn.log_model(
        candidate.forest,
        name="model",
        serialization_format="skops",
        skops_trusted_types=SKOPS_TRUSTED,
        signature=mlflow.models.infer_signature(rows, candidate.forest.predict(rows)),
        pip_requirements=[f"{name}=={candidate.bundle.info['libraries'][name]}" for name in ("scikit-learn", "numpy", "skops")],
    )


def _trim(cache: Path) -> None:
    """Drop the least recently added bundles beyond KEPT_BUNDLES."""
    folders = sorted((f for f in cache.iterdir() if f.is_dir() and not f.name.startswith(".")), key=lambda f: f.stat().st_mtime)
    for folder in folders[:-KEPT_BUNDLES]:
        shutil.rmtree(folder, ignore_errors=True)
