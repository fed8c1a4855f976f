"""The drift rule says the same of dead columns, other units, another order, and rows twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drift.check import check_window
from drift.statistics import compare
from drift.verdict import Verdict, judge_window
from tests.metamorphic import CHANGES, Change
from tests.tables import read_labelled
from train.model.reference import build_reference
from train.model.repeats import distinct_rows
from train.table.table import Table

WINDOW = 300
MAX_ROWS = 3000
MAX_WINDOWS = 2


def windows(table: Table) -> Iterator[Table]:
    """Windows after the first three fifths, each as it is, and with a third of it shifted."""
    begin = int(len(table) * 0.6)
    ends = range(begin + WINDOW, len(table) + 1, WINDOW)
    moved = slice(0, max(1, len(table.names) // 3))
    shift = 1.5 * table.X[:begin].std(axis=0)
    for end in list(ends)[:MAX_WINDOWS]:
        window = table.take(slice(end - WINDOW, end))
        yield window
        X = window.X.copy()
        X[:, moved] += shift[moved]
        yield replace(window, X=X)


def judge(table: Table, change: Change = lambda table: table) -> list[Verdict]:
    reference = change(table.take(slice(0, int(len(table) * 0.6))))
    built = build_reference(reference.X, reference.names, np.zeros(1), window_rows=WINDOW)
    verdicts = []
    for window in map(change, windows(table)):
        rows = window.X[distinct_rows(window.X)]
        verdicts.append(judge_window(built.of_window(len(rows)), compare(built, rows), 0.01))
    return verdicts


def features(verdict: Verdict) -> set[str]:
    return {name.removeprefix("renamed ") for name in verdict.features}


def test_no_verdict_depends_on_what_should_not_matter(labelled_table: Path) -> None:
    table = read_labelled(labelled_table).train.tail(MAX_ROWS)
    before = judge(table)
    for name, change in CHANGES.items():
        after = judge(table, change)
        assert [verdict.kind for verdict in after] == [verdict.kind for verdict in before], name
        assert list(map(features, after)) == list(map(features, before)), name


def rows(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10 + shift, 1, (n, 4))


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_missing_values_are_no_drift_and_hide_none(shift: float) -> None:
    reference = build_reference(rows(4000, 0), tuple("abcd"), np.zeros(1), window_rows=WINDOW)
    window = rows(WINDOW, 1, shift)
    whole = judge_window(reference, compare(reference, window), 0.01)
    window[np.random.default_rng(2).random(window.shape) < 0.15] = np.nan
    verdict = judge_window(reference, compare(reference, window), 0.01)
    assert verdict.kind == whole.kind == ("population drift" if shift else "none")
    assert set(verdict.features) == set(whole.features)


def test_a_check_of_files_takes_columns_in_any_order_and_missing_values(tmp_path: Path) -> None:
    header = "a,b,c,d\n"
    lines = [",".join(f"{x:.4f}" for x in row) for row in rows(4000, 0)]
    (tmp_path / "old.csv").write_text(header + "\n".join(lines) + "\n")
    live = rows(500, 1)
    cells = [
        [f"{x:.4f}" if (i + j) % 9 else "" for j, x in enumerate(r)] for i, r in enumerate(live)
    ]
    body = "\n".join(",".join(reversed(row)) for row in cells)
    (tmp_path / "new.csv").write_text("d,c,b,a\n" + body + "\n")
    check = check_window(str(tmp_path / "old.csv"), str(tmp_path / "new.csv"), 0.01)
    assert check.verdict.kind == "none", check.verdict.sentence
