"""Follow the registry: desired version -> load -> verify -> swap. A request reads one frozen snapshot.

Loading happens beside the model that serves, in a thread; the swap is one reference assignment. A version that cannot be
loaded or verified, or has other features than callers send, changes nothing but a metric and the reason that is reported.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

from serve.metrics import ServeMetrics
from serve.model.canary import RunningCanary
from serve.model.loaded import LoadedModel
from serve.model.shadow import Shadow
from serve.settings import ServeSettings
from train.registry.cache import BundleCache
from train.registry.versions import Desired, Registry, Version
from vigil.errors import BundleError, RegistryUnavailable, VigilError

log = logging.getLogger("ray.serve")
SLOW_LOAD_S = 1.0  # after a longer load the alias is read again before the model is published
HANGS_S = 8.0
MOST_TURNS = 5  # of that in one poll
LONGEST_WAIT_S = 60.0  # between two attempts at a version that was refused
UNGUARDED_S = 10.0  # without a word of the monitor a canary is over
KEPT = 2  # models that stay in memory after they were served
REGISTRY, LAST_KNOWN_GOOD = "registry", "last-known-good"


@dataclass(frozen=True)
class Refusal:
    """Why this replica did not take a version; it is tried again from `again` (monotonic) on."""

    reason: str
    attempts: int
    again: float


class ModelWatch:
    """Keeps `snapshot` at the registry's champion, and canary and shadow at what it says. `snapshot` is None at first."""

    def __init__(
        self, registry: Registry, cache: Path, metrics: ServeMetrics, settings: ServeSettings
    ) -> None:
        self._settings = settings
        self.model: LoadedModel | None = None
        self.canary: RunningCanary | None = None
        self.shadow: Shadow | None = None
        self.desired: str | None = None
        self.refusals: dict[str, Refusal] = {}
        self.source = REGISTRY
        self._resident: dict[
            str, tuple[LoadedModel, float]
        ] = {}  # by version, until when: going back downloads nothing
        self._registry = registry
        self._cache = cache
        self._metrics = metrics
        self._polling = asyncio.Lock()
        self._heard = float("-inf")  # of the monitor, which guards canaries
        self._stopped = 0.0  # the canary that it has stopped, by its start
        self._noticed: tuple[str, float] | None = (
            None  # a version that is not served yet, and since when (monotonic)
        )

    def follow_settings(self, settings: ServeSettings) -> None:
        """How often to look, how long to keep, whether to shadow: from the next look on."""
        self._settings = settings

    async def poll(self) -> None:
        """Look at the registry and follow it. Never raises for an expected failure."""
        async with self._polling:
            self._forget_former()
            turns = 0
            while (
                (desired := await self._ask()) is not None
                and not await self._follow(desired)
                and turns < MOST_TURNS
            ):
                turns += 1
            await self._start_from_cache()
            if desired is not None:
                await self._accompany(desired)

    async def _ask(self) -> Desired | None:
        # A registry that hangs must not keep a new replica from its last known good model.
        patience = HANGS_S if self.model is None else None
        try:
            desired = await asyncio.wait_for(asyncio.to_thread(self._registry.desired), patience)
        except (VigilError, TimeoutError) as error:
            self._metrics.registry_failures.inc()
            log.warning("the registry does not answer, serving goes on: %s", error or "it hangs")
            return None
        self.desired = desired.champion.version if desired.champion else None
        return desired

    async def run(self) -> None:
        """Poll for ever, with jitter so that replicas do not ask all at once."""
        while True:
            await asyncio.sleep(self._settings.poll_s * random.uniform(0.8, 1.2))
            try:
                await self.poll()
            except Exception:  # the watch outlives whatever a library throws
                self._metrics.swap_failures.inc()
                log.exception("the model watch failed, the model stays")

    def guarded(self, stopped: float | None) -> None:
        """The monitor has spoken: canaries may run, but not the one that began at `stopped`."""
        self._heard = time.monotonic()
        if stopped is not None:
            self._stopped = stopped
        self.check_guard()

    def check_guard(self) -> None:
        """End the canary that the monitor has stopped, or that nobody guards."""
        if self.canary is not None and (
            self.canary.plan.started == self._stopped or not self._is_guarded
        ):
            self.canary = None

    @property
    def _is_guarded(self) -> bool:
        return time.monotonic() - self._heard < UNGUARDED_S

    async def _follow(self, desired: Desired) -> bool:
        """Serve the champion. False when it took so long that the registry should be asked again."""
        champion = desired.champion
        if champion is None:
            return True
        if self.model is not None and self.model.version == champion.version:
            self._from_registry()
            self._noticed = None
            return True
        began = time.monotonic()
        if self._noticed is None or self._noticed[0] != champion.version:
            self._noticed = (champion.version, began)
        fresh = await self._load(champion, desired.schema)
        if fresh is None:
            return True
        if self.model is not None and time.monotonic() - began > SLOW_LOAD_S:
            self._keep(fresh)
            return False
        before, self.model, self.canary, self.shadow = self.model, fresh, None, None
        self._resident.pop(fresh.version, None)
        if before is not None:
            self._keep(before)
        self._from_registry()
        self._metrics.swaps.inc()
        self._metrics.swap.observe(time.monotonic() - self._noticed[1])
        self._noticed = None
        log.warning(
            "serving version %s (%s)",
            fresh.version,
            fresh.digest[:12],
            extra={"model_version": fresh.version},
        )
        await asyncio.to_thread(self._remember, fresh)
        return True

    def _from_registry(self) -> None:
        self.source = REGISTRY
        self._metrics.last_known_good.set(0)

    async def _accompany(self, desired: Desired) -> None:
        """Have the canary and the shadow that the registry asks for, if they can be had; the champion does not wait for them."""
        wanted = {
            v.version
            for v in (desired.champion, desired.candidate, desired.challenger)
            if v is not None
        }
        self.refusals = {
            version: refusal for version, refusal in self.refusals.items() if version in wanted
        }
        served = self.model
        if served is None or desired.champion is None or served.version != desired.champion.version:
            self.canary = self.shadow = None
            return
        plan, candidate = desired.canary, desired.candidate
        if (
            plan is None
            or candidate is None
            or plan.started == self._stopped
            or not self._is_guarded
        ):
            self.canary = None
        elif self.canary is None or self.canary.plan != plan:
            fresh = await self._load(candidate, served.bundle.schema_hash)
            self.canary = RunningCanary(plan, fresh) if fresh else None
        rival = desired.challenger
        if not self._settings.shadow_rate or rival is None or rival.version == served.version:
            self.shadow = None
        elif self.shadow is None or self.shadow.challenger.version != rival.version:
            fresh = await self._load(rival, served.bundle.schema_hash)
            self.shadow = Shadow(served, fresh) if fresh else None

    async def _load(self, version: Version, schema: str) -> LoadedModel | None:
        """The warm model of a version, from memory, the node's disk or the registry; None when it is refused."""
        if (known := self._in_memory(version.version)) is not None:
            return replace(known, since=time.time())
        refusal = self.refusals.get(version.version)
        if refusal is not None and time.monotonic() < refusal.again:
            return None
        try:
            bundle = await asyncio.to_thread(self._registry.fetch, version, self._cache)
            if self.model is not None and bundle.schema_hash not in (
                schema,
                self.model.bundle.schema_hash,
            ):
                raise BundleError(
                    f"version {version.version} has other features than callers send: `vigil promote` changes them"
                )
            fresh = await asyncio.to_thread(
                LoadedModel.warm, version.version, version.digest, bundle
            )
            self.refusals.pop(version.version, None)
            return fresh
        except VigilError as error:
            self._refuse(version.version, error)
            return None

    def _refuse(self, version: str, error: VigilError) -> None:
        self._metrics.swap_failures.inc()
        attempts = self.refusals[version].attempts + 1 if version in self.refusals else 1
        if attempts == 1:  # told once per version, counted each time
            told = {"model_version": version}
            log.error(
                "version %s cannot be served, the model stays: %s",
                version,
                error.message,
                extra=told,
            )
        # What cannot be had now may be there at once; what is damaged is not worth a download at every poll.
        longer = min(self._settings.poll_s * 2 ** min(attempts, 10), LONGEST_WAIT_S)
        wait = 0.0 if isinstance(error, RegistryUnavailable) else longer
        self.refusals[version] = Refusal(error.message, attempts, time.monotonic() + wait)

    def _keep(self, snapshot: LoadedModel) -> None:
        self._resident.pop(snapshot.version, None)
        self._resident[snapshot.version] = (
            snapshot,
            time.monotonic() + self._settings.keep_previous_s,
        )
        while len(self._resident) > KEPT:
            del self._resident[next(iter(self._resident))]

    def _forget_former(self) -> None:
        now = time.monotonic()
        self._resident = {
            version: kept for version, kept in self._resident.items() if kept[1] > now
        }

    def _in_memory(self, version: str) -> LoadedModel | None:
        known = [snapshot for snapshot, _ in self._resident.values()]
        known += [self.canary.candidate] if self.canary else []
        known += [self.shadow.challenger] if self.shadow else []
        return next((snapshot for snapshot in known if snapshot.version == version), None)

    def _remember(self, snapshot: LoadedModel) -> None:
        try:
            BundleCache(self._cache).remember(snapshot.version, snapshot.digest)
        except OSError as error:
            log.warning("the last known good model cannot be noted: %s", error)

    async def _start_from_cache(self) -> None:
        """Without any model, start from the node's last known good one."""
        if self.model is not None:
            return
        known = await asyncio.to_thread(BundleCache(self._cache).last_known_good)
        if known is not None:
            self.model = await asyncio.to_thread(LoadedModel.warm, *known)
            self.source = LAST_KNOWN_GOOD
            self._metrics.last_known_good.set(1)
            log.warning(
                "the registry cannot give a model: serving the last known good version %s", known[0]
            )
