"""Versions into memory: from memory itself, the node's disk or the registry, verified and warm."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from serve.metrics import ServeMetrics
from serve.model.loaded import LoadedModel
from train.registry.cache import BundleCache
from train.registry.versions import Registry, Version
from vigil.errors import BundleError, RegistryUnavailable, VigilError

log = logging.getLogger("ray.serve")
MAX_RETRY_DELAY_S = 60.0  # between two attempts at a version that was refused
MAX_RESIDENT_MODELS = 2
_OTHER_FEATURES = "has other features than callers send: `vigil promote` changes them"
Clock = Callable[[], float]


@dataclass(frozen=True)
class Refusal:
    """Why this replica did not take a version; it is tried again from `retry_at` (monotonic) on."""

    reason: str
    attempts: int
    retry_at: float


class ResidentModels:
    """Models that were served, in memory for a while longer: going back downloads nothing."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._models: dict[str, LoadedModel] = {}
        self._until: dict[str, float] = {}

    def keep(self, model: LoadedModel, seconds: float) -> None:
        """Hold `model` for so long; the one that was kept first goes when there are too many."""
        self.discard(model.version)
        self._models[model.version] = model
        self._until[model.version] = self._clock() + seconds
        while len(self._models) > MAX_RESIDENT_MODELS:
            self.discard(next(iter(self._models)))

    def discard(self, version: str) -> None:
        self._models.pop(version, None)
        self._until.pop(version, None)

    def discard_expired(self) -> None:
        for version in self._expired():
            self.discard(version)

    def _expired(self) -> list[str]:
        now = self._clock()
        return [version for version, until in self._until.items() if until <= now]

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._models.values())


class ModelLoader:
    """Loads versions, and remembers which ones were refused, and why."""

    def __init__(
        self,
        registry: Registry,
        cache: Path,
        metrics: ServeMetrics,
        *,
        retry_s: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self.refusals: dict[str, Refusal] = {}
        self.retry_s = retry_s  # a version that was refused waits a multiple of it
        self._registry = registry
        self._cache = cache
        self._metrics = metrics
        self._clock = clock

    async def load(
        self,
        version: Version,
        schemas: Collection[str] | None,
        loaded: Iterable[LoadedModel],
    ) -> LoadedModel | None:
        """Return the warm model of a version, or None when it is refused.

        `schemas` are the schema hashes that callers send (None: any); `loaded` is in memory.
        """
        for model in loaded:
            if model.version == version.version:
                return replace(model, since=time.time())
        if self._must_wait(version.version):
            return None
        return await self._try_to_load(version, schemas)

    async def _try_to_load(
        self, version: Version, schemas: Collection[str] | None
    ) -> LoadedModel | None:
        try:
            model = await self._load_anew(version, schemas)
        except VigilError as error:
            self._refuse(version.version, error)
            return None
        self.refusals.pop(version.version, None)
        return model

    def forget_refusals(self, *, but_of: Collection[str]) -> None:
        """Keep the refusals of these versions only."""
        self.refusals = {
            version: refusal for version, refusal in self.refusals.items() if version in but_of
        }

    async def load_last_known_good(self) -> LoadedModel | None:
        """Return the warm model that this node served last, or None when there is no sound one."""
        last = await asyncio.to_thread(BundleCache(self._cache).last_known_good)
        if last is None:
            return None
        return await asyncio.to_thread(LoadedModel.warm, *last)

    def remember_last_known_good(self, model: LoadedModel) -> None:
        """Note on the node's disk that `model` is sound. Blocks."""
        try:
            BundleCache(self._cache).remember(model.version, model.digest)
        except OSError as error:
            log.warning("the last known good model cannot be noted: %s", error)

    def _must_wait(self, version: str) -> bool:
        refusal = self.refusals.get(version)
        return refusal is not None and self._clock() < refusal.retry_at

    async def _load_anew(self, version: Version, schemas: Collection[str] | None) -> LoadedModel:
        number = version.version
        bundle = await asyncio.to_thread(self._registry.fetch, version, self._cache)
        if schemas is not None and bundle.schema_hash not in schemas:
            raise BundleError(f"version {number} {_OTHER_FEATURES}")
        return await asyncio.to_thread(LoadedModel.warm, number, version.digest, bundle)

    def _refuse(self, version: str, error: VigilError) -> None:
        self._metrics.swap_failures.inc()
        former = self.refusals.get(version)
        attempts = 1 if former is None else former.attempts + 1
        if attempts == 1:  # logged once per version, counted each time
            _log_refusal(version, error.message)
        retry_at = self._clock() + self._retry_delay_s(error, attempts)
        self.refusals[version] = Refusal(error.message, attempts, retry_at)

    def _retry_delay_s(self, error: VigilError, attempts: int) -> float:
        """What cannot be had now may be there at once; what is damaged is not worth a download
        at every look."""
        if isinstance(error, RegistryUnavailable):
            return 0.0
        return min(self.retry_s * 2 ** min(attempts, 10), MAX_RETRY_DELAY_S)


def _log_refusal(version: str, reason: str) -> None:
    fields = {"model_version": version}
    log.error("version %s cannot be served, the model stays: %s", version, reason, extra=fields)
