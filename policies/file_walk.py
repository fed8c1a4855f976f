"""The files of a folder: each once, whatever links lead to it, and what keeps one from being read.

A link to a folder is followed, as a mounted ConfigMap is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DATA_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class FolderEntry:
    """A file that may hold data, or what is passed over and why."""

    path: Path
    skipped: str = ""


@dataclass
class FileWalk:
    """One walk over a folder and the folders in it."""

    root: Path
    _visited: set[Path] = field(default_factory=set[Path])

    def entries(self) -> Iterator[FolderEntry]:
        """Yield what there is, sorted by name within each folder."""
        if self.root.is_dir():
            yield from self._folder(self.root)
        else:
            yield self._file(self.root)

    def _folder(self, folder: Path) -> Iterator[FolderEntry]:
        target = folder.resolve()
        if target in self._visited:
            yield FolderEntry(folder, "a link to a folder that is read already")
            return
        self._visited.add(target)
        for path in sorted(folder.iterdir()):
            yield from self._entry(path)

    def _entry(self, path: Path) -> Iterator[FolderEntry]:
        if path.name.startswith("."):
            yield FolderEntry(path, "hidden")
        elif path.is_dir():
            yield from self._folder(path)
        elif path.suffix.lower() not in DATA_SUFFIXES:
            yield FolderEntry(path, "neither YAML nor JSON by its name")
        else:
            yield self._file(path)

    def _file(self, path: Path) -> FolderEntry:
        target = path.resolve()
        if target in self._visited:
            return FolderEntry(path, "a link to a file that is read already")
        self._visited.add(target)
        is_special = path.exists() and not path.is_file()
        return FolderEntry(path, "no regular file" if is_special else "")
