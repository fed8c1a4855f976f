"""Bundles on a node's disk: addressed by digest, bounded, shared by all replicas, and the last one
known to be good.

Nothing in it is believed: a bundle is verified each time it is read. Folders appear by one rename,
so a reader sees a whole bundle or none; one that is torn or tampered with is replaced by the next
download.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from train.model.bundle import ModelBundle, read_bundle
from vigil.errors import BundleError
from vigil.home import write_json
from vigil.locks import hold_lock, try_lock

MAX_CACHED_BUNDLES = 8
LAST_KNOWN_GOOD_FILE = "last-known-good.json"
_DOWNLOAD_PREFIX = ".download-"
_LOCK_SUFFIX = ".lock"
_DIGEST_PATTERN = re.compile("[0-9a-f]{64}")  # it becomes a path
Download = Callable[[Path], Path]


class LastKnownGood(NamedTuple):
    """Bundle that was served last."""

    version: str
    digest: str
    bundle: ModelBundle


class BundleCache:
    """The bundles in `folder`, at most `keep` of them."""

    def __init__(
        self,
        folder: Path,
        keep: int = MAX_CACHED_BUNDLES,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._keep = keep
        self._clock_ns = clock_ns

    def get(self, digest: str, download: Download) -> ModelBundle:
        """Return the verified bundle with this digest.

        `download` brings it into an empty folder and says where in that it is. Raises BundleError
        when what it brings is not sound, or not this bundle; then nothing of it stays on the
        disk.
        """
        if not _DIGEST_PATTERN.fullmatch(digest):
            raise BundleError(
                f"{digest!r} is no digest of a bundle: the version was not registered by Vigil"
            )
        bundle = self._find(digest)
        if bundle is None:
            return self._renew(digest, download)
        return bundle

    def remember(self, version: str, digest: str) -> None:
        """Note the bundle that is served: a replica that cannot reach the registry starts from it.

        Raises OSError.
        """
        write_json(self._folder / LAST_KNOWN_GOOD_FILE, {"version": version, "digest": digest})

    def last_known_good(self) -> LastKnownGood | None:
        """Return what was served last, or None when that is not sound."""
        try:
            version, digest = self._read_note()
            return LastKnownGood(version, digest, self._read(digest))
        except BundleError:
            return None

    def _read(self, digest: str) -> ModelBundle:
        bundle = read_bundle(self._folder / digest, digest)
        self._mark_used(self._folder / digest)
        return bundle

    def _mark_used(self, folder: Path) -> None:
        """Have it trimmed last: it is used after all others, whatever the clock says."""
        with suppress(OSError):
            used_ns = self._after_others_ns()
            os.utime(folder, ns=(used_ns, used_ns))

    def _after_others_ns(self) -> int:
        after_others = (entry.used_ns + 1 for entry in self._entries())
        return max(self._clock_ns(), *after_others)

    def _find(self, digest: str) -> ModelBundle | None:
        """The bundle, or None where it is absent, torn or tampered with."""
        try:
            return self._read(digest)
        except BundleError:
            return None

    def _renew(self, digest: str, download: Download) -> ModelBundle:
        with self._disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            bundle = self._download(digest, download)
            self._trim()
        return bundle

    def _download(self, digest: str, download: Download) -> ModelBundle:
        with self._download_folder() as temporary:
            downloaded = download(temporary)
            bundle = read_bundle(downloaded, digest)
            self._publish(downloaded, digest, temporary / "replaced")
        self._mark_used(self._folder / digest)
        return bundle

    @contextmanager
    def _download_folder(self) -> Iterator[Path]:
        """An empty folder under a lock: without that it was left by a process that died."""
        folder = self._folder / f"{_DOWNLOAD_PREFIX}{uuid.uuid4().hex}"
        lock_file = _lock_of(folder)
        with hold_lock(lock_file):
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock_file.unlink(missing_ok=True)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BundleError(f"the bundle cache {self._folder} cannot be used: {error}") from error

    def _publish(
        self,
        downloaded: Path,
        digest: str,
        aside: Path,
    ) -> None:
        """Move the bundle to its place; what is there already is moved aside, if it is damaged."""
        folder = self._folder / digest
        try:
            downloaded.rename(folder)
        except OSError:
            if self._find(digest) is not None:
                return  # another replica was first
            folder.rename(aside)
            downloaded.rename(folder)

    def _read_note(self) -> tuple[str, str]:
        """Version and digest of the last known good bundle."""
        try:
            version, digest = _parse_note((self._folder / LAST_KNOWN_GOOD_FILE).read_text())
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise BundleError("no last known good bundle is noted") from error
        if not _DIGEST_PATTERN.fullmatch(digest):
            raise BundleError("the note of the last known good bundle is damaged")
        return version, digest

    def _trim(self) -> None:
        """Drop the least recently used bundles beyond `keep`, never the last known good, and what
        died half-way."""
        entries = self._entries()
        for entry in self._surplus(entries):
            shutil.rmtree(entry.folder, ignore_errors=True)
        for folder in {entry.download for entry in entries if entry.is_download}:
            _remove_abandoned(folder)

    def _entries(self) -> list[_Entry]:
        """Everything in the folder, the least recently used first."""
        entries = []
        for folder in self._folder.iterdir():
            with suppress(OSError):  # it has gone meanwhile
                entries.append(_Entry(folder.stat().st_mtime_ns, folder))
        return sorted(entries)

    def _surplus(self, entries: list[_Entry]) -> list[_Entry]:
        good = self._last_known_good_digest()
        kept = self._keep - 1 if good else self._keep
        others = [entry for entry in entries if entry.is_bundle and entry.folder.name != good]
        return others[: max(0, len(others) - kept)]

    def _last_known_good_digest(self) -> str:
        """Digest of the last known good bundle; empty where none is noted."""
        try:
            return self._read_note()[1]
        except BundleError:
            return ""


class _Entry(NamedTuple):
    """A folder or a lock in the cache; the order of `used_ns` is that of use."""

    used_ns: int
    folder: Path

    @property
    def is_bundle(self) -> bool:
        return _DIGEST_PATTERN.fullmatch(self.folder.name) is not None

    @property
    def is_download(self) -> bool:
        return self.folder.name.startswith(_DOWNLOAD_PREFIX)

    @property
    def download(self) -> Path:
        """The folder of a download, also of its lock."""
        return self.folder.with_name(self.folder.name.removesuffix(_LOCK_SUFFIX))


def _parse_note(text: str) -> tuple[str, str]:
    note = json.loads(text)
    return str(note["version"]), str(note["digest"])


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_LOCK_SUFFIX}")


def _remove_abandoned(folder: Path) -> None:
    """Remove the folder of a download whose process has died: its lock is free."""
    lock_file = _lock_of(folder)
    lock = try_lock(lock_file)
    if lock is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock_file.unlink(missing_ok=True)
    lock.release()
