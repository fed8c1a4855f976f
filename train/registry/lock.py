"""Lock in the registry, for as long as a promotion takes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from train.registry.entities import MlflowModel, MlflowRefusal
from train.registry.server import MlflowServer
from vigil.errors import RegistryError

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
        with self._server.translate_mlflow_errors():
            self._acquire()
        try:
            yield
        finally:
            with suppress(MlflowRefusal):
                self._remove(self._owner)

    def _try(self) -> bool:
        tags = {"owner": self._owner, "actor": self._actor}
        return self._server.create_model(self._name, _DESCRIPTION, tags)

    def _acquire(self) -> None:
        for _ in range(_ATTEMPTS):
            if self._try():
                return
            self._remove_if_stale()
        raise RegistryError(
            "another promotion has just begun: look at `vigil models`, then try again"
        )

    def _remove_if_stale(self) -> None:
        with suppress(MlflowRefusal):  # it has been let go meanwhile
            model = self._registered()
            owner = self._owner_of(model)
            age_s = time.time() - _created(model)
            if 0 <= age_s < self._timeout_s:
                raise self._under_way(model, age_s)
            self._take_over(model, owner)

    def _take_over(self, model: MlflowModel, owner: str) -> None:
        """Remove the lock of `owner` if it is stale by the clock that stamped it.

        That is the server's, or the one of a database on this machine; another lock that is made
        now has its time. Of two that see a stale lock the later must not remove the one that the
        earlier has made in its place.
        """
        takeover = RegistryLock(self._server, f"{self._name}.{owner}", self._actor, self._timeout_s)
        with takeover.held():
            age_s = _created(takeover._registered()) - _created(model)
            # One from the future was made before the clock was set back.
            if abs(age_s) < self._timeout_s:
                raise self._under_way(model, max(0.0, age_s))
            self._remove(owner)

    def _registered(self) -> MlflowModel:
        return self._server.client.get_registered_model(self._name)

    def _owner_of(self, model: MlflowModel) -> str:
        if "owner" not in model.tags:
            raise RegistryError(
                f"the registered model {self._name!r} has the name of a lock: rename it in MLflow"
            )
        return model.tags["owner"]

    @staticmethod
    def _under_way(model: MlflowModel, age_s: float) -> RegistryError:
        actor = model.tags.get("actor")
        return RegistryError(
            f"another promotion is under way (by {actor}, for {age_s:.0f} s): "
            "look at `vigil models`, then try again"
        )

    def _remove(self, owner: str) -> None:
        if self._registered().tags.get("owner") == owner:
            self._server.client.delete_registered_model(self._name)


def _created(model: MlflowModel) -> float:
    """When a lock was made, in Unix seconds."""
    return (model.creation_timestamp or 0) / 1000
