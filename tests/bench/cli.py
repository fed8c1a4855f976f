"""`vigil bench [NAME]`: measurements side by side in one run, as ratios. Timings are never asserted in a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from tests.bench.policies import policies
from train.terminal import command, json_option, say, show, table


@click.command()
@click.argument("name", required=False, type=click.Choice(["score", "policies"]))
@json_option
@command
def bench(name: str | None, as_json: bool) -> None:
    """Measure: score (the compiled forest beside scikit-learn), policies (the policy pack over 500 resources)."""
    found = {each: run() for each, run in BENCHMARKS.items() if name in (None, each)}
    if as_json:
        show(found)
        return
    for each, rows in found.items():
        say(each)
        table(tuple(rows[0]), [tuple(row.values()) for row in rows])


def score() -> list[dict[str, Any]]:
    """100 trees, 30 features: one call of CompiledForest.score beside IsolationForest.score_samples, single-threaded."""
    import numpy as np

    from train.fit import fit_part
    from train.forest import CompiledForest

    X = np.random.default_rng(0).normal(size=(10_000, 30))
    forest = fit_part(X, trees=100, max_samples=256, max_features=1.0, seed=0)
    compiled = CompiledForest.compile(forest)
    found = []
    for rows in (1, 64, 10_000):
        part = X[:rows]
        theirs, ours = _best(lambda part=part: forest.score_samples(part)), _best(lambda part=part: compiled.score(part))
        found.append(
            {
                "rows": rows,
                "scikit-learn us": round(theirs * 1e6, 1),
                "vigil us": round(ours * 1e6, 1),
                "ratio": round(theirs / ours, 1),
            }
        )
    return found


def _best(call: Callable[[], object], seconds: float = 1.5) -> float:
    """The shortest of the calls that fit into `seconds`, after one to warm up."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - began)
    return best


BENCHMARKS: dict[str, Callable[[], list[dict[str, Any]]]] = {"score": score, "policies": policies}
