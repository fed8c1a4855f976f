"""`vigil bench [NAME]`: measurements side by side in one run, as ratios. Timings are never asserted in a test."""

from __future__ import annotations

import importlib

import click

from train.terminal import command, json_option, say, show, table

BENCHMARKS = {"score": "tests.bench.score", "reasons": "tests.bench.reasons"}  # the function has the benchmark's name


@click.command()
@click.argument("name", required=False, type=click.Choice(list(BENCHMARKS)))
@json_option
@command
def bench(name: str | None, as_json: bool) -> None:
    """Measure: score (the compiled forest beside scikit-learn, ONNX Runtime and treelite), reasons (the features named
    for an anomaly beside labelled ones). Peers are installed into environments of their own."""
    modules = {each: module for each, module in BENCHMARKS.items() if name in (None, each)}
    found = {each: getattr(importlib.import_module(module), each)() for each, module in modules.items()}
    if as_json:
        show(found)
        return
    for each, rows in found.items():
        say(each)
        table(tuple(rows[0]), [tuple(row.values()) for row in rows])
