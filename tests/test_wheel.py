"""What the wheel holds: every room that the command mounts, and neither tests nor local state."""

from __future__ import annotations

import tomllib
from pathlib import Path

from vigil.commands import COMMANDS
from vigil.release import DISTRIBUTION

ROOT = Path(__file__).parent.parent


def test_the_wheel_holds_every_room_of_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    rooms = {mounted.place.partition(".")[0] for mounted in COMMANDS.values()}
    assert rooms <= packed
    assert project["project"]["name"] == DISTRIBUTION
    assert project["project"]["scripts"]["vigil"] == "vigil.__main__:main"
