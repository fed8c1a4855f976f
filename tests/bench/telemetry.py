"""`make bench ARGS=drift`, on real telemetry: false episodes, drift and data breaks put in.

The rule of what can be told is on the reference alone (train/model/told.py), and a change that
leaves every value as it is is none. It is asked before the window is judged; what cannot be told is
not counted, and its share is shown.

The limits of the rules were set with the train splits of all machines in view; both halves of the
machines are shown. The test splits (windows without a labelled row) were looked at once after that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.drift import BREAKS, WITHIN, Rule, found, shift, some, vigil
from tests.bench.report import Ratio
from train.model.reference import Reference, build_reference
from train.model.told import tells_sign, tells_stuck, tells_swap
from train.table.dataset import read_table
from vigil.arrays import Floats
from vigil.errors import DataError

TOLD = 0.9  # of the breaks that can be told, at the mean
MAX_DRIFT = 0.05  # of them that may be called population drift
MAX_EPISODES = 2  # false ones on all machines
KINDS = ("stuck", "unit x1000", "sign flip", "swapped columns")


@dataclass(frozen=True)
class Machine:
    """Rows of a machine: the first 60 % of the train split are the reference.

    windows: those after it; fresh: those of the test split without a labelled row
    """

    name: str
    rows: Floats
    size: int
    windows: list[Floats]
    fresh: list[Floats]

    @cached_property
    def reference(self) -> Reference:
        names = tuple(f"f{j}" for j in range(self.rows.shape[1]))
        return build_reference(self.rows, names, np.zeros(1), window_rows=self.size)

    @cached_property
    def moving(self) -> NDArray[np.intp]:
        """The features that are not constant in the reference."""
        return np.flatnonzero(self.rows.std(axis=0) > 1e-9)

    def rule(self) -> Rule:
        return Rule(partial(vigil, self.reference))


def machines() -> Iterator[Machine]:
    """The real, time-ordered tables; raises DataError where the folder is absent."""
    folder = Path(os.environ.get("VIGIL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        raise DataError(f"set VIGIL_TEST_DATA to the folder of the real tables: {folder} is absent")
    for collection, size in (("asd", 500), ("smd", 1000)):
        for file in sorted((folder / collection).glob("*.npz")):
            yield _machine(f"{collection}/{file.stem}", file, size)


def _machine(name: str, file: Path, size: int) -> Machine:
    dataset = read_table(file)
    X = dataset.train.X
    start = int(0.6 * len(X))
    return Machine(
        name,
        X[:start],
        size,
        windows=_windows(X[start:], size),
        fresh=_quiet_windows(dataset.test, size) if dataset.test else [],
    )


def _windows(X: Floats, size: int) -> list[Floats]:
    return [X[i : i + size] for i in range(0, len(X) - size + 1, size)]


def _quiet_windows(test: Any, size: int) -> list[Floats]:
    labels = _windows(np.asarray(test.labels), size)
    windows = _windows(test.X, size)
    return [rows for rows, marks in zip(windows, labels, strict=True) if not (marks > 0).any()]


@dataclass
class Tally:
    """What became of one kind of break: `kinds` of verdicts on those that can be told."""

    windows: int = 0
    kinds: list[str] = field(default_factory=list)
    episodes: int = 0

    @property
    def called(self) -> float:
        return self.kinds.count("data break") / max(1, len(self.kinds))

    @property
    def drifted(self) -> float:
        return self.kinds.count("population drift") / max(1, len(self.kinds))

    @property
    def told(self) -> float:
        """Share of the windows that can be told."""
        return len(self.kinds) / max(1, self.windows)


def can_tell(
    machine: Machine,
    kind: str,
    columns: NDArray[np.int64],
    window: Floats,
    broken: Floats,
) -> bool:
    """Whether the reference says that this break can be told."""
    if np.array_equal(broken, window):
        return False
    first, second = int(columns[0]), int(columns[1])
    if kind == "stuck":
        return tells_stuck(machine.reference, first, float(window[0, first]))
    if kind == "swapped columns":
        return tells_swap(machine.reference, first, second)
    return kind != "sign flip" or tells_sign(machine.reference, first)


def break_windows(machine: Machine, windows: list[Floats], trials: int) -> dict[str, Tally]:
    """Break columns of stretches of windows: one column, or a pair, a trial."""
    tallies = {kind: Tally() for kind in BREAKS}
    rng = np.random.default_rng(0)
    for _ in range(trials):
        first = int(rng.integers(0, max(1, len(windows) - WITHIN + 1)))
        for kind, tally in tallies.items():
            columns = rng.permutation(machine.moving)
            _break(machine, kind, columns, windows[first : first + WITHIN], tally)
    return tallies


def _break(
    machine: Machine,
    kind: str,
    columns: NDArray[np.int64],
    windows: list[Floats],
    tally: Tally,
) -> None:
    rule = machine.rule()
    told: list[bool] = []
    for window in windows:
        broken = BREAKS[kind](columns, window.copy(), np.random.default_rng(0))
        told.append(can_tell(machine, kind, columns, window, broken))
        rule.take(broken)
    tally.windows += len(told)
    tally.kinds += [verdict for verdict, is_told in zip(rule.kinds, told, strict=True) if is_told]
    tally.episodes += bool(rule.opened)


def false_episodes(machine: Machine) -> int:
    rule = machine.rule()
    for window in machine.windows:
        rule.take(window)
    return len(rule.opened)


def drift_found(machine: Machine, trials: int) -> float:
    """Share of shifts by a standard deviation, in a fifth of the features, that are found."""
    rng = np.random.default_rng(0)
    deviations = machine.rows.std(axis=0)
    windows = machine.windows
    hits = 0
    for _ in range(trials):
        first = int(rng.integers(0, max(1, len(windows) - WITHIN + 1)))
        signs = rng.choice([-1, 1], len(deviations))
        features = some(len(deviations), 0.2, rng, machine.moving)
        change = partial(shift, deviations * signs, features)
        stretch = windows[first : first + WITHIN]
        rules = found(machine.rows, stretch, change, rng, judged={"Vigil": machine.rule()})
        hits += bool(rules["Vigil"].opened)
    return hits / trials


def telemetry(trials: int = 20) -> list[Ratio]:
    """All that is shown of the machines: each by itself, then the means."""
    ratios: list[Ratio] = []
    episodes: list[int] = []
    shifts: list[float] = []
    known: list[dict[str, Tally]] = []
    fresh: list[dict[str, Tally]] = []
    for machine in machines():
        episodes.append(false_episodes(machine))
        shifts.append(drift_found(machine, trials))
        known.append(break_windows(machine, machine.windows, trials))
        fresh.append(break_windows(machine, machine.fresh, trials))
        ratios += _of_machine(machine, episodes[-1], shifts[-1], known[-1])
    return [
        *ratios,
        *_means("half of the machines", known[::2]),
        *_means("the other half", known[1::2]),
        *_means("all machines", known),
        *_means("the test split of all machines", fresh),
        Ratio("1 sd in 20 %, mean of all machines", float(np.mean(shifts)), 0.95, unit=""),
        Ratio("false episodes, all machines", sum(episodes), MAX_EPISODES, at_least=False, unit=""),
    ]


def _of_machine(
    machine: Machine, episodes: int, shifts: float, tallies: dict[str, Tally]
) -> list[Ratio]:
    name = machine.name
    what = f"{name}: false episodes in {len(machine.windows)} windows"
    return [
        Ratio(what, episodes, 1, at_least=False, unit=""),
        Ratio(f"{name}: 1 sd in 20 %", round(shifts, 3), 0.95, unit=""),
        *(_of_kind(f"{name}: {kind}", tally) for kind, tally in tallies.items()),
    ]


def _of_kind(what: str, tally: Tally) -> Ratio:
    note = (
        f"{tally.told:.0%} can be told, {tally.drifted:.3f} drift, {tally.episodes} episodes of all"
    )
    return Ratio(what, round(tally.called, 3), TOLD, unit="", note=note)


def _means(where: str, tallies: list[dict[str, Tally]]) -> list[Ratio]:
    pairs = (_mean(f"{where}: {kind}", [of[kind] for of in tallies]) for kind in KINDS)
    return [ratio for pair in pairs for ratio in pair]


def _mean(what: str, tallies: list[Tally]) -> tuple[Ratio, Ratio]:
    """Over the machines on which some can be told."""
    judged = [tally for tally in tallies if tally.kinds]
    called = float(np.mean([tally.called for tally in judged]))
    drifted = float(np.mean([tally.drifted for tally in judged]))
    told = float(np.mean([tally.told for tally in judged]))
    return (
        Ratio(what, round(called, 3), TOLD, unit="", note=f"{told:.0%} can be told"),
        Ratio(f"{what}, called drift", round(drifted, 3), MAX_DRIFT, at_least=False, unit=""),
    )
