"""The actions that the workflows use: pinned by commit, with the version beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from infra.audit.pins import Pin

WORKFLOWS = ".github/workflows"
_USES = re.compile(r"uses: (?P<name>[\w.-]+/[\w.-]+)\S*@[0-9a-f]{40} # v(?P<version>[0-9.]+)")


def workflow_pins(root: Path, today: date) -> list[Pin]:
    """Return the actions below `root`, each version of each once. GitHub is asked for newer ones.

    That every action is pinned by a commit is for `make scan` to see.
    """
    pins: dict[tuple[str, str], Pin] = {}
    for path in sorted((root / WORKFLOWS).glob("*.yml")):
        for pin in _pins_of(path, root, today):
            pins.setdefault((pin.name, pin.version), pin)
    return list(pins.values())


def _pins_of(
    path: Path,
    root: Path,
    today: date,
) -> Iterator[Pin]:
    for found in _USES.finditer(path.read_text()):
        yield Pin(
            name=found["name"],
            version=found["version"],
            file=str(path.relative_to(root)),
            source="the workflow",
            day=today,
            registry=f"github:{found['name']}",
        )
