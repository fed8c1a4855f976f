"""Write the two labelled tables of this folder: `python -m tests.data.generate`.

Both are synthetic, made here and from nothing else: no data set of others is in them. They are
small, so that tests of data run without any download, and have what real tables have.

telemetry.csv: one server, a row every five minutes, in time order: a daily cycle, features that
    move together, noise that remembers, a counter that is mostly zero, and anomalies in bursts.
tabular.csv: rows in no order: two groups of very different spread, a feature of few values, one
    that is constant, one with a heavy tail, and anomalies between and beside the groups.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vigil.arrays import Floats

FOLDER = Path(__file__).parent
ROWS_PER_DAY = 288
TELEMETRY_ROWS = 1440
TABULAR_ROWS = 900


def main() -> None:
    """Write both tables."""
    write(telemetry(np.random.default_rng(20_260_101)), "telemetry.csv")
    write(tabular(np.random.default_rng(20_260_102)), "tabular.csv")


def write(table: pd.DataFrame, name: str) -> None:
    table.to_csv(FOLDER / name, index=False, float_format="%.5g", lineterminator="\n")


def telemetry(rng: np.random.Generator) -> pd.DataFrame:
    """Return rows in time order with a column `label`, 1 where a row is anomalous."""
    day = 2 * np.pi * np.arange(TELEMETRY_ROWS) / ROWS_PER_DAY
    load = np.sin(day) + autoregressive(rng, 0.9)
    columns = {
        "cpu": 45 + 12 * load + 3 * autoregressive(rng, 0.5),
        "memory": 60 + 4 * autoregressive(rng, 0.98),
        "disk_io": 200 * np.exp(0.3 * load + 0.2 * autoregressive(rng, 0.3)),
        "requests": 900 + 250 * load + 40 * autoregressive(rng, 0.2),
        "latency": 20 * np.exp(0.15 * load + 0.1 * autoregressive(rng, 0.4)),
        "errors": rng.poisson(0.05, TELEMETRY_ROWS).astype(float),
    }
    table = pd.DataFrame(columns)
    table["label"] = plant_bursts(rng, table)
    return table


def autoregressive(rng: np.random.Generator, memory: float) -> Floats:
    """Return noise of unit variance that remembers."""
    noise = rng.normal(size=TELEMETRY_ROWS)
    for i in range(1, len(noise)):
        noise[i] = memory * noise[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return noise


def plant_bursts(rng: np.random.Generator, table: pd.DataFrame) -> NDArray[np.int64]:
    """Shift two features at a time for some rows, a dozen times; returns the labels."""
    labels = np.zeros(len(table), np.int64)
    for start in rng.choice(len(table) - 10, 12, replace=False):
        rows = slice(int(start), int(start + rng.integers(1, 8)))
        moved = rng.choice(table.shape[1], 2, replace=False)
        spread = table.std(ddof=0).to_numpy()[moved]
        table.iloc[rows, moved] += rng.choice((-1, 1), 2) * 5 * spread
        labels[rows] = 1
    return labels


def tabular(rng: np.random.Generator) -> pd.DataFrame:
    """Return rows in no order with a column `label`, 1 where a row is anomalous."""
    normal = TABULAR_ROWS - 40
    groups = rng.integers(0, 2, normal)[:, None]
    rows = np.where(groups == 0, rng.normal(0, 1, (normal, 3)), rng.normal(8, 0.2, (normal, 3)))
    anomalies = rng.uniform(-4, 12, (40, 3))
    values = np.concatenate([rows, anomalies])
    table = pd.DataFrame(values, columns=["x", "y", "z"])
    table["grade"] = rng.integers(1, 5, TABULAR_ROWS)
    table["unit"] = 1.0
    table["amount"] = rng.pareto(1.5, TABULAR_ROWS)
    table["label"] = np.repeat([0, 1], [normal, 40])
    return table.sample(frac=1, random_state=0)


if __name__ == "__main__":
    main()
