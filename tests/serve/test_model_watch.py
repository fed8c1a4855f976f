"""The model watch: swap on a moved alias; whatever fails, the model that serves stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from serve.metrics import ServeMetrics
from serve.model_watch import ModelWatch
from train import bundle as bundles
from train.bundle import ModelBundle
from train.errors import BundleError, RegistryUnavailable
from train.registry import Registry, Version


class Versions:
    """A registry in memory."""

    def __init__(self, known: dict[str, ModelBundle], cache: Path) -> None:
        self.known, self.desired, self.away = known, "1", False
        self.damaged: set[str] = set()
        self.fetched: list[str] = []
        self.digests = {v: bundles.write(bundle, cache.parent / f"built-{v}") for v, bundle in known.items()}
        self.built = cache.parent

    def champion(self) -> Version | None:
        if self.away:
            raise RegistryUnavailable("away")
        return Version(self.desired, "run", self.digests[self.desired], 0.0) if self.desired else None

    def fetch(self, version: Version, cache: Path) -> ModelBundle:
        self.fetched.append(version.version)
        if version.version in self.damaged:
            raise BundleError("damaged")
        folder = cache / version.digest
        if not folder.exists():
            (self.built / f"built-{version.version}").rename(folder)
        return bundles.read(folder, version.digest)


@pytest.fixture
def versions(make_bundle: Callable[[int], ModelBundle], tmp_path: Path) -> Versions:
    cache = tmp_path / "cache"
    cache.mkdir()
    return Versions({"1": make_bundle(1), "2": make_bundle(2)}, cache)


@pytest.fixture
def replica(versions: Versions, tmp_path: Path) -> Callable[[], ModelWatch]:
    """replica(): a new one on the same node."""
    return lambda: ModelWatch(cast(Registry, versions), tmp_path / "cache", ServeMetrics(), 0.01)


def count(watch: ModelWatch, name: str) -> float:
    return watch._metrics.registry.get_sample_value(f"vigil_{name}_total") or 0.0


def served(watch: ModelWatch) -> str | None:
    return watch.snapshot.version if watch.snapshot else None


async def test_no_champion_means_no_model(versions: Versions, replica: Any) -> None:
    versions.desired = ""
    watch = replica()
    await watch.poll()
    assert (watch.snapshot, versions.fetched) == (None, [])


async def test_a_moved_alias_swaps_the_model(versions: Versions, replica: Any) -> None:
    watch = replica()
    await watch.poll()
    first = watch.snapshot
    await watch.poll()
    assert watch.snapshot is first
    versions.desired = "2"
    await watch.poll()
    assert (served(watch), first.version) == ("2", "1")
    assert watch.snapshot.digest == versions.digests["2"]
    assert watch.snapshot.bundle.info == {"seed": 2}
    assert count(watch, "model_swaps") == 2


async def test_a_rollback_fetches_nothing(versions: Versions, replica: Any) -> None:
    watch = replica()
    for desired in ("1", "2", "1", "2"):
        versions.desired = desired
        await watch.poll()
        assert served(watch) == desired
    assert versions.fetched == ["1", "2"]


async def test_a_load_that_fails_changes_only_a_counter(versions: Versions, replica: Any) -> None:
    watch = replica()
    await watch.poll()
    first, versions.desired, versions.damaged = watch.snapshot, "2", {"2"}
    for failures in (1, 2):
        await watch.poll()
        assert watch.snapshot is first
        assert count(watch, "model_swap_failures") == failures
    versions.damaged = set()
    await watch.poll()
    assert served(watch) == "2"


async def test_without_the_registry_serving_goes_on(versions: Versions, replica: Any) -> None:
    watch = replica()
    await watch.poll()
    first, versions.away = watch.snapshot, True
    await watch.poll()
    assert watch.snapshot is first
    assert count(watch, "registry_failures") == 1


async def test_a_new_replica_starts_from_the_last_known_good_model(versions: Versions, replica: Any) -> None:
    before, after = replica(), replica()
    await before.poll()
    versions.away = True
    await after.poll()
    assert served(after) == "1"
    X = np.random.default_rng(0).normal(10, 1, (5, 4))
    np.testing.assert_array_equal(after.snapshot.bundle.forest.score(X), before.snapshot.bundle.forest.score(X))
    versions.away, versions.desired = False, "2"
    await after.poll()
    assert served(after) == "2"


@pytest.mark.parametrize("spoil", ["pointer", "bundle", "absent"])
async def test_a_last_known_good_model_that_is_not_sound_is_not_served(
    versions: Versions, replica: Any, tmp_path: Path, spoil: str
) -> None:
    if spoil != "absent":
        await replica().poll()
        pointer, forest = (
            tmp_path / "cache" / "last-known-good.json",
            tmp_path / "cache" / versions.digests["1"] / "forest.safetensors",
        )
        (pointer if spoil == "pointer" else forest).write_bytes(b"{")
    versions.away = True
    watch = replica()
    await watch.poll()
    assert watch.snapshot is None


async def test_the_loop_swaps_when_hurried_and_outlives_surprises(
    versions: Versions, replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = replica()
    watch.poll_s = 3600
    monkeypatch.setattr(versions, "fetch", lambda *_: 1 / 0)
    running = asyncio.create_task(watch.run())
    try:
        await eventually(watch, lambda: count(watch, "model_swap_failures"))
        monkeypatch.undo()
        await eventually(watch, lambda: served(watch) == "1")
    finally:
        running.cancel()


async def eventually(watch: ModelWatch, condition: Callable[[], Any]) -> None:
    """Hurry the watch until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            watch.hurry()
            await asyncio.sleep(0.01)
