"""Versions in MLflow: register, read, fetch.

The alias `champion` is the only message from training to serving; moving it is the only way a
model reaches production.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from train.model.bundle import ModelBundle, write_bundle
from train.model.bundle_files import DEFAULT_LIMITS, BundleLimits, forest_digest
from train.model.skops_forest import load_forest
from train.registry.cache import BundleCache
from train.registry.canary import Canary
from train.registry.candidate import Candidate
from train.registry.describe import MODEL_DESCRIPTION, describe_version
from train.registry.entities import MlflowModel, MlflowRefusal, ModelVersion
from train.registry.ledger import SCHEMA_TAG, Ledger, read_canary
from train.registry.library_client import translate_library_errors
from train.registry.lock import LOCK_TIMEOUT_S
from train.registry.model_signing import MODEL_SIGNATURE_FILE, sign_model
from train.registry.server import filter_text
from train.registry.signature import SIGNATURE_TAG, Trust, sign_digest
from vigil.errors import BundleError, RegistryError, RegistryUnavailable
from vigil.json_types import JsonObject, Numbers

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

    from train.registry.record import RecordedRun

TRAINING_EXPERIMENT = "vigil-training"
_BUNDLE_FOLDER = "bundle"  # artifact folder of a training run
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Version:
    """One registered model version; `created` is in Unix seconds."""

    version: str
    run_id: str
    digest: str
    created: float
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Numbers = field(default_factory=dict)

    @property
    def schema(self) -> str:
        """Hash of the feature names; empty for a version that does not say."""
        return self.tags.get("schema_hash", "")

    @property
    def verdict(self) -> str:
        """Verdict of its gate, passed or failed; empty for a version that does not say."""
        return self.tags.get("verdict", "")

    def with_aliases(self, aliases: Mapping[str, str]) -> Version:
        """Return the version with those of the model's aliases that name it."""
        own = [alias for alias, version in aliases.items() if str(version) == self.version]
        return replace(
            self,
            aliases=tuple(sorted({*self.aliases, *own})),
        )


@dataclass(frozen=True)
class Desired:
    """Versions that replicas should have.

    challenger: for the shadow
    candidate: the version of the running `canary`
    schema: hash of the features that callers send; empty while nobody has declared them
    """

    champion: Version | None = None
    challenger: Version | None = None
    canary: Canary | None = None
    candidate: Version | None = None
    schema: str = ""

    def is_followed_by(self, canary: Canary) -> bool:
        """Return whether the canary is one for this champion, not for a former one."""
        return self.champion is not None and self.champion.version == canary.champion


@dataclass(frozen=True)
class _Entry:
    """Tags and description of a version that is registered, and of its run."""

    tags: dict[str, str]
    about: str


