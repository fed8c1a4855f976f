"""Follow the champion alias: desired version -> load -> verify -> swap. A request reads one frozen snapshot.

Loading happens beside the model that serves, in a thread; the swap is one reference assignment. A failed load changes
nothing but a metric.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from serve.metrics import ServeMetrics
from train import bundle as bundles
from train.bundle import ModelBundle
from train.errors import BundleError, VigilError
from train.forest import BATCH_ROWS
from train.home import write_json
from train.registry import Registry, Version

log = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Snapshot:
    """What a request is answered from: one verified model, immutable."""

    version: str
    digest: str
    bundle: ModelBundle
    since: float

    @cached_property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What every answer says of the model that gave it."""
        return tuple(
            (b"x-vigil-" + name.encode(), value.encode())
            for name, value in (
                ("model-version", self.version),
                ("model-digest", self.digest),
                ("threshold", repr(self.bundle.threshold.value)),
                ("schema-hash", self.bundle.schema_hash),
            )
        )

    @classmethod
    def warm(cls, version: str, digest: str, bundle: ModelBundle) -> Snapshot:
        """Compile and run every kernel once, so that the first request does not."""
        rows = np.zeros((BATCH_ROWS, len(bundle.names)))
        bundle.forest.score(rows)
        bundle.forest.score(rows[:1])
        bundle.forest.attribute(rows[:1])
        return cls(version, digest, bundle, time.time())


class ModelWatch:
    """Keeps `snapshot` at the registry's champion. `snapshot` is None until there is a first model."""

    def __init__(self, registry: Registry, cache: Path, metrics: ServeMetrics, poll_s: float) -> None:
        self.poll_s = poll_s
        self.snapshot: Snapshot | None = None
        self._previous: Snapshot | None = None  # stays resident: a rollback downloads nothing
        self._registry = registry
        self._cache = cache
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._failed: str | None = None

    async def poll(self) -> None:
        """Look at the alias once and swap when it has moved. Never raises for an expected failure."""
        try:
            champion = await asyncio.to_thread(self._registry.champion)
        except VigilError as error:
            self._metrics.registry_failures.inc()
            if self.snapshot is None:
                await asyncio.to_thread(self._last_known_good)
            log.warning("the registry does not answer, serving goes on: %s", error.message)
            return
        if champion is None or (self.snapshot is not None and self.snapshot.version == champion.version):
            return
        try:
            await self._swap(champion)
            self._failed = None
        except VigilError as error:
            self._metrics.swap_failures.inc()
            if self._failed != champion.version:  # told once per version, counted each time
                log.error("version %s cannot be served, the model stays: %s", champion.version, error.message)
            self._failed = champion.version

    async def run(self) -> None:
        """Poll for ever, with jitter so that replicas do not ask all at once."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), self.poll_s * random.uniform(0.8, 1.2))
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.poll()
            except Exception:  # the watch outlives whatever a library throws
                self._metrics.swap_failures.inc()
                log.exception("the model watch failed, the model stays")

    def hurry(self) -> None:
        """Poll now."""
        self._wake.set()

    async def _swap(self, champion: Version) -> None:
        previous = self._previous
        if previous is not None and previous.version == champion.version:
            fresh = Snapshot(previous.version, previous.digest, previous.bundle, time.time())
        else:
            bundle = await asyncio.to_thread(self._registry.fetch, champion, self._cache)
            fresh = await asyncio.to_thread(Snapshot.warm, champion.version, champion.digest, bundle)
        self.snapshot, self._previous = fresh, self.snapshot
        self._metrics.swaps.inc()
        log.warning("serving version %s (%s)", fresh.version, fresh.digest[:12])
        await asyncio.to_thread(self._remember, fresh)

    @property
    def _pointer(self) -> Path:
        return self._cache / "last-known-good.json"

    def _remember(self, snapshot: Snapshot) -> None:
        try:
            write_json(self._pointer, {"version": snapshot.version, "digest": snapshot.digest})
        except OSError as error:
            log.warning("the last known good model cannot be noted: %s", error)

    def _last_known_good(self) -> None:
        """Start from the node's cache while the registry is away."""
        try:
            known = json.loads(self._pointer.read_text())
            bundle = bundles.read(self._cache / known["digest"], known["digest"])
        except (OSError, ValueError, TypeError, LookupError, BundleError):
            return
        self.snapshot = Snapshot.warm(known["version"], known["digest"], bundle)
        log.warning("the registry is away: serving the last known good version %s", known["version"])
