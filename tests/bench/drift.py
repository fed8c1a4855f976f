"""`make bench ARGS=drift`: false episodes and power of the drift rule, beside naive rules.

On generated and on real data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from drift.governor import Governor, on_window, opens_episode
from drift.settings import DriftSettings
from drift.statistics import compare
from drift.verdict import VerdictKind, judge_window
from tests.bench.report import Ratio, machine, markdown
from train.model.reference import Reference, build_reference
from vigil.arrays import Floats

Change = Callable[[Floats, np.random.Generator], Floats]
ROWS, FEATURES, REFERENCE_ROWS = 1000, 30, 10_000
SETTINGS = DriftSettings(
    mode="auto", retrain_rows=1_000_000_000
)  # episodes open and close, nothing is retrained
WITHIN = 5


@dataclass
class World:
    """Endless correlated features, each with a centre, a spread and a memory of its own."""

    seed: int
    memory: float = 0.0
    features: int = FEATURES
    _state: Floats | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.loading = self.rng.choice([-0.7, 0.7], self.features)
        self.centre, self.spread = (
            self.rng.uniform(-50, 50, self.features),
            self.rng.uniform(1, 10, self.features),
        )

    def take(self, rows: int = ROWS) -> Floats:
        """The next rows [rows, features]; each latent series is autoregressive with `memory`."""
        noise = self.rng.normal(size=(rows, self.features + 1))
        if self.memory:
            start = (
                self._state if self._state is not None else self.rng.normal(size=self.features + 1)
            )
            noise, _ = lfilter(
                [np.sqrt(1 - self.memory**2)],
                [1, -self.memory],
                noise,
                axis=0,
                zi=self.memory * start[None],
            )
            self._state = noise[-1]
        latent = self.loading * noise[:, :1] + np.sqrt(1 - self.loading**2) * noise[:, 1:]
        return self.centre + self.spread * latent


@dataclass
class Rule:
    """A rule that says of each window whether it is drift.

    `open` counts the episodes that the governor opened by it.
    """

    says: Callable[[Floats], VerdictKind]
    governor: Governor = field(default_factory=Governor)
    opened: list[int] = field(default_factory=list)
    windows: int = 0
    kinds: list[VerdictKind] = field(default_factory=list)

    def take(self, window: Floats) -> None:
        self.windows += 1
        self.kinds.append(self.says(window))
        before = self.governor
        self.governor = on_window(
            before,
            self.kinds[-1],
            since=float(self.windows),
            rows=len(window),
            now=float(self.windows),
            settings=SETTINGS,
        )
        if opens_episode(before, self.governor):
            self.opened.append(self.windows)


def vigil(reference: Reference, window: Floats) -> VerdictKind:
    return judge_window(reference, compare(reference, window), SETTINGS.alpha).kind


def flattened_mean(mean: float, variance: float, window: Floats) -> VerdictKind:
    """What Vigil replaces: are the means of the flattened arrays equal, at 5 %?"""
    z = (np.nanmean(window) - mean) / np.sqrt(max(variance, 1e-12) / window.size)
    return "population drift" if 2 * norm.sf(abs(z)) < 0.05 else "none"


def rules(X: Floats, window_rows: int = ROWS) -> dict[str, Rule]:
    """Vigil's rule and the naive ones, all with the same governor."""
    reference = build_reference(
        X, tuple(f"f{j}" for j in range(X.shape[1])), np.zeros(1), window_rows=window_rows
    )
    return {
        "Vigil": Rule(partial(vigil, reference)),
        "flattened mean": Rule(partial(flattened_mean, float(X.mean()), float(X.var()))),
        "always": Rule(lambda _: "population drift"),
        "never": Rule(lambda _: "none"),
    }


