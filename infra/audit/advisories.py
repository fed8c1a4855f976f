"""Known advisories of pinned packages, by OSV's API (https://google.github.io/osv.dev/api)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.audit.pins import Pin, PinFinding
from vigil.http import check_status, request

OSV = "https://api.osv.dev"
OSV_TIMEOUT_S = 60.0
MAX_QUERIES = 1000  # that one request may have
_ECOSYSTEMS = {"pypi": "PyPI", "npm": "npm", "go": "Go"}


class Package(NamedTuple):
    """One version of one package of an ecosystem, as OSV names it."""

    ecosystem: str
    name: str
    version: str


def locked_packages(lock: Path) -> list[Package]:
    """Return the packages of a uv.lock that come from a registry."""
    document = tomllib.loads(lock.read_text())
    return [
        Package("PyPI", package["name"], package["version"])
        for package in document["package"]
        if "registry" in package["source"]
    ]


def pinned_packages(pins: Iterable[Pin]) -> list[Package]:
    """Return the pins that a registry has."""
    packages: list[Package] = []
    for pin in pins:
        kind, _, name = pin.registry.partition(":")
        if kind in _ECOSYSTEMS:
            packages.append(Package(_ECOSYSTEMS[kind], name, pin.version))
    return packages


def known_advisories(packages: Sequence[Package], osv: str = OSV) -> Iterator[PinFinding]:
    """Yield the advisories of the packages. Raises OSError where OSV does not answer."""
    for begin in range(0, len(packages), MAX_QUERIES):
        asked = packages[begin : begin + MAX_QUERIES]
        yield from _batch([_Question(package) for package in asked], osv)


class _Question(NamedTuple):
    package: Package
    page: str = ""


def _batch(questions: Sequence[_Question], osv: str) -> Iterator[PinFinding]:
    """Yield what OSV answers, page by page: one that it cuts off has a `next_page_token`."""
    while questions:
        answers = _ask(questions, osv)
        following: list[_Question] = []
        for question, answer in zip(questions, answers, strict=True):
            yield from _findings(question.package, answer)
            if token := answer.get("next_page_token"):
                following.append(_Question(question.package, token))
        questions = following


def _ask(questions: Sequence[_Question], osv: str) -> list[Any]:
    queries = [_query(question) for question in questions]
    response = request(
        "POST",
        f"{osv}/v1/querybatch",
        timeout_s=OSV_TIMEOUT_S,
        content=json.dumps({"queries": queries}).encode(),
    )
    check_status(response)
    return response.json()["results"]


def _query(question: _Question) -> dict[str, Any]:
    package = question.package
    query = {
        "package": {"ecosystem": package.ecosystem, "name": package.name},
        "version": package.version,
    }
    return {**query, "page_token": question.page} if question.page else query


def _findings(package: Package, answer: Any) -> Iterator[PinFinding]:
    for advisory in answer.get("vulns", []):
        yield PinFinding(advisory["id"], f"{package.name} {package.version} has a known advisory")
