"""Versions in MLflow: log, register, read, fetch. With train/registry/ledger.py the only module that talks to MLflow.

The alias `champion` is the only message from training to serving; moving it is the only way a model reaches production.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
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
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from train.model import bundle as bundles
from train.model.bundle import ModelBundle
from train.registry.cache import BundleCache
from train.registry.canary import Canary
from train.registry.describe import MODEL_DESCRIPTION, describe_version
from train.registry.ledger import SCHEMA_TAG, Ledger, read_canary
from train.registry.signature import SIGNATURE_TAG as SIGNATURE
from train.registry.signature import Trust, sign_digest
from vigil.errors import BundleError, RegistryError, RegistryUnavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.ensemble import IsolationForest

    from train.table.dataset import Fingerprint
    from train.tune import TuneTrial

TRAINING_EXPERIMENT = "vigil-training"


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

    @property
    def schema(self) -> str:
        """Hash of the feature names; empty for a version that does not say."""
        return self.tags.get("schema_hash", "")

    @property
    def verdict(self) -> str:
        """What its gate said: passed or failed; empty for a version that does not say."""
        return self.tags.get("verdict", "")


@dataclass(frozen=True)
class Candidate:
    """What a training job hands over for registration. params: groups of parameters; data: what was read; plots: by file name;
    commit: of the code that trained; trials: of the search for the parameters."""

    forest: IsolationForest
    bundle: ModelBundle
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    gate: Mapping[str, Any]
    data: Fingerprint | None = None
    plots: Mapping[str, Figure] = field(default_factory=dict)
    commit: str = ""
    trials: tuple[TuneTrial, ...] = ()


@dataclass(frozen=True)
class Desired:
    """What replicas should have: the champion, the challenger (for the shadow), and the `candidate` of a running canary.

    schema: hash of the features that callers send; empty while nobody has declared them
    """

    champion: Version | None = None
    challenger: Version | None = None
    canary: Canary | None = None
    candidate: Version | None = None
    schema: str = ""


class Registry(Ledger):
    """The registered model `model_name` on the MLflow server (or database) `tracking_uri`."""

    def __init__(
        self,
        tracking_uri: str,
        model_name: str,
        artifacts: Path | None = None,
        *,
        trust: Trust | None = None,
        signing_key: str | None = None,
    ) -> None:
        super().__init__(tracking_uri, model_name, artifacts)
        self._trust, self._signing_key = trust or Trust(), signing_key
        self._versions: dict[str, Version] = {}

    def champion(self) -> Version | None:
        """The version that production should serve, or None before the first promotion."""
        return self.desired().champion

    def get(self, version: str) -> Version:
        """One version by number; raises RegistryError when there is none."""
        with self._translate_mlflow_errors():
            try:
                return self._version(
                    self._client.get_model_version(self.model_name, version), with_metrics=True
                )
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise RegistryError(
                        f"model {self.model_name!r} has no version {version}; see `vigil models`"
                    ) from error
                raise

    def versions(self) -> list[Version]:
        """Every version, latest first, with aliases and metrics."""
        with self._translate_mlflow_errors():
            # Search results carry no aliases: they are on the model.
            try:
                aliases = self._client.get_registered_model(self.model_name).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return []
                raise
            found = [
                self._version(v, with_metrics=True)
                for v in self._client.search_model_versions(f"name='{self.model_name}'")
            ]
        by_version = {v.version: v for v in found}
        for alias, version in aliases.items():
            known = by_version[str(version)]
            by_version[str(version)] = Version(
                **{**vars(known), "aliases": tuple(sorted({*known.aliases, alias}))}
            )
        return sorted(by_version.values(), key=lambda v: -int(v.version))

    def latest(self, most: int) -> list[Version]:
        """The latest `most` versions without aliases and metrics, latest first: one question, however many there are."""
        with self._translate_mlflow_errors():
            found = self._client.search_model_versions(
                f"name='{self.model_name}'", max_results=most, order_by=["version_number DESC"]
            )
            return [self._version(version) for version in found]

    def of_job(self, job: str) -> Version | None:
        """The version that the training job `job` registered, or None."""
        with self._translate_mlflow_errors():
            found = self._client.search_model_versions(
                f"name='{self.model_name}' and tags.job='{job}'"
            )
            return self._version(found[0], with_metrics=True) if found else None

    def gate(self, version: Version) -> dict[str, Any]:
        """The gate verdict that was logged with the version."""
        with self._translate_mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(version.run_id, "gate.json", folder)
            return json.loads(Path(path).read_text())

    def forest(self, version: Version) -> IsolationForest:
        """The scikit-learn model that was logged with the version.

        What may be in it is this reader's own list: MLflow's is in the model, whose author could put anything on it.
        Raises BundleError when there is more in it.
        """
        import skops.io  # not at the top: a replica reads no scikit-learn model
        from skops.io.exceptions import UntrustedTypesFoundException

        from train.model.fit import SKOPS_TRUSTED

        with self._translate_mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            mlflow.set_tracking_uri(self.tracking_uri)
            found = mlflow.artifacts.download_artifacts(
                f"models:/{self.model_name}/{version.version}", dst_path=folder
            )
            try:
                loaded: Any = skops.io.load(Path(found) / "model.skops", trusted=SKOPS_TRUSTED)
            except (UntrustedTypesFoundException, ValueError, TypeError, LookupError) as error:
                raise BundleError(
                    f"the scikit-learn model of version {version.version} is refused: {error}"
                ) from error
            return loaded

    def register(self, candidate: Candidate) -> Version:
        """Log run, bundle and scikit-learn flavour, register the version and make it the `challenger`.

        That alias names the latest candidate, also one that failed its gate: it is what the shadow
        scores beside the champion, and its verdict stands beside it (tag `verdict`, gate.json).
        `promote` refuses it unless it is forced.
        """
        from train.registry.record import (
            record_run,
        )  # not at the top: it brings what a replica does not need

        began = time.perf_counter()
        with self._translate_mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            mlflow.set_tracking_uri(self.tracking_uri)
            digest = bundles.write_bundle(candidate.bundle, Path(folder) / "bundle")
            tags = {
                **candidate.tags,
                "digest": digest,
                "forest_digest": bundles.forest_digest(Path(folder) / "bundle"),
                "schema_hash": candidate.bundle.schema_hash,
            }
            if self._signing_key:
                tags[SIGNATURE] = sign_digest(digest, self._signing_key)
            about = describe_version(
                candidate.bundle,
                candidate.metrics,
                candidate.gate,
                candidate.tags.get("trigger", "manual"),
            )
            run, uri, model = record_run(
                candidate,
                Path(folder) / "bundle",
                self._experiment(TRAINING_EXPERIMENT),
                tags,
                about,
            )
            self._ensure_model()
            created = self._client.create_model_version(
                self.model_name, uri, run, tags, model_id=model, description=about
            )
            self._client.set_registered_model_alias(self.model_name, "challenger", created.version)
            self._client.log_metric(run, "seconds_register", time.perf_counter() - began)
        return self.get(str(created.version))

    def desired(self) -> Desired:
        """What replicas should have: read in one call, so that it is of one moment."""
        with self._translate_mlflow_errors():
            try:
                model = self._client.get_registered_model(self.model_name)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return Desired()
                raise
        canary = read_canary(model.tags)
        found = {
            alias: self._known(str(model.aliases[alias]))
            for alias in ("champion", "challenger")
            if alias in model.aliases
        }
        champion, challenger, schema = (
            found.get("champion"),
            found.get("challenger"),
            model.tags.get(SCHEMA_TAG, ""),
        )
        if canary is None or champion is None or canary.champion != champion.version:
            return Desired(champion, challenger, schema=schema)
        return Desired(champion, challenger, canary, self._known(canary.version), schema)

    def _known(self, version: str) -> Version:
        """A version without metrics; what replicas need of it never changes."""
        if version not in self._versions:
            with self._translate_mlflow_errors():
                self._versions[version] = self._version(
                    self._client.get_model_version(self.model_name, version)
                )
        return self._versions[version]

    def fetch(self, version: Version, cache: Path) -> ModelBundle:
        """The verified bundle of `version`; downloaded once per node into the BundleCache at `cache`.

        Raises BundleError when it is not what was registered, or not signed by whom it should be, RegistryUnavailable when it
        cannot be had.
        """
        self._trust.check(version.digest, version.tags.get(SIGNATURE))

        def download(folder: Path) -> Path:
            with self._translate_mlflow_errors():
                listed = {
                    file.path: file.file_size or 0
                    for file in self._client.list_artifacts(version.run_id, "bundle")
                }
                if not listed:
                    raise RegistryUnavailable(
                        f"the artifacts of version {version.version} cannot be read: there are none"
                    )
                bundles.check_listing(
                    {path.removeprefix("bundle/"): size for path, size in listed.items()}
                )
                return Path(self._client.download_artifacts(version.run_id, "bundle", str(folder)))

        return BundleCache(cache).get(version.digest, download)

    def _version(self, found: ModelVersion, with_metrics: bool = False) -> Version:
        metrics = (
            self._client.get_run(found.run_id).data.metrics if with_metrics and found.run_id else {}
        )
        return Version(
            str(found.version),
            str(found.run_id),
            found.tags.get("digest", ""),
            found.creation_timestamp / 1000,
            tuple(sorted(found.aliases)),
            dict(found.tags),
            metrics,
        )

    def _ensure_model(self) -> None:
        try:
            self._client.create_registered_model(self.model_name, description=MODEL_DESCRIPTION)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
