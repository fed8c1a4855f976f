"""`make bench ARGS=score`: CompiledForest.score beside its peers, and two threads beside one.

The peers are scikit-learn, ONNX Runtime, treelite, tl2cgen and isotree. isotree cannot take a
forest: it fits one of its own, so its fit is measured, too.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from tests.bench.peers import PeerUnavailable, interpreter
from tests.bench.report import Ratio, markdown, measured, over
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from vigil.arrays import Floats
from vigil.terminal import say

TITLE = "Scoring"
SIZES = (1, 64, 10_000)
FEATURES = 30
FIT_ROWS = 1_000_000
MANY = max(SIZES)
# Each gets the very forest, pickled: so the same scikit-learn.
SAME = f"scikit-learn=={importlib.metadata.version('scikit-learn')}"
PEERS = {
    "onnxruntime": ("onnxruntime>=1.20", "skl2onnx>=1.18", SAME),
    "treelite": ("treelite>=4.3", SAME),
    "tl2cgen": ("tl2cgen>=1.0", "treelite>=4.3", SAME),
    "isotree": ("isotree>=0.6.1", "pandas", SAME),
}
OWN_FOREST = "isotree"
BY_COLUMNS = "isotree, rows by columns"
MAX_DIFFERENCE = 1e-5  # a peer that is further from scikit-learn does other work
MAX_MEAN_DIFFERENCE = 0.02  # of one that fits a forest of its own
SECONDS = 1.5
TIMEOUT_S = 600


@dataclass
class Times:
    """Seconds of the shortest call by who and rows, and what could not be measured, and why.

    threads: the same rows on one thread and on two, in turns; fits: of FIT_ROWS rows, by who
    """

    calls: dict[str, dict[int, float]] = field(default_factory=dict)
    threads: list[float] = field(default_factory=list)
    fits: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    busy: float = 0.0

    def of(self, who: str, rows: int) -> float | None:
        return self.calls.get(who, {}).get(rows)

    def fastest_peer(self, rows: int) -> float:
        return min(times[rows] for who, times in self.calls.items() if who != "vigil")


def measure() -> Times:
    """100 trees of 256 rows, 30 features; all on one thread but for the last."""
    found = Times(busy=os.getloadavg()[0])
    X = np.random.default_rng(0).normal(size=(MANY, FEATURES))
    forest = fit_part(X, trees=100, max_samples=256, max_features=1.0, seed=0)
    compiled = CompiledForest.compile(forest)
    say("scikit-learn and vigil")
    found.calls["scikit-learn"] = _by_size(lambda rows: forest.score_samples(rows), X)
    found.calls["vigil"] = _by_size(compiled.score, X)
    for peer in PEERS:
        say(peer)
        try:
            found.calls[peer] = _measure(peer, forest, X)
        except PeerUnavailable as error:
            say(error.message)
            found.missing.append(error.message)
    found.threads = best(
        [lambda: compiled.score(X), lambda: compiled.score(X, threads=2)], 4 * SECONDS
    )
    found.fits = _fits()
    return found


def _by_size(score: Callable[[Floats], object], X: Floats) -> dict[int, float]:
    return {n: best([lambda n=n: score(X[:n])])[0] for n in SIZES}


def ratios(found: Times) -> list[Ratio]:
    """The figures that must hold, with their bounds."""
    ours = found.of("vigil", MANY) or 0.0
    fit = over(found.fits.get("vigil"), found.fits.get(OWN_FOREST))
    return [
        Ratio(
            f"{MANY:,} rows on one core",
            ours * 1000,
            5,
            at_least=False,
            unit="ms",
        ),
        Ratio(f"fastest peer / vigil, {MANY:,} rows", found.fastest_peer(MANY) / ours, 1),
        Ratio(
            f"vigil's part of a fit / isotree's fit, {FIT_ROWS:,} rows",
            fit,
            1,
            at_least=False,
        ),
    ]


def figures(found: Times) -> list[dict[str, Any]]:
    """Microseconds of the shortest call: a row for each of who was measured."""
    one, two = found.threads
    rows: list[dict[str, Any]] = [
        {
            "who": who,
            **{f"{n:,} rows, us": _us(times[n]) for n in SIZES},
            f"fit of {FIT_ROWS:,}, ms": _ms(found.fits.get(who)),
        }
        for who, times in found.calls.items()
    ]
    lone = {f"{n:,} rows, us": "" for n in SIZES[:-1]}
    threads = {"who": "vigil, two threads", **lone, f"{MANY:,} rows, us": _us(two)}
    return [*rows, {**threads, f"fit of {FIT_ROWS:,}, ms": f"{one / two:.2f}x of one thread"}]


def page(found: Times) -> str:
    """The section of docs/benchmarks.md."""
    missing = "".join(f"\nNot measured: {each}.\n" for each in found.missing)
    return (
        f"{measured('score')} 100 trees of 256 rows, {FEATURES} features, the shortest call; "
        f"{found.busy:.0f} processes wanted a core before. All peers but isotree score the very "
        "forest of scikit-learn, and agree with it; isotree fits one of its own size. tl2cgen "
        "compiles the forest to C by gcc. A fit is that of one process, as a worker does it, to "
        "rows that lie one behind the other, as tables are read. isotree turns them by columns: "
        f"where they lie so already, its fit takes {_ms(found.fits.get(BY_COLUMNS))} ms.\n\n"
        f"{markdown([ratio.row() for ratio in ratios(found)])}\n\n"
        f"{markdown(figures(found))}\n{missing}"
    )


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f}"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:,.0f}"


def _measure(peer: str, forest: Any, X: Floats) -> dict[int, float]:
    """Seconds of the shortest call by number of rows.

    Raises PeerUnavailable also where the peer cannot take the forest.
    """
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(forest, Path(folder) / "forest.joblib")
        np.save(Path(folder) / "X.npy", X)
        found = _run(peer, peer, folder, *map(str, SIZES))
    _require_same_scores(peer, found)
    return {int(n): seconds for n, seconds in found["seconds"].items()}


def _require_same_scores(peer: str, found: dict[str, Any]) -> None:
    """Raise PeerUnavailable for a peer that does other work."""
    difference, limit = found["difference"], MAX_DIFFERENCE
    if peer == OWN_FOREST:
        difference, limit = found["mean_difference"], MAX_MEAN_DIFFERENCE
    if not difference < limit:
        raise PeerUnavailable(
            f"{peer} differs from scikit-learn by {difference:.1e}: no comparison"
        )


def _fits() -> dict[str, float]:
    """Seconds of the shortest fit to FIT_ROWS rows, of Vigil in one process and of isotree."""
    X = np.random.default_rng(0).normal(size=(FIT_ROWS, FEATURES))
    say("fits")
    ours = best(
        [lambda: fit_part(X, trees=100, max_samples=256, max_features=1.0, seed=0)], 4 * SECONDS
    )
    fits = {"vigil": ours[0]}
    try:
        found = _run(OWN_FOREST, "fit", str(FIT_ROWS), str(FEATURES))
        fits[OWN_FOREST] = found["seconds"]
        fits[BY_COLUMNS] = found["by_columns"]
    except PeerUnavailable as error:
        say(error.message)
    return fits


def _run(peer: str, *words: str) -> dict[str, Any]:
    """What score_peer.py prints in the environment of a peer; raises PeerUnavailable."""
    python = interpreter(peer, *PEERS[peer])
    command = [str(python), str(Path(__file__).with_name("score_peer.py")), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise PeerUnavailable(f"{peer} fails: {' '.join(done.stderr.split())[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def best(calls: list[Callable[[], object]], seconds: float = SECONDS) -> list[float]:
    """The shortest of each of the calls, made in turn for `seconds`, after one to warm up."""
    for call in calls:
        call()
    shortest, end = [float("inf")] * len(calls), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, call in enumerate(calls):
            began = time.perf_counter()
            call()
            shortest[i] = min(shortest[i], time.perf_counter() - began)
    return shortest
