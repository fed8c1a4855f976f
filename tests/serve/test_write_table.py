"""A table to train on, without a file of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from serve.local.telemetry import FEATURES, telemetry, write_table
from train.table.dataset import read_table


def test_what_is_written_is_read_back_as_it_was(tmp_path: Path) -> None:
    table = telemetry(300, seed=3)
    write_table(table, 700, tmp_path / "telemetry.csv")
    read = read_table(str(tmp_path / "telemetry.csv"))
    rows = np.vstack([part.X for part in (read.train, read.test) if part is not None])
    assert read.train.names == FEATURES
    assert len(rows) == 700
    np.testing.assert_array_equal(rows[:300], table.X)
    np.testing.assert_array_equal(rows[300:600], table.X)
