"""The request log: one JSON line for each sampled request.

So many a second at most, in a file that does not grow for ever.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from serve.metrics import ServeMetrics
from vigil.json_types import JsonObject

log = logging.getLogger("ray.serve")
MAX_LINES = 100  # between two writes, about a second: more are dropped and counted
MAX_BYTES = 16 * 2**20  # then the file becomes the former one, and the one before is gone
KEEP_FILES_S = 7 * 86_400.0  # before the latest file: those of replicas that are gone
FORMER_SUFFIX = ".former"


class RequestLog:
    """`add` is cheap and never waits; `write` belongs into a thread."""

    def __init__(
        self,
        file: Path,
        metrics: ServeMetrics,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._file = file
        self._dropped = metrics.log_dropped
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lines: list[bytes] = []
        self._is_cleaned = False

    def add(self, line: JsonObject) -> None:
        """Remember one request; what is in it is escaped, so that it stays one line."""
        if len(self._lines) >= self._max_lines:
            self._dropped.inc()
            return
        # ASCII: no reader finds a line end in a value
        self._lines.append(json.dumps(line).encode() + b"\n")

    def take(self) -> list[bytes]:
        """Return the lines that are to be written."""
        lines = self._lines
        self._lines = []
        return lines

    def write(self, lines: list[bytes]) -> None:
        """Append the lines; what cannot be written is dropped and counted.

        The first call removes files of replicas that are long gone.
        """
        if not self._is_cleaned:
            self._is_cleaned = True
            self._remove_old_files()
        try:
            self._append(lines)
        except OSError as error:
            self._dropped.inc(len(lines))
            log.warning("the request log %s cannot be written: %s", self._file, error)

    def _append(self, lines: list[bytes]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            file.write(b"".join(lines))
        if self._file.stat().st_size > self._max_bytes:
            self._file.replace(self._file.with_name(self._file.name + FORMER_SUFFIX))

    def _remove_old_files(self) -> None:
        """Remove files that are much older than the latest: our clock may be ahead of it."""
        try:
            others = self._file.parent.glob(f"*{self._file.suffix}*")
            written = {other: other.stat().st_mtime for other in others}
            latest = max(written.values(), default=0.0)
            oldest = min(self._clock(), latest) - KEEP_FILES_S
            for other, at in written.items():
                if at < oldest:
                    other.unlink(missing_ok=True)
        except OSError as error:
            log.warning("old request logs cannot be removed: %s", error)
