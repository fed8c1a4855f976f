"""Kubernetes objects from a file or a folder, and what became of each file.

Nothing is passed over in silence: a file is judged, skipped for a reason, or broken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from policies.file_walk import FileWalk, FolderEntry
from policies.subjects import Props
from policies.yaml_documents import BadDocument, parse_json, parse_yaml
from vigil.json_types import Fields

FileStatus = Literal["judged", "skipped", "broken"]
_OF_TOOLS = {
    "Chart.yaml": "of a Helm chart: `helm template` renders it",
    "values.yaml": "of a Helm chart: `helm template` renders it",
    "kustomization.yaml": "of kustomize: `kubectl kustomize` renders it",
    "kustomization.yml": "of kustomize: `kubectl kustomize` renders it",
}
MAX_FILE_BYTES = 64 * 2**20  # a cluster takes objects of 1.5 MiB
_TEMPLATE = re.compile(rb"\{\{.*\}\}")
_UNRENDERED = "a template ({{ }}): render it, and judge what comes out"
_KUSTOMIZE_API = "kustomize.config.k8s.io/"
_STATE = "a state or a preview of Pulumi: give the file itself, not its folder"
_FOREIGN = "no Kubernetes object: it has neither apiVersion nor kind"


class ForeignDocument(ValueError):
    """The document is none of Kubernetes'; the message says what it is."""


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file: how many objects were taken from it, and why others were not."""

    file: str
    status: FileStatus
    objects: int = 0
    reason: str = ""

    def __str__(self) -> str:
        plural = "" if self.objects == 1 else "s"
        count = f" {self.objects} object{plural}" if self.objects else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.status:7} {self.file}{count}{reason}"


@dataclass
class ManifestFile:
    """A file, the objects in it, and what is wrong with the rest."""

    path: Path
    objects: list[Props] = field(default_factory=list[Props])
    foreign: list[str] = field(default_factory=list[str])
    mistakes: list[str] = field(default_factory=list[str])

    def read(self) -> ManifestFile:
        """Read it."""
        try:
            for document in self._documents():
                self._take(document)
        except (OSError, BadDocument) as error:
            self.mistakes.append(_reason_of(error))
        return self

    def _documents(self) -> Iterator[Any]:
        if self.path.stat().st_size > MAX_FILE_BYTES:
            raise BadDocument(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
        data = self.path.read_bytes()
        if self.path.suffix.lower() == ".json":
            yield parse_json(data)
        else:
            yield from _yaml_documents(data)

    def _take(self, document: Any) -> None:
        try:
            self.objects.extend(objects_of(document))
        except ForeignDocument as error:
            reason = _OF_TOOLS.get(self.path.name)
            self.foreign.append(reason or str(error))
        except BadDocument as error:
            self.mistakes.append(str(error))

    def outcome(self, name: str) -> FileOutcome:
        """Return what became of it, under a name."""
        reasons = [*self.mistakes, *self.foreign]
        reason = "; ".join(dict.fromkeys(reasons))
        count = len(self.objects)
        if self.mistakes:
            return FileOutcome(name, "broken", count, reason)
        if self.objects:
            return FileOutcome(name, "judged", count, reason)
        return FileOutcome(name, "skipped", reason=reason or "empty")


def _yaml_documents(data: bytes) -> Iterator[Any]:
    try:
        yield from parse_yaml(data)
    except BadDocument as error:
        if _TEMPLATE.search(data):
            raise BadDocument(f"{_UNRENDERED} ({error})") from error
        raise


def _reason_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return str(error)


# --- documents ---


def objects_of(document: Any) -> Iterator[Props]:
    """Yield the objects of a document: itself, or the items of a list of kubectl's.

    Raises ForeignDocument where it is none of Kubernetes', BadDocument where it is half of one.
    """
    if not isinstance(document, Mapping):
        raise _not_an_object(document)
    if "deployment" in document or "steps" in document:
        raise BadDocument(_STATE)
    if _is_foreign(document):
        raise ForeignDocument(_FOREIGN)
    if _is_list(document):
        yield from _items(document)
    else:
        _require_object(document)
        yield document


def _is_foreign(document: Fields) -> bool:
    if str(document.get("apiVersion")).startswith(_KUSTOMIZE_API):
        return True
    is_chart = "version" in document and "metadata" not in document
    return "kind" not in document and ("apiVersion" not in document or is_chart)


def _not_an_object(document: Any) -> ValueError:
    """Return the error of a document that is a list, a number or a text."""
    elements = document if isinstance(document, list) else []
    if any(isinstance(each, Mapping) and "kind" in each for each in elements):
        return BadDocument("objects in a bare list: kubectl takes them as items of `kind: List`")
    return ForeignDocument(f"no Kubernetes object, but a {type(document).__name__}")


def _is_list(document: Props) -> bool:
    kind = str(document.get("kind"))
    return "items" in document and kind.endswith("List")


def _items(document: Props) -> Iterator[Props]:
    items = document["items"] or []
    if not isinstance(items, list):
        raise BadDocument(f"items of its {document['kind']} are no list")
    for item in items:
        yield from _item(item, document)


def _item(item: Any, document: Props) -> Iterator[Props]:
    try:
        if isinstance(item, Mapping):
            item = {**_inherited(document), **item}
        yield from objects_of(item)
    except ForeignDocument as error:
        raise BadDocument(f"an item of its {document['kind']} is {error}") from error


def _inherited(document: Props) -> Props:
    """What items of the API server's lists leave out: of a PodList each is a Pod."""
    kind = document["kind"].removesuffix("List")
    if not kind:
        return {}
    return {"apiVersion": document.get("apiVersion"), "kind": kind}


def _require_object(document: Props) -> None:
    for key in ("apiVersion", "kind"):
        value = document.get(key)
        if not isinstance(value, str) or not value:
            raise BadDocument(f"an object whose {key} is {json.dumps(value, default=str)}")
    for key in ("metadata", "spec"):
        if not isinstance(document.get(key) or {}, Mapping):
            raise BadDocument(f"the {key} of {document['kind']} is no object")


# --- files and folders ---


def read_manifests(path: Path) -> tuple[list[Props], list[FileOutcome]]:
    """Return the objects of a file or a folder, and what became of each file."""
    objects: list[Props] = []
    outcomes: list[FileOutcome] = []
    for entry in FileWalk(path).entries():
        name = _name_of(entry.path, path)
        outcome = _read(entry, name, objects)
        outcomes.append(outcome)
    return objects, outcomes


def _name_of(file: Path, root: Path) -> str:
    """Return the name of a file in a report; what is no Unicode in it becomes `?`."""
    name = file.relative_to(root) if root.is_dir() else file
    return str(name).encode(errors="replace").decode()


def _read(
    entry: FolderEntry,
    name: str,
    objects: list[Props],
) -> FileOutcome:
    if entry.skipped:
        return FileOutcome(name, "skipped", reason=entry.skipped)
    file = ManifestFile(entry.path).read()
    objects.extend(file.objects)
    return file.outcome(name)