class Registry(Ledger):
    """Registered model `model_name` on the MLflow server (or database) `tracking_uri`.

    trust: whose bundles are read
    signing_key: signs the versions that are registered
    limits: largest files of a bundle that is fetched
    """

    def __init__(
        self,
        tracking_uri: str,
        model_name: str,
        artifacts: Path | None = None,
        *,
        trust: Trust | None = None,
        signing_key: str | None = None,
        limits: BundleLimits = DEFAULT_LIMITS,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        super().__init__(
            tracking_uri,
            model_name,
            artifacts,
            lock_timeout_s=lock_timeout_s,
        )
        self._trust = trust or Trust()
        self._signing_key = signing_key
        self._limits = limits
        self._versions: dict[str, Version] = {}

    def champion(self) -> Version | None:
        """Return the version that production should serve, or None before the first promotion."""
        return self.desired().champion

    def get(self, version: str) -> Version:
        """Return one version by number; raises RegistryError when there is none."""
        with self._translate_mlflow_errors():
            try:
                return self._with_metrics(self._registered(version))
            except MlflowRefusal as error:
                if error.error_code not in _NOT_THERE:
                    raise
                raise RegistryError(
                    f"model {self.model_name!r} has no version {version}; see `vigil models`"
                ) from error

    def _registered(self, version: str) -> ModelVersion:
        return self._client.get_model_version(self.model_name, version)

    def versions(self) -> list[Version]:
        """Return every version, latest first, with aliases and metrics."""
        with self._translate_mlflow_errors():
            model = self.server.find_model(self.model_name)
            if model is None:
                return []
            versions = self._search(self._of_model)
        # Search results carry no aliases: they are on the model.
        aliased = [version.with_aliases(model.aliases) for version in versions]
        return sorted(aliased, key=_number, reverse=True)

    @property
    def _of_model(self) -> str:
        return f"name={filter_text(self.model_name)}"

    def _search(self, condition: str) -> list[Version]:
        """The versions that meet a condition, with metrics."""
        found = self._client.search_model_versions(condition)
        return [self._with_metrics(version) for version in found]

    def latest(self, most: int) -> list[Version]:
        """Return the latest `most` versions without aliases and metrics, latest first.

        It is one question, however many there are.
        """
        with self._translate_mlflow_errors():
            found = self._client.search_model_versions(
                self._of_model,
                max_results=most,
                order_by=["version_number DESC"],
            )
            return [_version(version) for version in found]

    def of_job(self, job: str) -> Version | None:
        """Return the version that the training job `job` registered, or None."""
        with self._translate_mlflow_errors():
            versions = self._search(f"{self._of_model} and tags.job={filter_text(job)}")
        return versions[0] if versions else None

    def gate(self, version: Version) -> JsonObject:
        """Return the gate verdict that was logged with the version."""
        with self._translate_mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(
                version.run_id,
                "gate.json",
                folder,
            )
            return json.loads(Path(path).read_text())

    def forest(self, version: Version) -> IsolationForest:
        """Return the scikit-learn model that was logged with the version.

        What may be in it is this reader's own list: MLflow's is in the model, whose author could
        put anything on it. Raises BundleError when there is more in it.
        """
        import mlflow

        source = f"models:/{self.model_name}/{version.version}"
        with self._translate_mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            mlflow.set_tracking_uri(self.tracking_uri)
            with translate_library_errors():
                model = mlflow.artifacts.download_artifacts(source, dst_path=folder)
            return _load_forest(Path(model) / "model.skops", version)

    def register(self, candidate: Candidate) -> Version:
        """Log run, bundle and scikit-learn flavour, register the version and make it `challenger`.

        That alias names the latest candidate, also one that failed its gate: it is what the
        shadow scores beside the champion, and its verdict stands beside it (tag `verdict`,
        gate.json). `promote` refuses it unless it is forced.
        """
        # Not at the top: it brings what a replica does not need.
        from train.registry.record import record_run

        began = time.perf_counter()
        with self._translate_mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / _BUNDLE_FOLDER
            entry = self._write_candidate(candidate, bundle)
            run = record_run(
                candidate,
                bundle,
                tracking_uri=self.tracking_uri,
                experiment=self.server.experiment_id(TRAINING_EXPERIMENT),
                tags=entry.tags,
                about=entry.about,
            )
            version = self._create_version(run, entry)
            self._client.log_metric(
                run.run_id,
                "seconds_register",
                time.perf_counter() - began,
            )
        return self.get(version)

    def desired(self) -> Desired:
        """Return what replicas should have: read in one call, so that it is of one moment."""
        with self._translate_mlflow_errors():
            model = self.server.find_model(self.model_name)
        if model is None:
            return Desired()
        desired = Desired(
            champion=self._aliased(model, "champion"),
            challenger=self._aliased(model, "challenger"),
            schema=model.tags.get(SCHEMA_TAG, ""),
        )
        canary = read_canary(model.tags)
        if canary is None or not desired.is_followed_by(canary):
            return desired
        return replace(
            desired,
            canary=canary,
            candidate=self._cached(canary.version),
        )

    def fetch(self, version: Version, cache: Path) -> ModelBundle:
        """Return the verified bundle of `version`; downloaded once per node into the BundleCache
        at `cache`.

        Raises BundleError when it is not what was registered, or not signed by whom it should
        be, RegistryUnavailable when it cannot be had.
        """
        self._trust.check(version.digest, version.tags.get(SIGNATURE_TAG))
        download = partial(self._download_bundle, version)
        return BundleCache(cache).get(version.digest, download)

    def _aliased(self, model: MlflowModel, alias: str) -> Version | None:
        if alias not in model.aliases:
            return None
        return self._cached(str(model.aliases[alias]))

    def _cached(self, version: str) -> Version:
        """A version without metrics; what replicas need of it never changes."""
        if version not in self._versions:
            self._versions[version] = self._without_metrics(version)
        return self._versions[version]

    def _without_metrics(self, version: str) -> Version:
        with self._translate_mlflow_errors():
            return _version(self._registered(version))

    def _with_metrics(self, registered: ModelVersion) -> Version:
        version = _version(registered)
        if not registered.run_id:
            return version
        run = self._client.get_run(registered.run_id)
        return replace(version, metrics=run.data.metrics)

    def _download_bundle(self, version: Version, folder: Path) -> Path:
        with self._translate_mlflow_errors():
            self._limits.check_listing(self._artifact_sizes(version))
            path = self._client.download_artifacts(
                version.run_id,
                _BUNDLE_FOLDER,
                str(folder),
            )
            return Path(path)

    def _artifact_sizes(self, version: Version) -> dict[str, int]:
        """Sizes of the files of the bundle by name, in bytes."""
        files = self._client.list_artifacts(version.run_id, _BUNDLE_FOLDER)
        if not files:
            raise RegistryUnavailable(
                f"the artifacts of version {version.version} cannot be read: there are none"
            )
        prefix = f"{_BUNDLE_FOLDER}/"
        return {file.path.removeprefix(prefix): file.file_size or 0 for file in files}

    def _write_candidate(self, candidate: Candidate, folder: Path) -> _Entry:
        """Write the bundle into `folder`; returns what is entered with it."""
        digest = write_bundle(candidate.bundle, folder)
        tags = {
            **candidate.tags,
            "digest": digest,
            "forest_digest": forest_digest(folder),
            "schema_hash": candidate.bundle.schema_hash,
        }
        if self._signing_key:
            tags[SIGNATURE_TAG] = sign_digest(digest, self._signing_key)
            _write_model_signature(folder, self._signing_key)
        return _Entry(tags, _description(candidate))

    def _create_version(self, run: RecordedRun, entry: _Entry) -> str:
        """Register the model of the run as the challenger; returns its number."""
        self.server.create_model(self.model_name, MODEL_DESCRIPTION)
        created = self._client.create_model_version(
            self.model_name,
            run.model_uri,
            run_id=run.run_id,
            tags=entry.tags,
            model_id=run.model_id,
            description=entry.about,
        )
        self._client.set_registered_model_alias(
            self.model_name,
            "challenger",
            created.version,
        )
        return str(created.version)


def _write_model_signature(bundle: Path, key: str) -> None:
    """Write the signature that others verify beside the bundle, where the key can make one."""
    text = sign_model(bundle, key)
    if text is not None:
        bundle.with_name(MODEL_SIGNATURE_FILE).write_text(text)


def _number(version: Version) -> int:
    return int(version.version)


def _version(registered: ModelVersion) -> Version:
    return Version(
        version=str(registered.version),
        run_id=str(registered.run_id),
        digest=registered.tags.get("digest", ""),
        created=registered.creation_timestamp / 1000,
        aliases=tuple(sorted(registered.aliases)),
        tags=dict(registered.tags),
    )


def _description(candidate: Candidate) -> str:
    trigger = candidate.tags.get("trigger", "manual")
    return describe_version(
        candidate.bundle,
        candidate.metrics,
        candidate.gate,
        trigger,
    )


def _load_forest(file: Path, version: Version) -> IsolationForest:
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return load_forest(file)
    except (UntrustedTypesFoundException, ValueError, TypeError, LookupError) as error:
        raise BundleError(
            f"the scikit-learn model of version {version.version} is refused: {error}"
        ) from error
