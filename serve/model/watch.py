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
from dataclasses import dataclass
from pathlib import Path

from serve.metrics import ServeMetrics
from serve.model.canary import RunningCanary
from serve.model.loaded import LoadedModel
from serve.model.loader import Clock, ModelLoader, Refusal, ResidentModels
from serve.model.shadow import Shadow
from serve.settings import ServeSettings
from train.registry.canary import Canary
from train.registry.versions import Desired, Registry, Version
from vigil.errors import VigilError

log = logging.getLogger("ray.serve")
REGISTRY = "registry"
LAST_KNOWN_GOOD = "last-known-good"


@dataclass(frozen=True)
class WatchLimits:
    """How long a watch waits for what, in seconds."""

    registry_timeout_s: float = 8.0  # of a replica that has no model yet
    slow_load_s: float = 1.0  # after a longer load the alias is read again before publishing
    max_slow_loads: int = 5  # in one poll
    guard_timeout_s: float = 10.0  # without a word of the monitor a canary is over


@dataclass(frozen=True)
class _Noticed:
    """A version that is not served yet, and when it was first desired (monotonic)."""

    version: str
    at: float


class ModelWatch:
    """Keeps `model` at the registry's champion, and canary and shadow at what it says.

    `model` is None until a first version is loaded.
    """

    def __init__(
        self,
        registry: Registry,
        cache: Path,
        metrics: ServeMetrics,
        settings: ServeSettings,
        *,
        limits: WatchLimits | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.model: LoadedModel | None = None
        self.canary: RunningCanary | None = None
        self.shadow: Shadow | None = None
        self.desired: str | None = None
        self.source = REGISTRY
        self.metrics = metrics
        self._registry = registry
        self._settings = settings
        self._limits = limits or WatchLimits()
        self._clock = clock
        self._loader = ModelLoader(registry, cache, metrics, poll_s=settings.poll_s, clock=clock)
        self._resident = ResidentModels(clock)
        self._polling = asyncio.Lock()
        self._guarded_at = float("-inf")  # when the monitor, which guards canaries, was heard last
        self._stopped = 0.0  # the canary that it has stopped, by its start
        self._noticed: _Noticed | None = None

    @property
    def refusals(self) -> dict[str, Refusal]:
        """Versions that this replica did not take, with the reason."""
        return self._loader.refusals

    def follow_settings(self, settings: ServeSettings) -> None:
        """How often to look, how long to keep, whether to shadow: from the next poll on."""
        self._settings = settings
        self._loader.poll_s = settings.poll_s

    async def run(self) -> None:
        """Poll for ever, with jitter so that replicas do not ask all at once."""
        while True:
            await asyncio.sleep(self._settings.poll_s * random.uniform(0.8, 1.2))
            try:
                await self.poll()
            except Exception:  # the watch outlives whatever a library throws
                self.metrics.swap_failures.inc()
                log.exception("the model watch failed, the model stays")

    async def poll(self) -> None:
        """Look at the registry and follow it. Never raises for an expected failure."""
        async with self._polling:
            self._resident.discard_expired()
            desired = await self._follow_registry()
            if self.model is None:
                await self._start_from_cache()
            if desired is not None:
                await self._sync_canary_and_shadow(desired)

    def confirm_guard(self, stopped: float | None) -> None:
        """The monitor is there: canaries may run, but not the one that began at `stopped`."""
        self._guarded_at = self._clock()
        if stopped is not None:
            self._stopped = stopped
        self.check_guard()

    def check_guard(self) -> None:
        """End the canary that the monitor has stopped, or that nobody guards."""
        if self.canary is not None and not self._may_run(self.canary.plan):
            self.canary = None

    def _may_run(self, plan: Canary) -> bool:
        is_guarded = self._clock() - self._guarded_at < self._limits.guard_timeout_s
        return is_guarded and plan.started != self._stopped

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
        # A registry that hangs must not keep a new replica from its last known good model.
        timeout_s = self._limits.registry_timeout_s if self.model is None else None
        try:
            desired = await asyncio.wait_for(asyncio.to_thread(self._registry.desired), timeout_s)
        except (VigilError, TimeoutError) as error:
            self.metrics.registry_failures.inc()
            log.warning("the registry does not answer, serving goes on: %s", error or "it hangs")
            return None
        self.desired = desired.champion.version if desired.champion else None
        return desired

    async def _serve_champion(self, desired: Desired) -> bool:
        """Serve the champion, if it can be had. False when its load was slow: it is not published,
        but kept in memory."""
        champion = desired.champion
        if champion is None:
            return True
        if self._is_served(champion):
            self._confirm_source()
            return True
        began = self._clock()
        if self._noticed is None or self._noticed.version != champion.version:
            self._noticed = _Noticed(champion.version, began)
        model = await self._load(champion, desired.schema)
        if model is None:
            return True
        if self.model is not None and self._clock() - began > self._limits.slow_load_s:
            self._keep(model)
            return False
        self._publish(model, noticed_at=self._noticed.at)
        await asyncio.to_thread(self._loader.remember_last_known_good, model)
        return True

    def _is_served(self, version: Version | None) -> bool:
        return (
            version is not None and self.model is not None and self.model.version == version.version
        )

    def _publish(self, model: LoadedModel, noticed_at: float) -> None:
        former = self.model
        self.canary = None  # it was compared with the former one
        self.shadow = None
        self.model = model
        self._resident.discard(model.version)
        if former is not None:
            self._keep(former)
        self.metrics.swaps.inc()
        self.metrics.swap.observe(self._clock() - noticed_at)
        self._confirm_source()
        log.warning(
            "serving version %s (%s)",
            model.version,
            model.digest[:12],
            extra={"model_version": model.version},
        )

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
        desired_versions = (desired.champion, desired.candidate, desired.challenger)
        self._loader.forget_refusals(but_of={v.version for v in desired_versions if v is not None})
        champion = self.model
        if champion is None or not self._is_served(desired.champion):
            self.canary = None
            self.shadow = None
            return
        self.canary = await self._desired_canary(desired, champion)
        self.shadow = await self._desired_shadow(desired, champion)

    async def _desired_canary(
        self, desired: Desired, champion: LoadedModel
    ) -> RunningCanary | None:
        plan = desired.canary
        candidate = desired.candidate
        if plan is None or candidate is None or not self._may_run(plan):
            return None
        if self.canary is not None and self.canary.plan == plan:
            return self.canary
        model = await self._load(candidate, champion.bundle.schema_hash)
        return None if model is None else RunningCanary(plan, model)

    async def _desired_shadow(self, desired: Desired, champion: LoadedModel) -> Shadow | None:
        challenger = desired.challenger
        if challenger is None or challenger.version == champion.version:
            return None
        if not self._settings.shadow_rate:
            return None
        if self.shadow is not None and self.shadow.challenger.version == challenger.version:
            return self.shadow
        model = await self._load(challenger, champion.bundle.schema_hash)
        return None if model is None else Shadow(champion, model)

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
