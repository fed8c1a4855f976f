"""The model watch: swap on a moved alias; whatever fails, the model that serves stays."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import pytest

from serve.metrics import ServeMetrics
from serve.model.watch import ModelWatch, WatchLimits
from serve.settings import ServeSettings
from train.model import bundle as bundles
from train.model.bundle import ModelBundle
from train.registry.cache import BundleCache
from train.registry.canary import Canary
from train.registry.versions import Desired, Registry, Version
from vigil.errors import BundleError, RegistryUnavailable

EAGER = WatchLimits(retry_s=0.001)


class Versions:
    """A registry in memory; bundles come through the node's cache, as from the real one."""

    def __init__(self, known: dict[str, ModelBundle], store: Path) -> None:
        self.known = known
        self.champion = "1"
        self.challenger = ""
        self.canary: Canary | None = None
        self.schema = ""
        self.away = False
        self.unreachable = False
        self.damaged: set[str] = set()
        self.surprise: Exception | None = None  # what no caller expects
        self.hangs = Event()
        self.hangs.set()
        self.fetched: list[str] = []
        self.asked = 0
        self.store = store
        self.digests = {v: bundles.write_bundle(bundle, store / v) for v, bundle in known.items()}

    def version(self, number: str) -> Version | None:
        return Version(number, "run", self.digests[number], 0.0) if number else None

    def desired(self) -> Desired:
        self.asked += 1
        if self.away:
            raise RegistryUnavailable("away")
        self.hangs.wait(10)
        candidate = self.version(self.canary.version) if self.canary else None
        return Desired(
            self.version(self.champion),
            self.version(self.challenger),
            self.canary,
            candidate,
            self.schema,
        )

    def fetch(self, version: Version, cache: Path) -> ModelBundle:
        if self.surprise is not None:
            raise self.surprise

        def download(folder: Path) -> Path:
            self.fetched.append(version.version)
            if self.unreachable:
                raise RegistryUnavailable("away")
            if version.version in self.damaged:
                raise BundleError("damaged")
            bundles.write_bundle(self.known[version.version], folder / "bundle")
            return folder / "bundle"

        return BundleCache(cache).get(version.digest, download)


