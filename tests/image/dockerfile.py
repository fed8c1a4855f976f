"""Reads a Dockerfile and a .dockerignore as far as the tests ask for them."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Step:
    """One instruction: its keyword, its options (`--from=x`), and the rest."""

    keyword: str
    options: tuple[str, ...]
    rest: str

    @property
    def origin(self) -> str | None:
        """The stage that a COPY takes from; None for the build context."""
        given = [one.removeprefix("--from=") for one in self.options if one.startswith("--from=")]
        return given[0] if given else None

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form too."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)

    def of(self, *keywords: str) -> list[Step]:
        return [step for step in self.steps if step.keyword in keywords]


def instructions(text: str) -> Iterator[Step]:
    """The instructions, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        keyword, *words = line.split()
        options = [word for word in words if word.startswith("--")]
        first = next((i for i, word in enumerate(words) if word not in options), len(words))
        rest = line.split(maxsplit=first + 1)[first + 1] if first < len(words) else ""
        yield Step(keyword.upper(), tuple(words[:first]), rest.strip())


def stages(path: Path = ROOT / "Dockerfile") -> dict[str, Stage]:
    """The stages by name, in their order."""
    found: dict[str, Stage] = {}
    for step in instructions(path.read_text()):
        if step.keyword == "FROM":
            base, _, name = step.rest.partition(" AS ")
            found[name] = Stage(name, base)
        elif found:
            found[next(reversed(found))].steps.append(step)
    return found


def lineage(name: str) -> list[Stage]:
    """A stage and those that it stands on, the lowest first."""
    known = stages()
    found = [known[name]]
    while found[0].base in known:
        found.insert(0, known[found[0].base])
    return found


def let_through(path: str, ignore: Path = ROOT / ".dockerignore") -> bool:
    """Whether a .dockerignore hands this path to a build: the last line that fits counts."""
    allowed = True
    for line in ignore.read_text().split():
        pattern = line.removeprefix("!")
        whole = [path, *(str(parent) for parent in Path(path).parents)]
        names = [pattern.removeprefix("**/")] if pattern.startswith("**/") else [pattern]
        parts = [Path(one).name for one in whole] if pattern.startswith("**/") else whole
        if any(fnmatch.fnmatchcase(part, name) for part in parts for name in names):
            allowed = line.startswith("!")
    return allowed
