"""The bundles on a node's disk: addressed by digest, bounded, shared by all replicas, and the last one known to be good.

Nothing in it is believed: a bundle is verified each time it is read. Folders appear by one rename, so a reader sees a whole
bundle or none; one that is torn or tampered with is replaced by the next download.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from train.model.bundle import ModelBundle, read_bundle
from vigil.errors import BundleError
from vigil.home import write_json

_DIGEST_PATTERN = re.compile("[0-9a-f]{64}")  # it becomes a path
MAX_CACHED_BUNDLES = 8
ABANDONED_S = 3600.0  # a download takes less: what is older was left by a process that died
LAST_KNOWN_GOOD_FILE = "last-known-good.json"


class BundleCache:
    """The bundles in `folder`, at most `keep` of them."""

    def __init__(self, folder: Path, keep: int = MAX_CACHED_BUNDLES) -> None:
        self._folder = folder
        self._keep = keep

    def get(self, digest: str, download: Callable[[Path], Path]) -> ModelBundle:
        """The verified bundle with this digest; `download` brings it into an empty folder and says where in that it is.

        Raises BundleError when what it brings is not sound, or not this bundle; then nothing of it stays on the disk.
        """
        if not _DIGEST_PATTERN.fullmatch(digest):
            raise BundleError(
                f"{digest!r} is no digest of a bundle: the version was not registered by Vigil"
            )
        try:
            return self._read(digest)
        except BundleError:
            pass  # absent, torn or tampered with: get it anew
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".download-") as temporary:
                downloaded = download(Path(temporary))
                verified = read_bundle(downloaded, digest)
                self._publish(downloaded, digest, Path(temporary) / "replaced")
            self._trim()
        except OSError as error:
            raise BundleError(f"the bundle cache {self._folder} cannot be used: {error}") from error
        return verified

    def remember(self, version: str, digest: str) -> None:
        """Note the bundle that is served: a replica that cannot reach the registry starts from it. Raises OSError."""
        write_json(self._folder / LAST_KNOWN_GOOD_FILE, {"version": version, "digest": digest})

    def last_known_good(self) -> tuple[str, str, ModelBundle] | None:
        """(version, digest, bundle) of what was served last, or None when that is not sound."""
        try:
            version, digest = self._known()
            return version, digest, self._read(digest)
        except BundleError:
            return None

    def _read(self, digest: str) -> ModelBundle:
        found = read_bundle(self._folder / digest, digest)
        with suppress(OSError):
            os.utime(self._folder / digest)  # in use: the last to be trimmed
        return found

    def _publish(self, downloaded: Path, digest: str, aside: Path) -> None:
        folder = self._folder / digest
        try:
            downloaded.rename(folder)
        except OSError:
            try:
                self._read(digest)  # another replica was first, and its copy is sound
            except BundleError:
                folder.rename(aside)
                downloaded.rename(folder)

    def _known(self) -> tuple[str, str]:
        try:
            found = json.loads((self._folder / LAST_KNOWN_GOOD_FILE).read_text())
            version, digest = str(found["version"]), str(found["digest"])
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise BundleError("no last known good bundle is noted") from error
        if not _DIGEST_PATTERN.fullmatch(digest):
            raise BundleError("the note of the last known good bundle is damaged")
        return version, digest

    def _trim(self) -> None:
        """Drop the least recently used bundles beyond `keep`, never the last known good, and what died half-way."""
        try:
            good = self._known()[1]
        except BundleError:
            good = ""
        ages: list[tuple[float, Path]] = []
        for folder in self._folder.iterdir():
            with suppress(OSError):
                ages.append((folder.stat().st_mtime, folder))
        kept = sorted(
            (age, f) for age, f in ages if _DIGEST_PATTERN.fullmatch(f.name) and f.name != good
        )
        abandoned = [
            f
            for age, f in ages
            if f.name.startswith(".download-") and age < time.time() - ABANDONED_S
        ]
        surplus = len(kept) - self._keep + bool(good)
        for folder in abandoned + [f for _, f in kept[: max(0, surplus)]]:
            shutil.rmtree(folder, ignore_errors=True)