def some(
    features: int, share: float, rng: np.random.Generator, among: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """The numbers of `share` of the features, at least one."""
    pool = np.arange(features) if among is None else among
    return rng.choice(pool, min(len(pool), max(1, round(share * features))), replace=False)


def shift(
    by: Floats, features: NDArray[np.int64], window: Floats, rng: np.random.Generator
) -> Floats:
    window[:, features] += by[features]
    return window


def widen(
    centre: Floats, features: NDArray[np.int64], window: Floats, rng: np.random.Generator
) -> Floats:
    window[:, features] = centre[features] + np.sqrt(2) * (window[:, features] - centre[features])
    return window


def untie(features: NDArray[np.int64], window: Floats, rng: np.random.Generator) -> Floats:
    """Each of these features keeps its values, and loses what it had to do with the others."""
    for j in features:
        window[:, j] = rng.permutation(window[:, j])
    return window


def nulls(features: NDArray[np.int64], window: Floats, rng: np.random.Generator) -> Floats:
    window[rng.random(len(window)) < 0.5, features[0]] = np.nan
    return window


def stick(features: NDArray[np.int64], window: Floats, rng: np.random.Generator) -> Floats:
    window[:, features[0]] = window[0, features[0]]
    return window


def unit(features: NDArray[np.int64], window: Floats, rng: np.random.Generator) -> Floats:
    window[:, features[0]] *= 1000
    return window


def swap(features: NDArray[np.int64], window: Floats, rng: np.random.Generator) -> Floats:
    window[:, features[:2]] = window[:, features[1::-1]]
    return window


def flip(features: NDArray[np.int64], window: Floats, rng: np.random.Generator) -> Floats:
    window[:, features[0]] *= -1
    return window


BREAKS = {
    "nulls": nulls,
    "stuck": stick,
    "unit x1000": unit,
    "swapped columns": swap,
    "sign flip": flip,
}


def quiet(memory: float, windows: int, references: int, seed: int = 0) -> dict[str, Any]:
    """False episodes per 1000 windows of a world that does not change, over several references."""
    episodes: dict[str, int] = {}
    flagged, per = 0, windows // references
    for number in range(references):
        world = World(seed + number, memory)
        judged = rules(world.take(REFERENCE_ROWS))
        for _ in range(per):
            window = world.take()
            for rule in judged.values():
                rule.take(window)
        for name, rule in judged.items():
            episodes[name] = episodes.get(name, 0) + len(rule.opened)
        flagged += per - judged["Vigil"].kinds.count("none")
    per_1000 = {
        name: round(1000 * count / (per * references), 2) for name, count in episodes.items()
    }
    return {"windows": per * references, "Vigil: windows flagged": flagged, **per_1000}


def found(
    X: Floats,
    windows: list[Floats],
    change: Change,
    rng: np.random.Generator,
    rows: int = ROWS,
    judged: dict[str, Rule] | None = None,
) -> dict[str, Rule]:
    """What each rule says when the change has come with the first of these windows."""
    judged = judged or rules(X, rows)
    for window in windows:
        changed = change(window.copy(), rng)
        for rule in judged.values():
            rule.take(changed)
    return judged


def power(
    kind: str, trials: int, within: int, memory: float = 0.0, seed: int = 100
) -> dict[str, Any]:
    """Share of changes that open an episode within so many windows.

    Every ten changes have a world of their own.
    """
    hits: dict[str, int] = {}
    world, X, base = World(seed, memory), np.zeros((0, 0)), dict[str, Rule]()
    for trial in range(trials):
        rng = np.random.default_rng(seed + trial)
        if trial % 10 == 0:
            world = World(seed + trial, memory)
            X = world.take(REFERENCE_ROWS)
            base = rules(X)
        features = some(FEATURES, 1 / FEATURES if kind == "0.5 sd in one" else 0.2, rng)
        change: Change = {
            "0.5 sd in one": partial(shift, 0.5 * X.std(axis=0), features),
            "1 sd in 20 %": partial(shift, X.std(axis=0) * rng.choice([-1, 1], FEATURES), features),
            "variance x2 in 20 %": partial(widen, X.mean(axis=0), features),
            "correlation broken in 20 %": partial(untie, features),
        }[kind]
        fresh = {name: Rule(rule.says) for name, rule in base.items()}
        for name, rule in found(
            X, [world.take() for _ in range(within)], change, rng, judged=fresh
        ).items():
            hits[name] = hits.get(name, 0) + bool(rule.opened)
    return {"changes": trials, **{name: round(count / trials, 3) for name, count in hits.items()}}


def broken(kind: str, trials: int, memory: float = 0.0, seed: int = 500) -> dict[str, Any]:
    """Share of windows called a data break, and episodes opened.

    A column of a generated world is broken meanwhile.
    """
    called = opened = 0
    world = World(seed, memory)
    says: Callable[[Floats], VerdictKind] = lambda _: "none"  # noqa: E731
    for trial in range(trials):
        rng = np.random.default_rng(seed + trial)
        if trial % 10 == 0:
            world = World(seed + trial, memory)
            says = rules(world.take(REFERENCE_ROWS))["Vigil"].says
        rule = Rule(says)
        features = rng.permutation(FEATURES)
        for _ in range(WITHIN):
            rule.take(BREAKS[kind](features, world.take(), rng))
        called += rule.kinds.count("data break")
        opened += bool(rule.opened)
    return {
        "windows": trials * WITHIN,
        "called data break": round(called / trials / WITHIN, 3),
        "retrains": opened,
    }


def check_ms(repeats: int = 50) -> tuple[float, float]:
    """Median milliseconds of one check of a window of 1,000 x 30 that has drifted; of its CPU."""
    world = World(0)
    reference = build_reference(
        world.take(REFERENCE_ROWS),
        tuple(f"f{j}" for j in range(FEATURES)),
        np.zeros(1),
        window_rows=ROWS,
    )
    window = world.take() + 1.0
    times, cpu_times = [], []
    for _ in range(repeats):
        began, cpu_began = time.perf_counter(), time.process_time()
        judge_window(reference, compare(reference, window), SETTINGS.alpha)
        times.append(time.perf_counter() - began)
        cpu_times.append(time.process_time() - cpu_began)
    return 1000 * float(np.median(times)), 1000 * float(np.median(cpu_times))


def drift(windows: int, trials: int) -> list[dict[str, Any]]:
    """The table: false episodes of `windows` windows, power and data breaks in `trials` trials."""
    rows: list[dict[str, Any]] = []
    for name, memory in (("i.i.d.", 0.0), ("AR(0.9)", 0.9)):
        false = quiet(memory, windows, 10)
        rows.append(
            as_row(
                Ratio(
                    f"{name}: false episodes", false["Vigil"], 1, at_least=False, unit="per 1000"
                ),
                false,
            )
        )
    for kind, within, least in POWER:
        one = power(kind, trials, within)
        rows.append(
            as_row(
                Ratio(f"{kind}: found within {within} windows", one["Vigil"], least, unit=""), one
            )
        )
    for kind in BREAKS:
        for memory in (0.0, 0.9):
            one = broken(kind, trials, memory)
            where = f"{kind}, memory {memory:g}: called data break"
            note = f"{one['retrains']} episodes"
            rows.append(
                as_row(Ratio(where, one["called data break"], 0.95, unit="", note=note), {})
            )
    took, cpu = check_ms()
    note = f"{cpu:.1f} ms of CPU"
    what = "one check of 1,000 x 30"
    rows.append(as_row(Ratio(what, took, 10, at_least=False, unit="ms", note=note), {}))
    return rows


POWER = (
    ("0.5 sd in one", 3, 0.99),
    ("1 sd in 20 %", 5, 0.95),
    ("variance x2 in 20 %", 5, 0.9),
    ("correlation broken in 20 %", 5, 0.9),
)


def as_row(ratio: Ratio, beside: dict[str, Any]) -> dict[str, Any]:
    return {
        **ratio.row(),
        **{name: beside.get(name, "") for name in ("flattened mean", "always", "never")},
    }


def page(rows: list[dict[str, Any]]) -> str:
    """The section of the docs."""
    return (
        f"{machine()['date']}, {machine()['cores']} cores. Windows of 1,000 rows (asd: 500).\n"
        "Of machines that is counted which the reference says can be told, before the window\n"
        "is seen (tests/bench/telemetry.py). The limits were set with the train splits of all\n"
        "machines in view; the test splits were looked at once after that.\n\n"
        f"{markdown(rows)}"
    )
