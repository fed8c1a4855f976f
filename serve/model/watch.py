"""Follow the registry: desired version -> load -> verify -> swap. A request reads one model.

Loading happens beside the model that serves, in a thread; the swap is one reference assignment.
A version that cannot be loaded or verified, or has other features than callers send, changes
nothing but a metric and the reason that is reported.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from serve.metrics import ServeMetrics
from serve.model.canary import RunningCanary
from serve.model.loaded import LoadedModel
from serve.model.loader import Clock, ModelLoader, Refusal, ResidentModels
from serve.model.row_format import RowFormat
from serve.model.shadow import Shadow
from serve.model.watchdog import CanaryWatchdog
from serve.settings import ServeSettings
from train.registry.canary_clock import CanaryClock
from train.registry.versions import Desired, Registry, Version
from vigil.errors import VigilError

log = logging.getLogger("ray.serve")
REGISTRY = "registry"
LAST_KNOWN_GOOD = "last-known-good"
PrepareContext = Callable[[RowFormat], Awaitable[None]]


@dataclass(frozen=True)
class WatchLimits:
    """How long a watch waits for what, in seconds."""

    registry_timeout_s: float = 8.0  # of a replica that has no model yet
    slow_load_s: float = 1.0  # after a longer load the alias is read again before publishing
    max_slow_loads: int = 5  # in one poll
    guard_timeout_s: float = 10.0  # without a word of the monitor a canary is over
    retry_s: float = 2.0  # after a look that left something to do, the next one comes so soon


@dataclass(frozen=True)
class _Noticed:
    """A version that is not served yet, and when it was first desired (monotonic)."""

    version: str
    at: float


class ModelWatch:
    """Keeps `model` at the registry's champion, and canary and shadow at what it says.

    `model` is None until a first version is loaded.
    """

    desired: str | None = None
    model: LoadedModel | None = None
    canary: RunningCanary | None = None
    shadow: Shadow | None = None
    source: str = REGISTRY

    def __init__(
        self,
        registry: Registry,
        cache: Path,
        metrics: ServeMetrics,
        settings: ServeSettings,
        *,
        limits: WatchLimits | None = None,
        clock: Clock = time.monotonic,
        prepare: PrepareContext | None = None,
    ) -> None:
        """`prepare` is awaited with the format of a model's rows before that is served."""
        self.metrics = metrics
        self._registry = registry
        self._settings = settings
        self._limits = limits or WatchLimits()
        self._clock = clock
        self._prepare = prepare
        self._loader = ModelLoader(
            registry,
            cache,
            metrics,
            retry_s=self._retry_s,
            clock=clock,
        )
        self._resident = ResidentModels(clock)
        self._polling = asyncio.Lock()
        self._guard = CanaryWatchdog(self._limits.guard_timeout_s, clock)
        self._canary_clock = CanaryClock(seconds=clock)
        self._noticed: _Noticed | None = None
        self._is_settled = False

    @property
    def refusals(self) -> dict[str, Refusal]:
        """Versions that this replica did not take, with the reason."""
        return self._loader.refusals

    def follow_settings(self, settings: ServeSettings) -> None:
        """How often to look, how long to keep, whether to shadow: from the next poll on."""
        self._settings = settings
        self._loader.retry_s = self._retry_s

    @property
    def _retry_s(self) -> float:
        return min(self._settings.poll_s, self._limits.retry_s)

    async def run(self) -> None:
        """Poll for ever, with jitter so that replicas do not ask all at once.

        The monitor has `poll` called when something moves: this is for what it could not tell, and
        for what could not be had.
        """
        while True:
            pause_s = self._settings.poll_s if self._is_settled else self._retry_s
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
            await self._poll_whatever_happens()

    async def _poll_whatever_happens(self) -> None:
        try:
            await self.poll()
        except Exception:  # the watch outlives whatever a library throws
            self.metrics.swap_failures.inc()
            log.exception("the model watch failed, the model stays")

    async def poll(self) -> None:
        """Look at the registry and follow it. Never raises for an expected failure."""
        async with self._polling:
            self._is_settled = False
            self._resident.discard_expired()
            desired = await self._follow_registry()
            if self.model is None:
                await self._start_from_cache()
            if desired is not None:
                await self._sync_canary_and_shadow(desired)
            self._is_settled = desired is not None and self._has_all(desired)

    def confirm_guard(self, stopped: float | None) -> None:
        """The monitor is there: canaries may run, but not the one that began at `stopped`."""
        self._guard.confirm(stopped)
        self.check_guard()

    def check_guard(self) -> None:
        """End the canary that the monitor has stopped, or that nobody guards."""
        if self.canary is not None and not self._guard.allows(self.canary.plan):
            self.canary = None

    def _has_all(self, desired: Desired) -> bool:
        """Whether nothing that the registry asks for is missing here."""
        has_canary = desired.canary is None or self.canary is not None
        return self._is_served(desired.champion) and has_canary and not self.refusals

    async def _follow_registry(self) -> Desired | None:
        """Serve the champion; after a slow load look again which one it is.

        Returns what the registry said last, None where it does not answer.
        """
        desired: Desired | None = None
        for _ in range(1 + self._limits.max_slow_loads):
            desired = await self._ask_registry()
            if desired is None or await self._serve_champion(desired):
                break
        return desired

    async def _ask_registry(self) -> Desired | None:
        try:
            desired = await self._read_registry()
        except (VigilError, TimeoutError) as error:
            self.metrics.registry_failures.inc()
            log.warning("the registry does not answer, serving goes on: %s", error or "it hangs")
            return None
        self.desired = desired.champion.version if desired.champion else None
        return desired

    async def _read_registry(self) -> Desired:
        # A registry that hangs must not keep a new replica from its last known good model.
        timeout_s = self._limits.registry_timeout_s if self.model is None else None
        return await asyncio.wait_for(asyncio.to_thread(self._registry.desired), timeout_s)

    async def _serve_champion(self, desired: Desired) -> bool:
        """Serve the champion, if it can be had. False when its load was slow: it is not published,
        but kept in memory."""
        champion = desired.champion
        if champion is None:
            return True
        if self._is_served(champion):
            self._confirm_source()
            return True
        noticed = self._notice(champion)
        began = self._clock()
        model = await self._load(champion, desired.schema)
        if model is not None and self._was_slow(began):
            self._keep(model)
            return False
        if model is not None:
            await self._swap(model, noticed)
        return True

    def _notice(self, champion: Version) -> _Noticed:
        if self._noticed is None or self._noticed.version != champion.version:
            self._noticed = _Noticed(champion.version, self._clock())
        return self._noticed

    def _was_slow(self, began: float) -> bool:
        """Whether the alias may have moved during a load, so that it is read again."""
        return self.model is not None and self._clock() - began > self._limits.slow_load_s

    async def _swap(self, model: LoadedModel, noticed: _Noticed) -> None:
        if self._prepare is not None:
            await self._prepare(model.row_format)
        self._publish(model)
        self.metrics.swap.observe(self._clock() - noticed.at)
        self._confirm_source()
        await asyncio.to_thread(self._loader.remember_last_known_good, model)

    def _is_served(self, version: Version | None) -> bool:
        if version is None or self.model is None:
            return False
        return self.model.version == version.version

    def _publish(self, model: LoadedModel) -> None:
        former = self.model
        self._end_trials()  # they were compared with the former one
        self.model = model
        self._resident.discard(model.version)
        if former is not None:
            self._keep(former)
        self.metrics.swaps.inc()
        _log_swap(model)

    def _end_trials(self) -> None:
        self.canary = None
        self.shadow = None

    def _confirm_source(self) -> None:
        """The model is the one that the registry desires."""
        self.source = REGISTRY
        self.metrics.last_known_good.set(0)
        self._noticed = None

    def _keep(self, model: LoadedModel) -> None:
        self._resident.keep(model, self._settings.keep_previous_s)

    async def _start_from_cache(self) -> None:
        """Without any model, start from the node's last known good one."""
        model = await self._loader.load_last_known_good()
        if model is None:
            return
        self.model = model
        self.source = LAST_KNOWN_GOOD
        self.metrics.last_known_good.set(1)
        log.warning(
            "the registry cannot give a model: serving the last known good version %s",
            model.version,
        )

    async def _sync_canary_and_shadow(self, desired: Desired) -> None:
        """Have the canary and the shadow that the registry asks for, if they can be had.

        The champion does not wait for them.
        """
        self._loader.forget_refusals(but_of=_desired_versions(desired))
        self._canary_clock.follow(desired.canary)
        champion = self.model
        if champion is None or not self._is_served(desired.champion):
            self._end_trials()
            return
        self.canary = await self._desired_canary(desired, champion)
        self.shadow = await self._desired_shadow(desired.challenger, champion)

    async def _desired_canary(
        self, desired: Desired, champion: LoadedModel
    ) -> RunningCanary | None:
        plan = desired.canary
        candidate = desired.candidate
        if plan is None or candidate is None or not self._guard.allows(plan):
            return None
        if self.canary is not None and self.canary.plan == plan:
            return self.canary
        model = await self._load_beside(champion, candidate)
        if model is None:
            return None
        return RunningCanary(plan, model, self._canary_clock.elapsed_s)

    async def _desired_shadow(
        self, challenger: Version | None, champion: LoadedModel
    ) -> Shadow | None:
        if challenger is None or not self._is_shadowed(challenger, champion):
            return None
        if self.shadow is not None and self.shadow.challenger.version == challenger.version:
            return self.shadow
        model = await self._load_beside(champion, challenger)
        if model is None:
            return None
        return Shadow(champion, model)

    async def _load_beside(self, champion: LoadedModel, version: Version) -> LoadedModel | None:
        """The warm model of a version that scores the champion's rows, None where it cannot.

        Numbers that are made of words for the champion mean nothing to a model of other words.
        """
        model = await self._load(version, champion.bundle.schema_hash)
        if model is None or model.row_format.takes_rows_of(champion.row_format):
            return model
        log.warning("version %s has other words in its categories than the champion", model.version)
        return None

    def _is_shadowed(self, challenger: Version, champion: LoadedModel) -> bool:
        return self._settings.shadow_rate > 0 and challenger.version != champion.version

    async def _load(self, version: Version, schema: str) -> LoadedModel | None:
        """Return the warm model of a version, whose features must be those of `schema` or of the
        model that is served; None when it is refused."""
        schemas = None if self.model is None else {schema, self.model.bundle.schema_hash}
        return await self._loader.load(version, schemas, self._models_in_memory())

    def _models_in_memory(self) -> list[LoadedModel]:
        models = list(self._resident)
        if self.canary is not None:
            models.append(self.canary.candidate)
        if self.shadow is not None:
            models.append(self.shadow.challenger)
        return models


def _desired_versions(desired: Desired) -> set[str]:
    versions = (desired.champion, desired.candidate, desired.challenger)
    return {version.version for version in versions if version is not None}


def _log_swap(model: LoadedModel) -> None:
    fields = {"model_version": model.version}
    log.warning("serving version %s (%s)", model.version, model.digest[:12], extra=fields)
