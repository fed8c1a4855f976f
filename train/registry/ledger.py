"""The promotion ledger in MLflow: aliases, the canary's tag, entries, and the lock under which they change.

With train/registry/versions.py the only module that talks to MLflow; train/registry/promotion.py says in which order the steps are made.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from train.registry.canary import Canary
from train.registry.promotion import Move
from vigil.errors import RegistryError, RegistryUnavailable

PROMOTIONS_EXPERIMENT = "vigil-promotions"
DRIFT_REPORTS_EXPERIMENT = "vigil-drift"
CANARY_TAG, SCHEMA_TAG = "canary", "schema"  # tags of the registered model
LOCK_TIMEOUT_S = 60.0  # a promotion takes a second; a lock so old is a crashed one's
LOCK_TEXT = "A promotion is under way. Vigil removes this by itself."


class Ledger:
    """The registered model `model_name` on the MLflow server (or database) `tracking_uri`, as far as promotions change it."""

    def __init__(self, tracking_uri: str, model_name: str, artifacts: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.model_name = model_name
        self._artifacts = (
            artifacts  # where new experiments keep artifacts when there is no server to say so
        )
        self._client = MlflowClient(tracking_uri)

    def aliases(self) -> dict[str, str]:
        """Version by alias."""
        with self._translate_mlflow_errors():
            return {
                alias: str(v)
                for alias, v in self._client.get_registered_model(self.model_name).aliases.items()
            }

    def canary(self) -> Canary | None:
        """The canary that runs."""
        with self._translate_mlflow_errors():
            return read_canary(self._client.get_registered_model(self.model_name).tags)

    def set_alias(self, alias: str, version: str | None) -> None:
        """Move an alias; None takes it away."""
        with self._translate_mlflow_errors():
            if version is None:
                self._client.delete_registered_model_alias(self.model_name, alias)
            else:
                self._client.set_registered_model_alias(self.model_name, alias, version)

    def set_canary(self, canary: Canary | None) -> None:
        """Start or end a canary: one tag of the registered model, so that replicas read aliases and canary together."""
        with self._translate_mlflow_errors():
            if canary is not None:
                self._client.set_registered_model_tag(self.model_name, CANARY_TAG, canary.to_json())
            elif CANARY_TAG in self._client.get_registered_model(self.model_name).tags:
                self._client.delete_registered_model_tag(self.model_name, CANARY_TAG)

    def set_schema(self, schema: str) -> None:
        """Declare the features that callers send, by their hash: replicas take no champion with others."""
        with self._translate_mlflow_errors():
            self._client.set_registered_model_tag(self.model_name, SCHEMA_TAG, schema)

    def open_move(self, move: Move) -> str:
        """Enter a move that is about to be made; returns its id."""
        tags = {
            "model": self.model_name,
            "kind": move.kind,
            "from": move.former,
            "to": move.to,
            "digest": move.digest,
            "reason": move.reason,
            "actor": move.actor,
            "gates": json.dumps(dict(move.gates)),
        }
        with self._translate_mlflow_errors():
            name = f"{move.kind}: {move.former or 'none'} to {move.to}"
            return self._client.create_run(
                self._experiment(PROMOTIONS_EXPERIMENT), run_name=name, tags=tags
            ).info.run_id

    def log_report(self, episode: str, page: str) -> None:
        """Keep the report of a drift episode, an HTML page, as a run of its own."""
        tags = {"model": self.model_name, "episode": episode}
        with self._translate_mlflow_errors():
            run = self._client.create_run(
                self._experiment(DRIFT_REPORTS_EXPERIMENT), run_name=f"drift {episode}", tags=tags
            )
            self._client.log_text(run.info.run_id, page, "drift.html")
            self._client.set_terminated(run.info.run_id)

    def close_move(self, move: str, done: bool) -> None:
        """Say how a move ended."""
        with self._translate_mlflow_errors():
            self._client.set_terminated(move, "FINISHED" if done else "FAILED")

    def moves(self, most: int | None = None) -> list[Move]:
        """The ledger, or the latest `most` entries of it, latest first."""
        states: dict[str, Any] = {"FINISHED": "done", "FAILED": "failed"}
        found, token = [], None
        with self._translate_mlflow_errors():
            experiment = self._experiment(PROMOTIONS_EXPERIMENT)
            while True:
                page = self._client.search_runs(
                    [experiment],
                    f"tags.model = '{self.model_name}'",
                    max_results=most or 1000,
                    page_token=token,
                )
                found += page
                if most or not (token := page.token):
                    break
        return [
            Move(
                run.data.tags.get("kind", "promote"),
                run.data.tags["from"],
                run.data.tags["to"],
                run.data.tags["digest"],
                run.data.tags["reason"],
                run.data.tags["actor"],
                json.loads(run.data.tags["gates"]),
                (run.info.start_time or 0) / 1000,
                run.info.run_id,
                states.get(run.info.status, "open"),
            )
            for run in found
        ]

    @contextmanager
    def exclusive(self, actor: str, what: str = "promoting") -> Iterator[None]:
        """Hold the promotion lock (or another); raises RegistryError, naming the holder, when somebody else does.

        The lock is a registered model: the one thing whose name MLflow keeps unique. One that is older than LOCK_S was left
        by a crash and is taken over.
        """
        with self._holding(f"{self.model_name}.{what}", actor):
            yield

    @contextmanager
    def _holding(self, name: str, actor: str) -> Iterator[None]:
        owner = uuid.uuid4().hex[:8]
        with self._translate_mlflow_errors():
            for _ in range(2):
                try:
                    self._client.create_registered_model(
                        name, tags={"owner": owner, "actor": actor}, description=LOCK_TEXT
                    )
                    break
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    self._break_stale_lock(name, actor)
            else:
                raise RegistryError(
                    "another promotion has just begun: look at `vigil models`, then try again"
                )
        try:
            yield
        finally:
            with suppress(MlflowException):
                self._remove(name, owner)

    def _break_stale_lock(self, name: str, actor: str) -> None:
        with suppress(MlflowException):  # it has been let go meanwhile
            held = self._client.get_registered_model(name)
            age = time.time() - (held.creation_timestamp or 0) / 1000
            if age < LOCK_TIMEOUT_S:
                raise RegistryError(
                    f"another promotion is under way (by {held.tags.get('actor')}, for {age:.0f} s): look at `vigil models`, "
                    "then try again"
                )
            # Of two that find it, the later must not remove the lock that the earlier has made in its place.
            with self._holding(f"{name}.{held.tags['owner']}", actor):
                self._remove(name, held.tags["owner"])

    def _remove(self, name: str, owner: str) -> None:
        if self._client.get_registered_model(name).tags.get("owner") == owner:
            self._client.delete_registered_model(name)

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        location = f"{self._artifacts.as_uri()}/{name}" if self._artifacts else None
        return self._client.create_experiment(name, artifact_location=location)

    @contextmanager
    def _translate_mlflow_errors(self) -> Iterator[None]:
        """Tell a server that is away from one that refuses."""
        try:
            yield
        except MlflowException as error:
            if error.error_code == "INTERNAL_ERROR":
                raise RegistryUnavailable(
                    f"the MLflow server {self.tracking_uri} does not answer: {str(error)[:200]}"
                ) from error
            raise RegistryError(f"MLflow refused: {str(error)[:300]}") from error
        except OSError as error:
            raise RegistryUnavailable(
                f"artifacts of the MLflow server {self.tracking_uri} cannot be read: {error}"
            ) from error


def read_canary(tags: Mapping[str, str]) -> Canary | None:
    """The canary that the tags of a registered model describe; one that nobody can read is none."""
    try:
        return Canary.from_json(tags[CANARY_TAG]) if CANARY_TAG in tags else None
    except (ValueError, TypeError, LookupError):
        return None
