"""train/registry/cache.py: bundles by digest.

They are right whatever else writes there at once, dies half-way or tampers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from train.model import bundle as bundles
from train.model import bundle_files
from train.model.bundle import ModelBundle
from train.registry import cache as caches
from train.registry.cache import BundleCache, Download
from vigil.errors import BundleError

Models = Callable[[int], tuple[IsolationForest, ModelBundle]]


class Store:
    """Where downloads come from: counts them, and may be away."""

    def __init__(self, folder: Path, model: Models) -> None:
        self.folder, self.model = folder, model
        self.downloads = 0

    def digest(self, seed: int) -> str:
        digest = bundles.write_bundle(self.model(seed)[1], self.folder / str(seed))
        (self.folder / str(seed)).rename(self.folder / digest)
        return digest

    def bring(self, digest: str) -> Callable[[Path], Path]:
        def download(folder: Path) -> Path:
            self.downloads += 1
            return Path(shutil.copytree(self.folder / digest, folder / "bundle"))

        return download


@pytest.fixture
def store(tmp_path: Path, model: Models) -> Store:
    return Store(tmp_path / "store", model)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory, model: Models) -> dict[str, Download]:
    """Three digests and their downloads, for all examples of a test."""
    store = Store(tmp_path_factory.mktemp("store"), model)
    return {digest: store.bring(digest) for digest in map(store.digest, range(3))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def away(_: Path) -> Path:
    raise BundleError("away")


def test_a_bundle_is_downloaded_once(store: Store, folder: Path) -> None:
    digest = store.digest(0)
    first = BundleCache(folder).get(digest, store.bring(digest))
    np.testing.assert_array_equal(BundleCache(folder).get(digest, away).golden, first.golden)
    assert ([f.name for f in folder.iterdir()], store.downloads) == ([digest], 1)


@pytest.mark.parametrize("name", bundle_files.BUNDLE_FILES)
@pytest.mark.parametrize(
    "tamper",
    [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1])],
    ids=["missing", "torn"],
)
def test_a_torn_bundle_is_never_read_and_replaced(
    store: Store, folder: Path, name: str, tamper: Callable[[Path], None]
) -> None:
    digest = store.digest(0)
    cache = BundleCache(folder)
    cache.get(digest, store.bring(digest))
    cache.remember("1", digest)
    tamper(folder / digest / name)
    assert cache.last_known_good() is None
    with pytest.raises(BundleError, match="away"):
        cache.get(digest, away)
    cache.get(digest, store.bring(digest))
    assert bundle_files.bundle_digest(folder / digest) == digest
    assert {f.name for f in folder.iterdir()} == {digest, caches.LAST_KNOWN_GOOD_FILE}


def test_writers_at_once_leave_one_sound_bundle(store: Store, folder: Path) -> None:
    digest, together = store.digest(0), Barrier(4)

    def download(where: Path) -> Path:
        brought = store.bring(digest)(where)
        together.wait(10)  # all have downloaded before the first is published
        return brought

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: BundleCache(folder).get(digest, download), range(4)))
    assert len(found) == store.downloads == 4
    assert [f.name for f in folder.iterdir()] == [digest]
    BundleCache(folder).get(digest, away)


def test_a_writer_that_was_first_and_torn_is_put_right(store: Store, folder: Path) -> None:
    digest = store.digest(0)

    def download(where: Path) -> Path:
        (folder / digest).mkdir()
        (folder / digest / "model.json").write_text("{")
        return store.bring(digest)(where)

    BundleCache(folder).get(digest, download)
    BundleCache(folder).get(digest, away)


def test_the_least_recently_used_go_but_never_the_last_known_good(
    store: Store, folder: Path
) -> None:
    cache, digests = BundleCache(folder, keep=2), [store.digest(seed) for seed in range(4)]

    def get(i: int, at: float) -> None:
        cache.get(digests[i], store.bring(digests[i]))
        os.utime(folder / digests[i], (at, at))

    get(0, 1.0)
    cache.remember("1", digests[0])
    get(1, 2.0)
    get(2, 3.0)
    assert {f.name for f in folder.iterdir()} == {
        digests[0],
        digests[2],
        caches.LAST_KNOWN_GOOD_FILE,
    }
    left = folder / ".download-died"
    left.mkdir()
    os.utime(left, (0, 0))
    cache.get(digests[3], store.bring(digests[3]))
    assert {f.name for f in folder.iterdir()} == {
        digests[0],
        digests[3],
        caches.LAST_KNOWN_GOOD_FILE,
    }


@settings(max_examples=20)
@given(jumps=st.lists(st.integers(-(10**18), 10**18), min_size=5, max_size=5))
def test_a_clock_that_jumps_changes_no_order_of_use(
    downloads: dict[str, Download], jumps: list[int]
) -> None:
    digests = list(downloads)
    with tempfile.TemporaryDirectory() as name:
        now = [2 * 10**18]
        cache = BundleCache(Path(name), keep=2, clock_ns=lambda: now[0])
        for seed, jump in zip((0, 1, 0, 2, 1), jumps, strict=True):
            now[0] = 2 * 10**18 + jump
            cache.get(digests[seed], downloads[digests[seed]])
            if seed == 2:
                assert {file.name for file in Path(name).iterdir()} == {digests[0], digests[2]}
        assert {file.name for file in Path(name).iterdir()} == {digests[1], digests[2]}


def test_a_download_that_goes_on_is_not_removed_and_one_that_died_is(
    store: Store, folder: Path
) -> None:
    first, second = store.digest(0), store.digest(1)
    folder.mkdir()
    (folder / ".download-died.lock").touch()

    def download(where: Path) -> Path:
        os.utime(where, (0, 0))  # by the clock it was left long ago
        BundleCache(folder).get(second, store.bring(second))
        return store.bring(first)(where)

    BundleCache(folder).get(first, download)
    assert {file.name for file in folder.iterdir()} == {first, second}


def test_the_last_known_good_comes_back(store: Store, folder: Path, model: Models) -> None:
    cache, digest = BundleCache(folder), store.digest(0)
    assert cache.last_known_good() is None
    cache.get(digest, store.bring(digest))
    cache.remember("7", digest)
    found = cache.last_known_good()
    assert found is not None
    assert found[:2] == ("7", digest)
    np.testing.assert_array_equal(found[2].golden, model(0)[1].golden)


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"version": "1"}', '{"version": "1", "digest": "../store"}']
)
def test_a_damaged_note_names_no_bundle(folder: Path, note: str) -> None:
    folder.mkdir()
    (folder / caches.LAST_KNOWN_GOOD_FILE).write_text(note)
    assert BundleCache(folder).last_known_good() is None


@pytest.mark.parametrize("digest", ["", "..", "../victim", "a/b", "A" * 64])
def test_a_digest_that_is_a_path_is_refused(tmp_path: Path, folder: Path, digest: str) -> None:
    (tmp_path / "victim").mkdir()
    with pytest.raises(BundleError, match="is no digest"):
        BundleCache(folder).get(digest, away)
    assert (tmp_path / "victim").is_dir()
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_is_said_to_be(store: Store, tmp_path: Path) -> None:
    digest = store.digest(0)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be used"):
        BundleCache(tmp_path / "file" / "cache").get(digest, store.bring(digest))
