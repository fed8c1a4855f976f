"""Which releases a registry has beside the pinned one.

PyPI, npm, Go's module proxy, the releases of a repository on GitHub, and repositories of charts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import yaml
from packaging.version import InvalidVersion, Version

from infra.audit.pins import NewerRelease, Pin
from vigil.errors import BadSettings
from vigil.http import check_status, request

REGISTRY_TIMEOUT_S = 30.0
MAX_GO_RELEASES = 5  # to ask the day of: the oldest of those that are newer decides

_GITHUB = "https://api.github.com/"

FetchText = Callable[[str], str]


def fetch_text(url: str) -> str:
    """Return what is at `url`. Raises OSError without an answer of 2xx."""
    response = request(
        "GET",
        url,
        timeout_s=REGISTRY_TIMEOUT_S,
        headers=_headers(url),
    )
    check_status(response)
    return response.text


def _headers(url: str) -> dict[str, str]:
    """GitHub answers 60 questions an hour of whom it does not know: a runner shares its address."""
    token = os.environ.get("GITHUB_TOKEN", "")
    return {"Authorization": f"Bearer {token}"} if token and url.startswith(_GITHUB) else {}


def fetch_through(mirror: str) -> FetchText:
    """Return a fetch that asks one server for all registries, at MIRROR/HOST/PATH."""
    return lambda url: fetch_text(f"{mirror}/{url.removeprefix('https://')}")


def newer_releases(pin: Pin, fetch: FetchText = fetch_text) -> list[NewerRelease]:
    """Return the releases that are newer than the pinned one; pre-releases do not count.

    Raises OSError where the registry does not answer, BadSettings for one that is not known.
    """
    kind, _, name = pin.registry.partition(":")
    if kind not in _READERS:
        raise BadSettings(f"pin {pin.name}: registry {kind!r} is none of {', '.join(_READERS)}")
    pinned = Version(pin.version)
    return list(_READERS[kind](name, pinned, fetch))


def _pypi(
    name: str,
    pinned: Version,
    fetch: FetchText,
) -> Iterator[NewerRelease]:
    document = json.loads(fetch(f"https://pypi.org/pypi/{quote(name)}/json"))
    for version, files in document["releases"].items():
        usable = [file for file in files if not file.get("yanked")]
        if usable and _is_newer(version, pinned):
            yield NewerRelease(version, _day(usable[0]["upload_time_iso_8601"]))


def _npm(
    name: str,
    pinned: Version,
    fetch: FetchText,
) -> Iterator[NewerRelease]:
    document = json.loads(fetch(f"https://registry.npmjs.org/{quote(name, safe='@')}"))
    for version, moment in document["time"].items():
        if _is_newer(version, pinned):
            yield NewerRelease(version, _day(moment))


def _go(
    name: str,
    pinned: Version,
    fetch: FetchText,
) -> Iterator[NewerRelease]:
    # The proxy writes an upper-case letter as ! and the lower-case one.
    path = re.sub("[A-Z]", _escape_upper, name)
    listed = fetch(f"https://proxy.golang.org/{path}/@v/list").split()
    newer = sorted((text for text in listed if _is_newer(text, pinned)), key=Version)
    for version in newer[:MAX_GO_RELEASES]:
        details: Any = json.loads(fetch(f"https://proxy.golang.org/{path}/@v/{version}.info"))
        yield NewerRelease(version.removeprefix("v"), _day(details["Time"]))


def _github(
    name: str,
    pinned: Version,
    fetch: FetchText,
) -> Iterator[NewerRelease]:
    """Of the last hundred releases."""
    releases = json.loads(fetch(f"{_GITHUB}repos/{name}/releases?per_page=100"))
    for release in releases:
        version = release["tag_name"]
        if not release["prerelease"] and _is_newer(version, pinned):
            yield NewerRelease(version.removeprefix("v"), _day(release["published_at"]))


def _helm(
    name: str,
    pinned: Version,
    fetch: FetchText,
) -> Iterator[NewerRelease]:
    repository, _, chart = name.partition("#")
    index = yaml.load(fetch(f"{repository}/index.yaml"), yaml.CSafeLoader)  # it is the safe one
    for entry in index["entries"][chart]:
        if _is_newer(entry["version"], pinned):
            yield NewerRelease(entry["version"], _day(str(entry["created"])))


def _escape_upper(letter: re.Match[str]) -> str:
    return f"!{letter[0].lower()}"


def _is_newer(text: str, pinned: Version) -> bool:
    try:
        version = Version(text)
    except InvalidVersion:  # npm's `created` and `modified`, and old names of versions
        return False
    return not version.is_prerelease and version > pinned


def _day(moment: str) -> date:
    return datetime.fromisoformat(moment).date()


_READERS: dict[str, Callable[[str, Version, FetchText], Iterator[NewerRelease]]] = {
    "pypi": _pypi,
    "npm": _npm,
    "go": _go,
    "github": _github,
    "helm": _helm,
}
