"""Windows of live rows on disk: Parquet, partitioned by date, the latest ones only. train/data.py reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drift.window import Window
from serve.metrics import DriftMetrics
from train.data import captured_name

log = logging.getLogger("ray.serve")
FILES = "date=*/window-*.parquet"


class Captured:
    """The captured windows in `folder`, at most `keep` of them."""

    def __init__(self, folder: Path, keep: int, metrics: DriftMetrics) -> None:
        self._folder, self.keep, self._metrics = folder, keep, metrics
        self._last_stamp = 0

    def write(self, window: Window, names: tuple[str, ...], version: str, alerts: NDArray[np.bool_]) -> None:
        """Write a window that `version` has scored; a full disk costs the window, not the service."""
        count = len(window.rows)
        provenance = {"_score": window.scores, "_request": window.requests, "_version": [version] * count, "_alert": alerts}
        columns = {name: window.rows[:, j] for j, name in enumerate(names)} | provenance
        folder = self._folder / f"date={datetime.fromtimestamp(window.since, UTC):%Y-%m-%d}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / captured_name(self._stamp(window.since))
            temporary = file.with_name(f".{file.name}")
            try:
                # Measured values hardly repeat: to look for it takes longer than to write them.
                pq.write_table(pa.table(columns), temporary, use_dictionary=False)
                temporary.replace(file)
            finally:
                temporary.unlink(missing_ok=True)
            for file in sorted(self._folder.glob(FILES))[: -self.keep]:
                file.unlink(missing_ok=True)
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
        for file in sorted(self._folder.glob(FILES)):
            with suppress(FileNotFoundError, pa.ArrowInvalid, pa.ArrowKeyError):
                part = pq.ParquetFile(file).read(["_request", "_alert", "_version"])
                if part.num_columns < 3:  # an older Vigil's
                    continue
                part = part.filter(pc.field("_request").isin(wanted))
                if len(part):
                    alerts = part["_alert"].to_numpy().astype(bool)
                    found.append((part["_request"].to_pylist(), alerts, part["_version"][0].as_py()))
        return found
