"""What the endpoints of one replica share, without Ray Serve's deployment around it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec import structs

from serve.http.observe import RequestObserver
from serve.metrics import ServeMetrics
from serve.model.capture import Capture
from serve.model.handles import Application
from serve.model.loaded import LoadedModel
from serve.model.prepared import ContextSource
from serve.model.report import ServedModel
from serve.model.reporting import Reporter
from serve.model.watch import ModelWatch
from serve.settings import ServeSettings
from train.registry.moves import Promotable
from vigil.errors import NoModel, VigilError
from vigil.json_types import Fields, JsonObject

REFRESH_TIMEOUT_S = 10.0
_NO_MODEL = (
    "no model is loaded yet: train and promote one with `vigil train --data P` and "
    "`vigil promote V`"
)

RefreshReplicas = Callable[[], Awaitable[list[JsonObject]]]


class AskMonitor(Protocol):
    """Ask a method of the drift monitor; raises NoMonitor, and what the method raised."""

    async def __call__(self, method: str, *args: Any) -> Any: ...


class NotRefreshed(VigilError):
    """The replicas could not all be told to look at the registry."""

    status = 503


class UnknownModel(VigilError):
    """Another model or version was asked for than is served."""

    status = 404


@dataclass
class Replica:
    """The parts of one replica. `settings` is replaced when they change while it runs."""

    name: str
    settings: ServeSettings
    metrics: ServeMetrics
    watch: ModelWatch
    capture: Capture
    reporter: Reporter
    observer: RequestObserver
    registry: Promotable
    ask_monitor: AskMonitor
    refresh_replicas: RefreshReplicas
    context: ContextSource

    def follow(self, config: Fields) -> None:
        """Take the settings that may change while the replica runs; raises BadSettings."""
        self.settings = self.settings.with_live_values(config)
        self.watch.follow_settings(self.settings)
        self.capture.follow_settings(self.settings)
        self.observer.follow_settings(self.settings)
        self.context.follow_settings(self.settings)

    def model(self) -> LoadedModel:
        """Return the model that is served; raises NoModel."""
        model = self.watch.model
        if model is None:
            raise NoModel(_NO_MODEL)
        return model

    def named_model(self, name: str, version: str | None) -> LoadedModel:
        """Return the model of this name and version; raises UnknownModel unless it is served.

        A canary is served as well.
        """
        model = self.model()
        model = self._canary_of(version) or model
        if name == self.settings.model_name and version in (None, model.version):
            return model
        raise self._unknown(name if version is None else f"{name} version {version}")

    def _canary_of(self, version: str | None) -> LoadedModel | None:
        canary = self.watch.canary
        if canary is None or canary.candidate.version != version:
            return None
        return canary.candidate

    def _unknown(self, asked: str) -> UnknownModel:
        served = f"{self.settings.model_name!r} version {self.model().version}"
        return UnknownModel(f"{asked!r} is not served; {served} is")

    def served(self) -> ServedModel:
        """Return what this replica serves, what it should, and why it does not."""
        watch = self.watch
        served = ServedModel(
            replica=self.name,
            pid=os.getpid(),
            desired=watch.desired,
            source=watch.source,
            canary=watch.canary.candidate.version if watch.canary else None,
            refused={version: refusal.reason for version, refusal in watch.refusals.items()},
        )
        if watch.model is None:
            return served
        return _serving(served, watch.model)

    def status(self) -> JsonObject:
        """Return it as plain values, for whoever asks by handle or over HTTP."""
        return msgspec.to_builtins(self.served())


def _serving(served: ServedModel, model: LoadedModel) -> ServedModel:
    return structs.replace(
        served,
        version=model.version,
        digest=model.digest,
        since=model.since,
    )


class ReplicaGroup:
    """All replicas of a Serve application."""

    def __init__(self, application: str) -> None:
        self._application = Application(application)

    async def refresh(self) -> list[JsonObject]:
        """Have every replica look at the registry now; return the status of each.

        Raises NotRefreshed when not all of them answer: they look by themselves within their poll
        period.
        """
        try:
            asked = self._application.ask_all("refresh")
            return await asyncio.wait_for(asked, REFRESH_TIMEOUT_S)
        except Exception as error:
            raise NotRefreshed(
                f"not every replica answered ({type(error).__name__}); each looks by itself soon"
            ) from error
