"""Promotion ledger in MLflow: aliases, the canary's tag and the moves, under one lock.

train/registry/promotion.py says in which order the steps are made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from train.registry.canary import Canary
from train.registry.entities import MlflowModel, Run
from train.registry.lock import LOCK_TIMEOUT_S, RegistryLock
from train.registry.moves import Move
from train.registry.server import MlflowServer, filter_text
from vigil.json_types import Fields, JsonObject

PROMOTIONS_EXPERIMENT = "vigil-promotions"
DRIFT_REPORTS_EXPERIMENT = "vigil-drift"
CANARY_TAG = "canary"  # of the registered model
SCHEMA_TAG = "schema"
_PAGE_RUNS = 1000
_NUMBER_TAG = "number"  # of a move
_NUMBER_DIGITS = 12  # with zeros in front numbers sort as texts do
# An older Vigil has not numbered its moves: they are the first.
_LATEST_FIRST = [f"tags.{_NUMBER_TAG} DESC", "attributes.start_time DESC"]
_STATES: JsonObject = {"FINISHED": "done", "FAILED": "failed"}


class Ledger:
    """Registered model `model_name` on an MLflow server, as far as promotions change it.

    tracking_uri: of the server, or of its database
    artifacts: where new experiments keep artifacts when there is no server to say so
    lock_timeout_s: a promotion lock that is older was left by a crash
    """

    def __init__(
        self,
        tracking_uri: str,
        model_name: str,
        artifacts: Path | None = None,
        *,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        self.server = MlflowServer(tracking_uri, artifacts)
        self.model_name = model_name
        self._client = self.server.client
        self._lock_timeout_s = lock_timeout_s

    @property
    def tracking_uri(self) -> str:
        return self.server.tracking_uri

    def aliases(self) -> dict[str, str]:
        """Return the versions by alias."""
        with self._translate_mlflow_errors():
            return {alias: str(version) for alias, version in self._model().aliases.items()}

    def canary(self) -> Canary | None:
        """Return the canary that runs."""
        with self._translate_mlflow_errors():
            return read_canary(self._model().tags)

    def set_alias(self, alias: str, version: str | None) -> None:
        """Move an alias; None takes it away."""
        with self._translate_mlflow_errors():
            if version is None:
                self._client.delete_registered_model_alias(self.model_name, alias)
            else:
                self._client.set_registered_model_alias(self.model_name, alias, version)

    def set_canary(self, canary: Canary | None) -> None:
        """Start or end a canary.

        It is one tag of the registered model, so that replicas read aliases and canary together.
        """
        with self._translate_mlflow_errors():
            if canary is not None:
                self._set_tag(CANARY_TAG, canary.to_json())
            elif CANARY_TAG in self._model().tags:
                self._client.delete_registered_model_tag(self.model_name, CANARY_TAG)

    def set_schema(self, schema: str) -> None:
        """Declare the features that callers send, by their hash: replicas take no champion with
        others."""
        with self._translate_mlflow_errors():
            self._set_tag(SCHEMA_TAG, schema)

    def open_move(self, move: Move) -> str:
        """Enter a move that is about to be made; returns its id."""
        with self._translate_mlflow_errors():
            tags = _move_tags(move) | {_NUMBER_TAG: self._next_number()}
            return self._create_run(PROMOTIONS_EXPERIMENT, _move_title(move), tags)

    def _next_number(self) -> str:
        """The place of the next entry: a clock that goes back changes no order."""
        return f"{self._last_number() + 1:0{_NUMBER_DIGITS}}"

    def _last_number(self) -> int:
        last = next(self._move_runs(1), None)
        return int(last.data.tags.get(_NUMBER_TAG, 0)) if last else 0

    def close_move(self, move: str, done: bool) -> None:
        """Enter how the move with this id ended."""
        with self._translate_mlflow_errors():
            self._client.set_terminated(move, "FINISHED" if done else "FAILED")

    def moves(self, most: int | None = None) -> list[Move]:
        """Return the ledger, or the latest `most` entries of it, latest first."""
        with self._translate_mlflow_errors():
            return [_move_of_run(run) for run in self._move_runs(most)]

    def log_report(self, episode: str, page: str) -> None:
        """Keep the report of a drift episode, an HTML page, as a run of its own."""
        title = f"drift {episode}"
        with self._translate_mlflow_errors():
            run = self._create_run(
                DRIFT_REPORTS_EXPERIMENT,
                title,
                {"episode": episode},
            )
            self._client.log_text(run, page, "drift.html")
            self._client.set_terminated(run)

    def exclusive(self, actor: str, what: str = "promoting") -> AbstractContextManager[None]:
        """Hold the promotion lock (or another).

        Raises RegistryError, naming the holder, when somebody else does.
        """
        name = f"{self.model_name}.{what}"
        return RegistryLock(self.server, name, actor, self._lock_timeout_s).held()

    def _model(self) -> MlflowModel:
        return self._client.get_registered_model(self.model_name)

    def _create_run(
        self,
        experiment: str,
        title: str,
        tags: Mapping[str, str],
    ) -> str:
        """Create a run of the model; returns its id."""
        run = self._client.create_run(
            self.server.experiment_id(experiment),
            run_name=title,
            tags={"model": self.model_name, **tags},
        )
        return run.info.run_id

    def _set_tag(self, tag: str, value: str) -> None:
        self._client.set_registered_model_tag(self.model_name, tag, value)

    def _move_runs(self, most: int | None) -> Iterator[Run]:
        """The runs of the moves, latest first; all pages of them, or one of `most` runs."""
        experiments = [self.server.experiment_id(PROMOTIONS_EXPERIMENT)]
        of_model = f"tags.model = {filter_text(self.model_name)}"
        token = None
        while True:
            page = self._client.search_runs(
                experiments,
                of_model,
                max_results=most or _PAGE_RUNS,
                order_by=_LATEST_FIRST,
                page_token=token,
            )
            yield from page
            token = page.token
            if most or not token:
                return

    def _translate_mlflow_errors(self) -> AbstractContextManager[None]:
        return self.server.translate_mlflow_errors()


def read_canary(tags: Mapping[str, str]) -> Canary | None:
    """Return the canary that the tags of a registered model describe.

    One that nobody can read is none.
    """
    if CANARY_TAG not in tags:
        return None
    try:
        return Canary.from_json(tags[CANARY_TAG])
    except (ValueError, TypeError, LookupError):
        return None


def _move_title(move: Move) -> str:
    return f"{move.kind}: {move.former or 'none'} to {move.to}"


def _move_tags(move: Move) -> dict[str, str]:
    return {
        "kind": move.kind,
        "from": move.former,
        "to": move.to,
        "digest": move.digest,
        "reason": move.reason,
        "actor": move.actor,
        "gates": json.dumps(dict(move.gates)),
    }


def _move_of_run(run: Run) -> Move:
    tags: Fields = run.data.tags
    return Move(
        kind=tags.get("kind", "promote"),
        former=tags["from"],
        to=tags["to"],
        digest=tags["digest"],
        reason=tags["reason"],
        actor=tags["actor"],
        gates=json.loads(tags["gates"]),
        at=(run.info.start_time or 0) / 1000,
        id=run.info.run_id,
        state=_STATES.get(run.info.status, "open"),
    )
