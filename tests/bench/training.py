"""`make bench ARGS=training`: memory and time of `vigil train` on generated Parquet.

For a million rows and for many more.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.report import Ratio, markdown, measured, over
from tests.running import ROOT, eventually, left_of
from vigil.errors import VigilError
from vigil.terminal import say

FEATURES = 30
FEW = 1_000_000
FILE_ROWS, GROUP_ROWS = 500_000, 125_000
LOOK_S, LOOK_UNIQUE_S = 0.1, 1.0
MEMORY = 1.3
MUCH = 200 * 2**20  # bytes


@dataclass
class Peaks:
    """The most that any process of a run held.

    rss: resident bytes by name of the process; unique: what was its own alone.
    """

    rss: dict[str, int] = field(default_factory=dict)
    unique: dict[str, int] = field(default_factory=dict)

    def look(self, processes: list[psutil.Process], unique: bool) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                name, held = _name(process), process.memory_info().rss
                self.rss[name] = max(self.rss.get(name, 0), held)
                if unique:
                    self.unique[name] = max(
                        self.unique.get(name, 0), process.memory_full_info().uss
                    )


def _name(process: psutil.Process) -> str:
    """What it does: Ray renames its workers by their task."""
    words = process.cmdline() or [process.name()]
    if words[0].startswith("ray::"):
        return re.split(r"[(. ]", words[0])[0]
    known = (
        "raylet",
        "gcs_server",
        "dashboard/agent",
        "runtime_env/agent",
        "log_monitor",
        "monitor.py",
        "plasma",
    )
    text = " ".join(words)
    return (
        "vigil train"
        if "vigil train" in text
        else next((name for name in known if name in text), Path(words[0]).name)
    )


@dataclass(frozen=True)
class Run:
    """`vigil train` over so many rows."""

    rows: int
    seconds: float
    peaks: Peaks
    load: float = 0.0  # average of the machine, before

    def row(self) -> dict[str, Any]:
        return {
            "rows": f"{self.rows:,}",
            "seconds": round(self.seconds, 1),
            "rows/s": f"{self.rows / self.seconds:,.0f}",
            "microseconds a row": round(1e6 * self.seconds / self.rows, 2),
            "peak resident MB of a process": _mb(max(self.peaks.rss.values())),
            "its own (USS) MB": _mb(max(self.peaks.unique.values())),
            "load average before": round(self.load, 1),
        }


def training(rows: int) -> dict[str, list[dict[str, Any]]]:
    """A run of a million rows and one of `rows`: costs, bounds, and who held the memory."""
    few, many = _run(FEW), _run(rows)
    longer = many.seconds - few.seconds  # not so where the machine was busier in the first run
    more = f"{(many.rows - few.rows) / longer:,.0f}" if longer > 0 else "-"
    runs = [
        few.row() | {"rows/s of the rows beyond": ""},
        many.row() | {"rows/s of the rows beyond": more},
    ]
    return {"ratios": ratios(few, many), "runs": runs, "processes": processes(few, many)}


def _run(rows: int) -> Run:
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as folder:
        table, home = Path(folder) / "table", Path(folder) / "home"
        _generate(table, rows)
        say(f"{rows:,} rows are written")
        load = psutil.getloadavg()[0]
        run = Run(rows, *_train(table, home), load)
    say(f"{run.row()}")
    return run


def _generate(folder: Path, rows: int) -> None:
    """Files of `FILE_ROWS` random rows: correlated features, which no encoding makes small."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(FEATURES, FEATURES)) / FEATURES**0.5
    for number in range(-(-rows // FILE_ROWS)):
        X = rng.normal(size=(min(FILE_ROWS, rows - number * FILE_ROWS), FEATURES)) @ mix
        columns = {f"f{j:02d}": np.ascontiguousarray(X[:, j]) for j in range(FEATURES)}
        pq.write_table(
            pa.table(columns), folder / f"part-{number:05d}.parquet", row_group_size=GROUP_ROWS
        )


def _train(table: Path, home: Path) -> tuple[float, Peaks]:
    """Seconds of `vigil train` from its start to its end, and what its processes held meanwhile."""
    environment = {**os.environ, "VIGIL_HOME": str(home)}
    began, done, peaks = time.monotonic(), Event(), Peaks()
    process = Popen(
        [sys.executable, "-m", "vigil", "train", "--data", str(table), "--json"],
        cwd=ROOT,
        env=environment,
        stdout=DEVNULL,
        stderr=PIPE,
        text=True,
        start_new_session=True,
    )
    watcher = Thread(target=_watch, args=(process.pid, done, peaks))
    watcher.start()
    try:
        _, told = process.communicate()
    finally:
        done.set()
        watcher.join()
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise VigilError(f"vigil train exited {process.returncode}: {told[-2000:]}")
    eventually(lambda: not left_of(home))
    return seconds, peaks


def _watch(pid: int, done: Event, peaks: Peaks) -> None:
    root, last = psutil.Process(pid), 0.0
    while not done.wait(LOOK_S):
        with suppress(psutil.NoSuchProcess):
            unique = (
                time.monotonic() - last >= LOOK_UNIQUE_S
            )  # it reads the whole map of the process
            last = time.monotonic() if unique else last
            peaks.look([root, *root.children(recursive=True)], unique)


def ratios(few: Run, many: Run) -> list[dict[str, Any]]:
    """What must hold."""
    times = f"{many.rows // 10**6} million rows over one million"
    heaviest = [max(run.peaks.rss.values()) for run in (few, many)]
    unique = [max(run.peaks.unique.values()) for run in (few, many)]
    per_row = [run.seconds / run.rows for run in (few, many)]
    return [
        ratio.row()
        for ratio in (
            Ratio(
                f"{times}: peak resident memory of any process",
                over(heaviest[1], heaviest[0]),
                MEMORY,
                at_least=False,
            ),
            Ratio(
                f"{times}: the same, not shared (USS)",
                over(unique[1], unique[0]),
                MEMORY,
                at_least=False,
            ),
            Ratio(f"{times}: wall time a row", over(per_row[1], per_row[0]), 1, at_least=False),
        )
    ]


def processes(few: Run, many: Run) -> list[dict[str, Any]]:
    """Peaks of each kind of process that holds much, in MB."""
    held = {
        name: max(run.peaks.rss.get(name, 0) for run in (few, many))
        for name in {*few.peaks.rss, *many.peaks.rss}
    }
    names = sorted(
        (name for name, most in held.items() if most >= MUCH), key=lambda name: (-held[name], name)
    )
    return [
        {"process": name}
        | {
            f"{what}, {run.rows:,} rows": _mb(kind.get(name, 0))
            for run in (few, many)
            for what, kind in (("resident MB", run.peaks.rss), ("own MB", run.peaks.unique))
        }
        for name in names
    ]


def _mb(size: int) -> int:
    return round(size / 2**20)


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """The section of the docs."""
    return PAGE.format(
        head=measured("training"),
        features=FEATURES,
        file=FILE_ROWS,
        group=GROUP_ROWS,
        **{k: markdown(v) for k, v in found.items()},
    )


PAGE = """{head}

{ratios}

{runs}

`vigil train` with a home of its own, on Parquet of {features} float64 features: files of {file:,}
rows in row groups of {group:,}. The time is that of the whole command, from Python's start to the
registered version: Ray, the fit, the gate and MLflow are in it, and the smaller run, which goes
first, finds files and caches cold. The memory is that of the heaviest process at any moment,
looked at ten times a second over the command and all its children (resident, as psutil tells:
pages of Ray's object store that a process has touched count for it too) and once a second for
what is its own alone (USS). ray::Map are the tasks that read.

{processes}
"""
