"""`make bench`: measurements side by side in one run, as ratios. They are no tests."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vigil.terminal import json_option, print_json, print_table, report_errors, say

NAMES = (
    "score",
    "reasons",
    "entities",
    "policies",
    "serving",
    "lines",
    "console",
    "swap",
    "stream",
    "drift",
    "quality",
    "incidents",
    "training",
    "faults",
    "soak",
    "load",
)
LONG = ("entities", "quality", "incidents", "training", "faults", "soak", "load")  # only by name


@click.command()
@click.argument("name", required=False, type=click.Choice(NAMES))
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    help="length of one run, or fault",
)
@click.option(
    "--rps",
    type=click.FloatRange(min=0.1),
    default=100.0,
    show_default=True,
    help="load: requests a second",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="write what was found as JSON"
)
@click.option("--write-docs", is_flag=True, help="write what was found into docs/")
@click.option(
    "--windows",
    type=click.IntRange(min=10),
    default=3000,
    show_default=True,
    help="drift: quiet windows a world",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="drift: changes of each kind",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1_000_000),
    default=20_000_000,
    show_default=True,
    help="training: most rows",
)
@json_option
@report_errors
def bench(
    name: str | None,
    seconds: float,
    rps: float,
    out: Path | None,
    write_docs: bool,
    windows: int,
    trials: int,
    rows: int,
    as_json: bool,
) -> None:
    """Measure: score (the compiled forest beside scikit-learn, ONNX Runtime, treelite, tl2cgen and
    isotree), reasons (the features named for an anomaly beside labelled ones), policies (the policy
    pack over 500 resources), drift (beside naive rules), serving (HTTP beside a do-nothing handler
    and other servers), lines (rows over one connection, as lines and by gRPC), console (HTTP with
    none, one and a thousand consoles open), swap (fifty swaps under load, and the shadow), stream
    (records a second, and what is lost or doubled when the consumer is killed). Only by name:
    entities (the context of a million), quality (a distributed fit, and features over time, on
    real tables), incidents (of the Numenta benchmark, beside alerts of rows), training (memory and
    time for 1 and 20 million rows), load (an open loop against the platform that runs), faults
    (one after the other on a platform of their own), soak (trends of what processes hold; give it
    --seconds 3600). Peers are installed into environments of their own."""
    own: dict[str, Callable[[], Any]] = {
        "score": lambda: _score(write_docs, as_json),
        "serving": lambda: _serving(seconds, write_docs, as_json),
        "lines": lambda: _lines(seconds, write_docs, as_json),
        "console": lambda: _console(seconds, write_docs, as_json),
        "swap": lambda: _swap(seconds, write_docs, as_json),
        "faults": lambda: _faults(seconds, write_docs, as_json),
        "soak": lambda: _soak(seconds, as_json),
        "load": lambda: _load(rps, seconds, as_json),
        "drift": lambda: _drift(windows, trials, write_docs, as_json),
        "quality": lambda: _quality(write_docs, as_json),
        "incidents": lambda: _incidents(write_docs, as_json),
        "training": lambda: _training(rows, write_docs, as_json),
    }
    found: dict[str, Any] = {}
    for each in [n for n in NAMES if n not in LONG] if name is None else (name,):
        say(each)
        found[each] = own[each]() if each in own else _measure(each, as_json)
    if out is not None:
        out.write_text(json.dumps(found, indent=1))
    if as_json:
        print_json(found)


def _measure(name: str, as_json: bool) -> list[dict[str, Any]]:
    # The function has the benchmark's name.
    rows = getattr(importlib.import_module(f"tests.bench.{name}"), name)()
    _tables(as_json, rows)
    return rows


def _score(write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import report, score

    found = score.measure()
    rows, ratios = score.figures(found), score.ratios(found)
    if write_docs:
        report.write_section(report.DOCS, score.TITLE, score.page(found))
    _tables(as_json, rows, [ratio.row() for ratio in ratios])
    return rows + [ratio.to_json() for ratio in ratios]


def _drift(windows: int, trials: int, write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import report
    from tests.bench.drift import as_row, drift, page
    from tests.bench.telemetry import telemetry

    rows = [*drift(windows, trials), *(as_row(ratio, {}) for ratio in telemetry())]
    if write_docs:
        report.write_section(report.DOCS, "Drift", page(rows))
    _tables(as_json, rows)
    return rows


def _quality(write_docs: bool, as_json: bool) -> dict[str, Any]:
    from tests.bench import quality

    found = quality.quality()
    if write_docs:
        quality.write(found)
    _tables(as_json, *found.values())
    return found


def _incidents(write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import incidents, report

    rows = incidents.incidents()
    if write_docs:
        report.write_section(incidents.PATH, incidents.TITLE, incidents.page(rows))
    ratios = [ratio.row() for ratio in incidents.ratios(rows)]
    shown = incidents.shown(rows)
    _tables(as_json, ratios, shown)
    return [*ratios, *shown]


def _training(rows: int, write_docs: bool, as_json: bool) -> dict[str, Any]:
    from tests.bench import report, training

    found = training.training(rows)
    if write_docs:
        report.write_section(report.DOCS, "Training", training.page(found))
    _tables(as_json, *found.values())
    return found


def _faults(seconds: float, write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import report
    from tests.chaos.faults import faults, page

    rows = faults(seconds)
    if write_docs:
        report.DOCS.with_name("reliability.md").write_text(page(rows, seconds))
    _tables(as_json, rows)
    return rows


def _soak(seconds: float, as_json: bool) -> list[dict[str, Any]]:
    from tests.chaos.soak import soak

    rows = soak(seconds)
    _tables(as_json, rows)
    return rows


def _load(rps: float, seconds: float, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench.traffic import traffic

    rows = traffic(rps, seconds)
    _tables(as_json, rows)
    return rows


def _serving(seconds: float, write_docs: bool, as_json: bool) -> dict[str, Any]:
    from tests.bench import report, serving

    found = serving.run(seconds)
    if write_docs:
        report.write_section(report.DOCS, "Serving", serving.page(found))
        serving.FLAMES_SVG.write_text(found.flames)
    _tables(as_json, serving.figures(found), [ratio.row() for ratio in serving.ratios(found)])
    return serving.to_json(found)


def _lines(seconds: float, write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import lines, report

    found = lines.run(seconds)
    rows, ratios = lines.figures(found), lines.ratios(found)
    if write_docs:
        report.write_section(report.DOCS, lines.TITLE, lines.page(found))
    _tables(as_json, rows, [ratio.row() for ratio in ratios])
    return rows + [ratio.to_json() for ratio in ratios]


def _console(seconds: float, write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import console, report

    found = console.run(seconds)
    rows, ratios = console.figures(found), console.ratios(found)
    if write_docs:
        report.write_section(report.DOCS, "Console", console.page(rows, ratios))
    _tables(as_json, rows, [ratio.row() for ratio in ratios])
    return rows + [ratio.to_json() for ratio in ratios]


def _swap(seconds: float, write_docs: bool, as_json: bool) -> list[dict[str, Any]]:
    from tests.bench import report, swap

    rows = swap.swap(seconds)
    if write_docs:
        report.write_section(report.DOCS, "Swap", swap.page(rows))
    _tables(as_json, swap.figures(rows), [ratio.row() for ratio in swap.ratios(rows)])
    return rows


def _tables(as_json: bool, *tables: list[dict[str, Any]]) -> None:
    """For people; who asked for JSON gets that alone."""
    for rows in () if as_json else tables:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])


if __name__ == "__main__":
    bench()