@pytest.fixture
def versions(make_bundle: Callable[[int], ModelBundle], tmp_path: Path) -> Versions:
    other = replace(make_bundle(4), names=("a", "b", "c", "d"))
    other = replace(other, reference=replace(other.reference, names=other.names))
    return Versions(
        {**{str(v): make_bundle(v) for v in (1, 2, 3)}, "other": other}, tmp_path / "store"
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@dataclass
class ManualClock:
    """Monotonic seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def replica(versions: Versions, cache: Path, clock: ManualClock) -> Callable[..., ModelWatch]:
    """replica(): a new one on the same node."""
    defaults = {"poll_s": 0.01, "shadow_rate": 0.0}

    def make(
        limits: WatchLimits | None = None,
        registry: Versions = versions,
        **settings: Any,
    ) -> ModelWatch:
        return ModelWatch(
            cast(Registry, registry),
            cache,
            ServeMetrics(),
            ServeSettings.from_values(**defaults | settings),
            limits=limits,
            clock=clock,
        )

    return make


def count(watch: ModelWatch, name: str) -> float:
    return watch.metrics.registry.get_sample_value(f"vigil_{name}") or 0.0


def served(watch: ModelWatch) -> str | None:
    return watch.model.version if watch.model else None


async def test_no_champion_means_no_model(versions: Versions, replica: Any) -> None:
    versions.champion = ""
    watch: Any = replica()
    await watch.poll()
    assert (watch.model, versions.fetched) == (None, [])


async def test_a_moved_alias_swaps_the_model(versions: Versions, replica: Any) -> None:
    watch: Any = replica()
    await watch.poll()
    first = watch.model
    await watch.poll()
    assert watch.model is first
    versions.champion = "2"
    await watch.poll()
    assert (served(watch), first.version) == ("2", "1")
    assert watch.model.digest == versions.digests["2"]
    assert watch.model.bundle.info == {"seed": 2}
    assert (watch.desired, watch.source, count(watch, "model_swaps_total")) == ("2", "registry", 2)
    assert count(watch, "model_swap_seconds_count") == 2


async def test_a_rollback_needs_neither_download_nor_disk(
    versions: Versions, replica: Any, cache: Path
) -> None:
    watch: Any = replica()
    for desired in ("1", "2"):
        versions.champion = desired
        await watch.poll()
    shutil.rmtree(cache)
    for desired in ("1", "2", "1"):
        versions.champion = desired
        await watch.poll()
        assert served(watch) == desired
    assert versions.fetched == ["1", "2"]


async def test_a_former_model_leaves_memory_after_its_time(
    versions: Versions, replica: Any
) -> None:
    watch: Any = replica(keep_previous_s=0.0)
    await watch.poll()
    former = weakref.ref(watch.model.bundle)
    versions.champion = "2"
    await watch.poll()
    await watch.poll()
    gc.collect()
    assert former() is None
    versions.champion = "1"
    await watch.poll()
    assert (served(watch), versions.fetched) == ("1", ["1", "2"])  # from the disk


async def test_a_refused_version_changes_only_a_counter_and_the_reason(
    versions: Versions, replica: Any, cache: Path, clock: ManualClock
) -> None:
    watch: Any = replica()
    await watch.poll()
    first, versions.champion, versions.damaged = watch.model, "2", {"2"}
    for failures in (1, 2):
        await watch.poll()
        await watch.poll()  # too soon: what is damaged is not downloaded at every poll
        assert watch.model is first
        assert count(watch, "model_swap_failures_total") == failures
        assert watch.refusals["2"].reason == "damaged"
        clock.now += 100
    assert {f.name for f in cache.iterdir()} == {versions.digests["1"], "last-known-good.json"}
    versions.damaged = set()
    await watch.poll()
    assert (served(watch), watch.refusals) == ("2", {})


async def test_a_version_that_cannot_be_had_is_asked_for_again_at_once(
    versions: Versions, replica: Any
) -> None:
    watch: Any = replica()
    await watch.poll()
    versions.champion, versions.unreachable = "2", True
    await watch.poll()
    assert served(watch) == "1"
    versions.unreachable = False
    await watch.poll()
    assert served(watch) == "2"


async def test_other_features_are_refused_until_they_are_declared(
    versions: Versions, replica: Any
) -> None:
    watch: Any = replica()
    await watch.poll()
    versions.champion = "other"
    await watch.poll()
    assert served(watch) == "1"
    assert "other features" in watch.refusals["other"].reason
    watch.refusals.clear()
    versions.schema = versions.known["other"].schema_hash
    await watch.poll()
    assert served(watch) == "other"


async def test_after_a_long_load_the_alias_is_read_again(
    versions: Versions, replica: Any, clock: ManualClock
) -> None:
    """A model that is no longer desired when it has come is not published, and one that comes back
    is there already."""
    watch: Any = replica()
    await watch.poll()
    fetch = versions.fetch
    served_meanwhile = []

    def fetch_slowly(version: Version, cache: Path) -> ModelBundle:
        served_meanwhile.append(served(watch))
        clock.now += 2 * WatchLimits().slow_load_s
        versions.champion = "3" if version.version == "2" else "2"
        return fetch(version, cache)

    versions.champion = "2"
    versions.fetch = fetch_slowly
    await watch.poll()
    assert versions.fetched == ["1", "2", "3"]
    assert served_meanwhile == ["1", "1"]
    assert served(watch) == versions.champion == "2"


async def test_without_the_registry_serving_goes_on(versions: Versions, replica: Any) -> None:
    watch: Any = replica()
    await watch.poll()
    first, versions.away = watch.model, True
    await watch.poll()
    assert watch.model is first
    assert count(watch, "registry_failures_total") == 1


@pytest.mark.parametrize("missing", ["registry", "bundle"])
async def test_a_new_replica_starts_from_the_last_known_good_model_and_says_so(
    versions: Versions, replica: Any, missing: str
) -> None:
    before, after = replica(), replica()
    await before.poll()
    versions.away, versions.champion, versions.damaged = missing == "registry", "2", {"2"}
    await after.poll()
    assert (served(after), after.source, count(after, "model_last_known_good")) == (
        "1",
        "last-known-good",
        1,
    )
    X = np.random.default_rng(0).normal(10, 1, (5, 4))
    np.testing.assert_array_equal(
        after.model.bundle.forest.score(X), before.model.bundle.forest.score(X)
    )
    versions.away, versions.damaged = False, set()
    after.refusals.clear()
    await after.poll()
    assert (served(after), after.source, count(after, "model_last_known_good")) == (
        "2",
        "registry",
        0,
    )


async def test_a_last_known_good_model_that_is_the_champion_is_from_the_registry_again(
    versions: Versions, replica: Any
) -> None:
    await replica().poll()
    versions.away, watch = True, replica()
    await watch.poll()
    versions.away = False
    await watch.poll()
    assert (watch.source, versions.fetched) == ("registry", ["1"])


async def test_a_registry_that_hangs_keeps_no_new_replica_waiting(
    versions: Versions, replica: Any
) -> None:
    await replica().poll()
    versions.hangs.clear()
    watch: Any = replica(WatchLimits(registry_timeout_s=0.05))
    await watch.poll()
    assert (served(watch), watch.source) == ("1", "last-known-good")
    versions.hangs.set()
    await watch.poll()
    assert watch.source == "registry"


@pytest.mark.parametrize("spoil", ["pointer", "bundle", "absent"])
async def test_a_last_known_good_model_that_is_not_sound_is_not_served(
    versions: Versions, replica: Any, cache: Path, spoil: str
) -> None:
    if spoil != "absent":
        await replica().poll()
        pointer, forest = (
            cache / "last-known-good.json",
            cache / versions.digests["1"] / "forest.safetensors",
        )
        (pointer if spoil == "pointer" else forest).write_bytes(b"{")
    versions.away = True
    watch: Any = replica()
    await watch.poll()
    assert watch.model is None


async def test_the_loop_follows_the_alias_and_outlives_surprises(
    versions: Versions, replica: Any
) -> None:
    watch = replica()
    versions.surprise = ZeroDivisionError()
    running = asyncio.create_task(watch.run())
    try:
        await eventually(lambda: count(watch, "model_swap_failures_total"))
        assert served(watch) is None
        versions.surprise = None
        await eventually(lambda: served(watch) == "1")
        assert not running.done()
    finally:
        running.cancel()


async def looks_of_an_unsettled_one(replica: Any, store: Path) -> None:
    """Wait while another watch, whose registry is away, looks fifty times."""
    registry = Versions({}, store)
    registry.away = True
    watch = replica(
        limits=EAGER,
        registry=registry,
        poll_s=1000.0,
    )
    running = asyncio.create_task(watch.run())
    try:
        await eventually(lambda: registry.asked >= 50)
    finally:
        running.cancel()


async def test_the_loop_looks_soon_until_it_has_what_the_registry_asks_for(
    versions: Versions, replica: Any, tmp_path: Path
) -> None:
    watch = replica(limits=EAGER, poll_s=1000.0)
    versions.away = True
    running = asyncio.create_task(watch.run())
    try:
        await eventually(lambda: count(watch, "registry_failures_total") > 2)
        versions.away = False
        await eventually(lambda: served(watch) == "1")
        versions.champion = "2"
        asked = versions.asked
        await looks_of_an_unsettled_one(replica, tmp_path / "other")
        assert versions.asked == asked
        await watch.poll()  # as the monitor has it done
        assert served(watch) == "2"
    finally:
        running.cancel()


async def eventually(condition: Callable[[], Any]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_canary_runs_only_while_the_monitor_guards_it(
    versions: Versions, replica: Any, clock: ManualClock
) -> None:
    watch: Any = replica()
    versions.canary = Canary("2", "1", 5.0, ((0.5, 60.0),))
    await watch.poll()
    assert not watch.canary
    watch.confirm_guard(None)
    await watch.poll()
    assert watch.canary.candidate.version == "2"
    running = watch.canary
    await watch.poll()
    assert watch.canary is running
    clock.now += WatchLimits().guard_timeout_s
    watch.check_guard()
    assert (watch.canary, served(watch)) == (None, "1")
    watch.confirm_guard(None)
    await watch.poll()
    assert watch.canary is not None
    watch.confirm_guard(5.0)  # the guard has stopped it, the registry may not know yet
    await watch.poll()
    assert not watch.canary
    versions.canary = replace(versions.canary, started=6.0)
    await watch.poll()
    assert watch.canary.plan.started == 6.0
    versions.champion, versions.canary, fetched = "2", None, list(versions.fetched)
    await watch.poll()
    assert (served(watch), watch.canary, versions.fetched) == ("2", None, fetched)


async def test_a_canary_or_challenger_that_is_refused_leaves_the_champion_alone(
    versions: Versions, replica: Any
) -> None:
    watch: Any = replica(shadow_rate=1.0)
    watch.confirm_guard(None)
    versions.canary, versions.challenger, versions.damaged = (
        Canary("2", "1", 5.0, ((0.5, 60.0),)),
        "other",
        {"2"},
    )
    await watch.poll()
    assert (served(watch), watch.canary, watch.shadow) == ("1", None, None)
    assert set(watch.refusals) == {"2", "other"}


async def test_the_challenger_stands_in_the_shadow_until_it_is_champion(
    versions: Versions, replica: Any
) -> None:
    watch: Any = replica(shadow_rate=1.0)
    versions.challenger = "1"
    await watch.poll()
    assert not watch.shadow
    versions.challenger = "2"
    await watch.poll()
    shadow = watch.shadow
    assert (shadow.champion, shadow.challenger.version) == (watch.model, "2")
    await watch.poll()
    assert watch.shadow is shadow
    versions.champion = "2"
    await watch.poll()
    assert (served(watch), watch.shadow, versions.fetched) == ("2", None, ["1", "2"])
    off = replica()
    versions.challenger = "3"
    await off.poll()
    assert off.shadow is None
