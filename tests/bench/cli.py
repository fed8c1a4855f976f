"""`vigil bench [NAME]`: measurements side by side in one run, as ratios. Timings are never asserted in a test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from train.terminal import command, json_option, say, show, table


@click.command()
@click.argument("name", required=False, type=click.Choice(["score", "serving"]))
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="serving: length of one run")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="write what was found as JSON")
@click.option("--write-docs", is_flag=True, help="serving: write the section of docs/benchmarks.md")
@json_option
@command
def bench(name: str | None, seconds: float, out: Path | None, write_docs: bool, as_json: bool) -> None:
    """Measure: score (the compiled forest beside scikit-learn), serving (HTTP beside a do-nothing handler and other servers)."""
    found: dict[str, Any] = {}
    if name in (None, "score"):
        found["score"] = score()
    if name in (None, "serving"):
        found["serving"] = _serving(seconds, write_docs, as_json)
    if out is not None:
        out.write_text(json.dumps(found, indent=1))
    if as_json:
        show(found)
    elif "score" in found:
        _table("score", found["score"])


def _serving(seconds: float, write_docs: bool, as_json: bool) -> dict[str, Any]:
    from tests.bench import report, serving

    found = serving.run(seconds)
    if write_docs:
        report.write_section(report.DOCS, "Serving", serving.page(found))
    if not as_json:
        _table("serving", serving.figures(found))
        _table("ratios", [ratio.row() for ratio in serving.ratios(found)])
    return serving.to_json(found)


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    say(title)
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
