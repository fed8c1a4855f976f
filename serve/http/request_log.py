"""The request log: of sampled requests one JSON line each, so many a second at most, in a file that does not grow for ever."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from serve.metrics import ServeMetrics

log = logging.getLogger("ray.serve")
LINES = 100  # between two writes, about a second: more are dropped and counted
MOST_BYTES = 16 * 2**20  # then the file becomes the former one, and the one before is gone
KEPT_S = 7 * 86_400.0  # files of replicas that are gone
FORMER = ".former"


class RequestLog:
    """`add` is cheap and never waits; `write` belongs into a thread."""

    def __init__(self, file: Path, metrics: ServeMetrics) -> None:
        self._file, self._dropped = file, metrics.log_dropped
        self._lines: list[bytes] = []
        self._forgot = False

    def add(self, line: dict[str, Any]) -> None:
        """Remember one request; what is in it is escaped, so that it stays one line."""
        if len(self._lines) < LINES:
            self._lines.append(
                json.dumps(line).encode() + b"\n"
            )  # ASCII: no reader finds a line end in a value
        else:
            self._dropped.inc()

    def take(self) -> list[bytes]:
        """What is to be written."""
        taken, self._lines = self._lines, []
        return taken

    def write(self, lines: list[bytes]) -> None:
        """Append; what cannot be written is dropped and counted. The first one removes files of replicas that are long gone."""
        if not self._forgot:
            self._forgot = True
            self._forget_old()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as out:
                out.write(b"".join(lines))
            if self._file.stat().st_size > MOST_BYTES:
                self._file.replace(self._file.with_name(self._file.name + FORMER))
        except OSError as error:
            self._dropped.inc(len(lines))
            log.warning("the request log %s cannot be written: %s", self._file, error)

    def _forget_old(self) -> None:
        try:
            for other in self._file.parent.glob(f"*{self._file.suffix}*"):
                if other.stat().st_mtime < time.time() - KEPT_S:
                    other.unlink(missing_ok=True)
        except OSError as error:
            log.warning("old request logs cannot be removed: %s", error)
