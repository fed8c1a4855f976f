"""What steps learn from a table: from its earliest rows, by entity, whatever its parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from train.table.dataset import Dataset, read_table
from train.table.schema import Columns
from vigil.arrays import Floats
from vigil.errors import DataError

COLUMNS = Columns(time="at", entity="host")
HOUR = 3600
ALL_STEPS = "baseline:200,season:Europe/Berlin,mean:3,ewm:4,residual,rotate:2,top:1"


def frame_of(hosts: int = 3, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = hosts * rows
    host = np.tile(np.arange(hosts), rows)
    driver = rng.normal(size=n)
    return pd.DataFrame(
        {
            "at": 1_700_000_000 + HOUR * np.repeat(np.arange(rows), hosts),
            "host": [f"host-{number}" for number in host],
            "a": 1000.0 * host + (1 + host) * driver,
            "b": driver + 0.1 * rng.normal(size=n),
        }
    )


def read(frame: pd.DataFrame, folder: Path, over_time: str, **options: object) -> Dataset:
    folder.mkdir(exist_ok=True)
    frame.to_parquet(folder / "t.parquet", row_group_size=100, index=False)
    read_it = partial(read_table, folder, columns=COLUMNS, over_time=over_time)
    return read_it(**options)  # pyright: ignore[reportArgumentType]


def test_a_table_is_transformed_entity_by_entity_by_what_it_has_taught(tmp_path: Path) -> None:
    frame = frame_of()
    data = read(frame, tmp_path / "t", ALL_STEPS)
    transform = data.transform
    assert transform is not None
    expected: list[Floats] = []
    for _, rows in frame.groupby("host"):
        X = rows[["a", "b"]].to_numpy()
        made = transform.apply(X, None, rows["at"].to_numpy().astype(float))
        expected.append(made[transform.warming_rows :])
    found = np.sort(data.train.X, axis=0)
    np.testing.assert_array_equal(found, np.sort(np.concatenate(expected), axis=0))


def test_a_new_entity_starts_from_the_rows_of_all(tmp_path: Path) -> None:
    frame = frame_of()
    data = read(frame, tmp_path / "t", "baseline")
    assert data.transform is not None
    arrays = data.transform.fitted
    X = frame[["a", "b"]].to_numpy()
    low, middle, high = np.percentile(X, [25, 50, 75], axis=0)
    np.testing.assert_allclose(arrays["baseline.level"], middle)
    np.testing.assert_allclose(arrays["baseline.spread"], (high - low) / 1.349)
    spreads = [
        np.subtract(*np.percentile(rows[["a", "b"]], [75, 25], axis=0)) / 1.349
        for _, rows in frame.groupby("host")
    ]
    np.testing.assert_allclose(arrays["baseline.floor"], 0.05 * np.median(spreads, axis=0))


def test_transforms_are_equal_that_have_learnt_the_same(tmp_path: Path) -> None:
    one, same = (read(frame_of(), tmp_path / name, "baseline").transform for name in "tu")
    other = read(frame_of(rows=300), tmp_path / "v", "baseline").transform
    assert one == same
    assert one != other
    assert hash(one) == hash(same)


def test_rows_that_are_held_out_teach_no_step(tmp_path: Path) -> None:
    frame = frame_of()
    changed = frame.copy()
    late = len(frame) * 4 // 5
    changed.loc[late:, "a"] += 1e6
    one = read(frame, tmp_path / "t", ALL_STEPS, fit_share=0.75).transform
    other = read(changed, tmp_path / "u", ALL_STEPS, fit_share=0.75).transform
    assert one is not None
    assert other is not None
    for name, array in one.fitted.arrays.items():
        np.testing.assert_array_equal(array, other.fitted[name])


def test_what_a_baseline_needs_of_earlier_rows_begins_anew_in_each_split(tmp_path: Path) -> None:
    data = read(frame_of(), tmp_path / "t", "baseline", split_rows=300)
    splits = 4
    assert len(data.train) == 1200 - splits * 3 * 32


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(entity="host", ignore=("at",)), "name it with --time"),
        (Columns(entity="host", time="count", ignore=("at",)), "no dates"),
    ],
)
def test_a_calendar_without_dates_is_refused_with_what_to_do(
    tmp_path: Path, columns: Columns, said: str
) -> None:
    frame = frame_of().assign(count=lambda rows: rows["at"] // HOUR % 10_000)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.parquet", columns=columns, over_time="calendar")
