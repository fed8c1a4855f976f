"""A registry in which a person moves a model, and the replicas that follow it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from train.settings import TrainSettings
from vigil.errors import PlatformError, RegistryError
from vigil.service import KEY_REFUSED, Service, ServiceOptions, Unanswered
from vigil.settings import HomeSettings
from vigil.terminal import print_answer

if TYPE_CHECKING:
    from train.registry.versions import Registry

_CONVERGE_POLL_INTERVAL_S = 0.2
_DRIFT_TIMEOUT_S = 5
_NOT_WAITED = (
    "; nobody was waited for: replicas follow the registry by themselves within their poll period "
    "(VIGIL_URL and VIGIL_API_KEY name a service to wait for)"
)


def local_registry() -> Registry:
    """Return the registry of the settings and the home of this process."""
    from train.connect import open_registry

    return open_registry(HomeSettings().open(), TrainSettings())


class FollowedRegistry:
    """The registry in which a model is moved, and the service that follows it, if there is one.

    Raises PlatformError for a service elsewhere whose registry nobody has named: the local one is
    not it. Replicas are waited for `timeout_s`.
    """

    def __init__(
        self,
        named: ServiceOptions,
        open_registry: Callable[[], Registry],
        timeout_s: float = 20.0,
    ) -> None:
        self._timeout_s = timeout_s
        self._is_elsewhere = TrainSettings().tracking_uri is not None
        if named.url is not None and not self._is_elsewhere:
            raise PlatformError(
                f"{named.url} is a service elsewhere: name its registry as well, "
                "with VIGIL_TRAIN_TRACKING_URI"
            )
        self.registry = open_registry()
        self._service = named.find(HomeSettings().open())

    def refresh_replicas(self) -> None:
        """Have the replicas look at the registry now; else they do within their poll period."""
        if self._service is not None:
            with suppress(Unanswered):
                self._service.post("/models/refresh")

    def wait_and_tell(self, as_json: bool) -> None:
        """Wait until every replica serves the champion; say so, or why nobody was waited for."""
        champion = self.registry.champion()
        assert champion is not None
        self.refresh_replicas()
        replicas, where = self._wait(champion.version)
        document = {
            "version": champion.version,
            "digest": champion.digest,
            "replicas": replicas,
        }
        sentence = f"version {champion.version} is champion{where}"
        print_answer(document, sentence, as_json=as_json)

    def _wait(self, version: str) -> tuple[list[str], str]:
        """The replicas that serve it, all of them, and what to say of that."""
        if self._service is None:
            return [], _NOT_WAITED if self._is_elsewhere else "; no platform runs here"
        try:
            replicas = wait_for_replicas(self._service, version, self._timeout_s)
        except Unanswered as error:
            return [], f"{_NOT_WAITED}; {error.message}"
        return replicas, f" on {len(replicas)} replicas"


def wait_for_replicas(
    service: Service,
    version: str,
    timeout_s: float,
) -> list[str]:
    """Wait until every replica serves `version`; return them.

    Raises RegistryError that names those that lag, and Unanswered where the service wants another
    key.
    """
    deadline = time.monotonic() + timeout_s
    lagging = ["no replica has reported"]
    while time.monotonic() < deadline:
        try:
            served = _served_versions(service)
        except Unanswered as error:
            _raise_refused_key(error)
            served = {}
            lagging = [error.message]
        if served:
            lagging = [replica for replica in served if served[replica] != version]
        if not lagging:
            return list(served)
        time.sleep(_CONVERGE_POLL_INTERVAL_S)
    raise RegistryError(
        f"version {version} is champion, but not served everywhere after "
        f"{timeout_s:.0f} s: {', '.join(lagging)}"
    )


def _raise_refused_key(error: Unanswered) -> None:
    if error.code in KEY_REFUSED:
        raise error


def _served_versions(service: Service) -> dict[str, str]:
    """Version by replica, as the monitor has it."""
    replicas = service.get("/drift", timeout_s=_DRIFT_TIMEOUT_S)["replicas"]
    return {replica["replica"]: replica["version"] for replica in replicas}
