"""Lock in the registry, for as long as a promotion takes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from train.registry.server import MlflowServer
from vigil.errors import RegistryError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

LOCK_TIMEOUT_S = 60.0  # a promotion takes a second; a lock so old is a crashed one's
_DESCRIPTION = "A promotion is under way. Vigil removes this by itself."
_ATTEMPTS = 2


class RegistryLock:
    """Lock that is a registered model: the one thing whose name MLflow keeps unique.

    One that is older than `timeout_s` was left by a crash and is taken over.
    """

    def __init__(
        self,
        server: MlflowServer,
        name: str,
        actor: str,
        timeout_s: float,
    ) -> None:
        self._server = server
        self._name = name
        self._actor = actor
        self._timeout_s = timeout_s
        self._owner = uuid.uuid4().hex[:8]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises RegistryError, naming the holder, when somebody else does."""
        from mlflow.exceptions import MlflowException

        with self._server.translate_mlflow_errors():
            self._acquire()
        try:
            yield
        finally:
            with suppress(MlflowException):
                self._remove(self._owner)

    def _acquire(self) -> None:
        tags = {"owner": self._owner, "actor": self._actor}
        for _ in range(_ATTEMPTS):
            if self._server.create_model(
                self._name,
                _DESCRIPTION,
                tags,
            ):
                return
            self._remove_if_stale()
        raise RegistryError(
            "another promotion has just begun: look at `vigil models`, then try again"
        )

    def _remove_if_stale(self) -> None:
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):  # it has been let go meanwhile
            model = self._server.client.get_registered_model(self._name)
            self._check_stale(model)
            owner = model.tags["owner"]
            # Of two that see it, the later must not remove the lock that the earlier has made
            # in its place.
            name = f"{self._name}.{owner}"
            with RegistryLock(self._server, name, self._actor, self._timeout_s).held():
                self._remove(owner)

    def _check_stale(self, model: RegisteredModel) -> None:
        age = time.time() - (model.creation_timestamp or 0) / 1000
        if age < self._timeout_s:
            raise RegistryError(
                f"another promotion is under way (by {model.tags.get('actor')}, for {age:.0f} s): "
                "look at `vigil models`, then try again"
            )

    def _remove(self, owner: str) -> None:
        model = self._server.client.get_registered_model(self._name)
        if model.tags.get("owner") == owner:
            self._server.client.delete_registered_model(self._name)
