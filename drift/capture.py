"""Windows of live rows, the latest ones only: in the home, or in S3. train/table/dataset.py reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drift.window import Window
from serve.metrics import DriftMetrics
from train.table.captured import window_name, windows

log = logging.getLogger("ray.serve")


class Captured:
    """The captured windows in a folder or below an s3:// URL, at most `keep` of them."""

    def __init__(self, where: str | Path, keep: int, metrics: DriftMetrics) -> None:
        self._windows, self.keep, self._metrics = windows(where), keep, metrics
        self._last_stamp = 0

    def write(
        self, window: Window, names: tuple[str, ...], version: str, alerts: NDArray[np.bool_]
    ) -> None:
        """Write a window that `version` has scored; a full disk, or an S3 that is away, costs the window, not the service."""
        count = len(window.rows)
        provenance = {
            "_score": window.scores,
            "_request": window.requests,
            "_version": [version] * count,
            "_alert": alerts,
        }
        columns = {name: window.rows[:, j] for j, name in enumerate(names)} | provenance
        try:
            self._windows.write(window_name(self._stamp(window.since)), pa.table(columns))
            for old in self._windows.names()[: -self.keep]:
                self._windows.remove(old)
        except OSError as error:
            self._metrics.capture_failures.inc()
            log.warning("a window of captured rows is lost: %s", error)

    def _stamp(self, since: float) -> float:
        """`since` to the millisecond, later than any before: windows of one report begin at once, their files must differ."""
        self._last_stamp = max(int(since * 1000), self._last_stamp + 1)
        return self._last_stamp / 1000

    def answers(self, requests: Iterable[str]) -> list[tuple[list[str], NDArray[np.bool_], str]]:
        """What these requests were answered, as (request of each row, alerts, version), oldest first."""
        wanted, found = pa.array(list(requests), pa.string()), []
        for name in self._windows.names():
            with (
                suppress(OSError, pa.ArrowInvalid, pa.ArrowKeyError),
                self._windows.read(name) as file,
            ):
                part = pq.ParquetFile(file).read(["_request", "_alert", "_version"])
                if part.num_columns < 3:  # an older Vigil's
                    continue
                part = part.filter(pc.field("_request").isin(wanted))
                if len(part):
                    alerts = part["_alert"].to_numpy().astype(bool)
                    found.append(
                        (part["_request"].to_pylist(), alerts, part["_version"][0].as_py())
                    )
        return found
