"""What a benchmark found: figures, and ratios with their bounds.

As a table, as JSON, and as a section of docs/benchmarks.md.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from vigil.arrays import Floats

DOCS = Path(__file__).parent.parent.parent / "docs" / "benchmarks.md"
PREFACE = """# Benchmarks

Measured by `make bench ARGS="NAME --write-docs"`, which writes this page; each section is one run
on one machine. What is compared ran side by side in that run, so the ratios mean more than the
figures: those are the machine's.
"""


@dataclass(frozen=True)
class Ratio:
    """One thing that must hold.

    `value` is None where it could not be measured, and `note` says why.
    """

    what: str
    value: float | None
    bound: float
    at_least: bool = True
    unit: str = "x"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None where nothing was measured."""
        if self.value is None or self.value != self.value:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def row(self) -> dict[str, Any]:
        """As a row of the table."""
        found = "not measured" if self.met is None else f"{self.value:.3g} {self.unit}"
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:g} {self.unit}"
        return {
            "ratio": self.what,
            "found": found,
            "bound": bound,
            "met": MET[self.met],
            "note": self.note,
        }

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "met": self.met}


MET = {True: "yes", False: "NO", None: "-"}


def over(above: float | None, below: float | None) -> float | None:
    """above / below, or None where one of them is missing or nothing."""
    return above / below if above and below else None


def mean_and_spread(values: Floats) -> str:
    """The mean of several runs, and their standard deviation."""
    return f"{values.mean():.3f} ± {values.std():.3f}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """A Markdown table; the columns are the keys of the first row."""
    if not rows:
        return ""
    lines = [
        [str(value).replace("|", "\\|").replace("\n", " ") for value in line]
        for line in (rows[0], *(r.values() for r in rows))
    ]
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:])
    )


def machine() -> dict[str, Any]:
    """What was measured on, and when."""
    cpus = Path("/proc/cpuinfo")
    model = (
        re.search(r"^model name\s*: (.*)$", cpus.read_text(), re.MULTILINE)
        if cpus.exists()
        else None
    )
    names = ("vigil", "ray", "scikit-learn", "numba", "mlflow")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
    }


def measured(name: str) -> str:
    """The line that begins a section: by which command, when, on what, of which versions."""
    where = machine()
    return (
        f'`make bench ARGS="{name} --write-docs"`, {where["date"]}, {where["cpu"]}, '
        f"{where['cores']} cores, "
        f"{where['memory_gb']} GB; {where['versions']}."
    )


def write_section(path: Path, title: str, text: str) -> None:
    """Put `text` under the heading `title` of the page, in place of what stood there.

    Other sections stay.
    """
    page = path.read_text() if path.exists() else PREFACE
    head, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    written = {section.split("\n", 1)[0]: section for section in sections}
    written[f"## {title}"] = f"## {title}\n\n{text}"  # one that was there keeps its place
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = (head, *written.values())
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")
