"""The libraries that pyproject.toml names, in the versions that uv.lock has."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.audit.advisories import locked_packages
from infra.audit.pins import Pin
from vigil.json_types import JsonObject

LOCK = "uv.lock"


def direct_pins(root: Path, today: date) -> list[Pin]:
    """Return them as pins that PyPI is asked for; what they need in turn follows them."""
    versions = {package.name: package.version for package in locked_packages(root / LOCK)}
    names = sorted(set(_named(tomllib.loads((root / "pyproject.toml").read_text()))))
    return [_pin(name, versions[name], today) for name in names]


def _named(project: JsonObject) -> Iterator[str]:
    groups = project.get("dependency-groups", {}).values()
    for requirements in (project["project"]["dependencies"], *groups):
        for text in requirements:
            yield canonicalize_name(Requirement(text).name)


def _pin(
    name: str,
    version: str,
    today: date,
) -> Pin:
    return Pin(
        name=name,
        version=version,
        file=LOCK,
        source="PyPI",
        day=today,
        registry=f"pypi:{name}",
    )
