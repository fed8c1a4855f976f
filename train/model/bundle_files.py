"""Files of a model bundle: their names, the largest that are read, and the digest of them all."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vigil.errors import BundleError

FOREST_FILE = "forest.safetensors"
GOLDEN_FILE = "golden.json"
MODEL_FILE = "model.json"
REFERENCE_FILE = "reference.json"
REFERENCE_ARRAYS_FILE = "reference.safetensors"
THRESHOLD_FILE = "threshold.json"
BUNDLE_FILES = (
    FOREST_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    REFERENCE_ARRAYS_FILE,
    THRESHOLD_FILE,
)
# Only the bundle of a model has it whose transform has learnt something.
TRANSFORM_FILE = "transform.safetensors"


@dataclass(frozen=True)
class BundleLimits:
    """Largest files of a bundle that are read, in bytes."""

    json_bytes: int = 8 * 2**20
    array_bytes: int = 512 * 2**20

    def check_listing(self, sizes: Mapping[str, int]) -> None:
        """Refuse what says by its file names or sizes that it is no bundle, before a byte of it
        is fetched. Raises BundleError."""
        _check_names(set(sizes))
        for name, size in sizes.items():
            limit = self.of_file(name)
            if size > limit:
                raise BundleError(f"{name} has {size} bytes, the limit is {limit}")

    def of_file(self, name: str) -> int:
        return self.json_bytes if name.endswith(".json") else self.array_bytes


DEFAULT_LIMITS = BundleLimits()


def forest_digest(folder: Path) -> str:
    """Return the sha256 of the forest alone: equal for versions that differ in their threshold
    only."""
    return _file_digest(folder / FOREST_FILE)


def bundle_digest(folder: Path) -> str:
    """Return the sha256 over the sorted list of (name, sha256) of the files of the bundle."""
    whole = hashlib.sha256()
    has_transform = (folder / TRANSFORM_FILE).exists()
    names = (*BUNDLE_FILES, TRANSFORM_FILE) if has_transform else BUNDLE_FILES
    for name in sorted(names):
        line = f"{name} {_file_digest(folder / name)}\n"
        whole.update(line.encode())
    return whole.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_names(names: set[str]) -> None:
    expected = set(BUNDLE_FILES)
    missing = sorted(expected - names)
    extra = sorted(names - expected - {TRANSFORM_FILE})
    if missing:
        raise BundleError(f"the bundle lacks {', '.join(missing)}")
    if extra:
        raise BundleError(f"the bundle has files it should not have: {', '.join(extra)}")


def check_files(folder: Path, limits: BundleLimits) -> None:
    """Raise BundleError unless `folder` has the files of a bundle, within the limits."""
    files = _list_files(folder)
    limits.check_listing({name: status.st_size for name, status in files.items()})
    for name, status in files.items():
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{name} in the bundle is not a plain file")


def _list_files(folder: Path) -> dict[str, os.stat_result]:
    """Status by file name; a link is not followed."""
    if not folder.is_dir():
        return {}
    return {file.name: file.lstat() for file in folder.iterdir()}


def check_digest(folder: Path, expected: str) -> None:
    """Raise BundleError unless the bundle in `folder` has this digest."""
    digest = bundle_digest(folder)
    if digest != expected:
        raise BundleError(
            f"bundle digest is {digest[:12]}, the registry says {expected[:12]}: refuse to load it"
        )
