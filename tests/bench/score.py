"""`make bench ARGS=score`: CompiledForest.score beside its peers, and two threads beside one.

The peers are scikit-learn, ONNX Runtime and treelite.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from tests.bench.peers import PeerUnavailable, interpreter
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from vigil.terminal import say

SIZES = (1, 64, 10_000)
# Each gets the very forest, pickled: so the same scikit-learn.
SAME = f"scikit-learn=={importlib.metadata.version('scikit-learn')}"
PEERS = {
    "onnxruntime": ("onnxruntime>=1.20", "skl2onnx>=1.18", SAME),
    "treelite": ("treelite>=4.3", SAME),
}
MOST_DIFFERENCE = 1e-5  # a peer that is further from scikit-learn does other work
SECONDS = 1.5
RATIOS = {
    "sklearn": "scikit-learn / vigil",
    "fastest": "fastest peer / vigil",
    "threads_gain": "1 thread / these",
}


def score() -> list[dict[str, Any]]:
    """100 trees of 256 rows, 30 features: microseconds of the shortest call.

    All on one thread but for the last line. `scikit-learn / vigil` and `fastest peer / vigil`
    are how many times faster Vigil is, `1 thread / these` what the threads of that line bring.
    `missing` says which peer could not be measured, and why.
    """
    X = np.random.default_rng(0).normal(size=(max(SIZES), 30))
    forest = fit_part(X, trees=100, max_samples=256, max_features=1.0, seed=0)
    compiled = CompiledForest.compile(forest)
    say("scikit-learn and vigil")
    times = {"scikit-learn": {n: best([lambda n=n: forest.score_samples(X[:n])])[0] for n in SIZES}}
    ours = {n: best([lambda n=n: compiled.score(X[:n])])[0] for n in SIZES}
    missing = []
    for peer in PEERS:
        say(peer)
        try:
            times[peer] = _measure(peer, forest, X)
        except PeerUnavailable as error:
            say(error.message)
            missing.append(error.message)
    one, two = best([lambda: compiled.score(X), lambda: compiled.score(X, threads=2)], 4 * SECONDS)

    def line(n: int, threads: int, seconds: float, **ratios: float) -> dict[str, Any]:
        theirs = {
            f"{peer} us": _us(times.get(peer, {}).get(n)) for peer in ("scikit-learn", *PEERS)
        }
        found = {"rows": n, "threads": threads, **theirs, "vigil us": _us(seconds)}
        return (
            found
            | {title: ratios.get(key) for key, title in RATIOS.items()}
            | {"missing": "; ".join(missing)}
        )

    lines = [
        line(
            n,
            1,
            ours[n],
            sklearn=round(times["scikit-learn"][n] / ours[n], 1),
            fastest=round(min(t[n] for t in times.values()) / ours[n], 1),
        )
        for n in SIZES
    ]
    return [*lines, line(len(X), 2, two, threads_gain=round(one / two, 2))]


def _us(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e6, 1)


def _measure(peer: str, forest: Any, X: np.ndarray[Any, Any]) -> dict[int, float]:
    """Seconds of the shortest call by number of rows.

    Raises PeerUnavailable also where the peer cannot take the forest.
    """
    python = interpreter(peer, *PEERS[peer])
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(forest, Path(folder) / "forest.joblib")
        np.save(Path(folder) / "X.npy", X)
        command = [
            python,
            Path(__file__).with_name("score_peer.py"),
            peer,
            folder,
            *map(str, SIZES),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise PeerUnavailable(f"{peer} fails: {' '.join(done.stderr.split())[-400:]}")
    found = json.loads(done.stdout)
    if not found["difference"] < MOST_DIFFERENCE:
        raise PeerUnavailable(
            f"{peer} differs from scikit-learn by {found['difference']:.1e}: no comparison"
        )
    return {int(n): seconds for n, seconds in found["seconds"].items()}


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
