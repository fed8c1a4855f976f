"""File logs of a test, and consumers of them that are put together by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serve.settings import ServeSettings
from serve.stream.consumer import Consumer
from serve.stream.file_log import DeadLetters, FileLog, FileSink
from serve.stream.leases import FileLeases
from serve.stream.log_writer import LogWriter
from serve.stream.scorer import Scorer


def write_records(folder: Path, records: list[Any], shard: str = "0") -> None:
    """Append records, or lines as they are, to a shard of the log in `folder`/in."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    log = LogWriter(folder / "in", drop_torn=False)
    log.append(shard, "".join(f"{line}\n" for line in lines).encode())
    log.close(shard)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All results in `folder`/out."""
    return read_lines(folder / "out")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """All records of a file log, shard by shard."""
    return [
        json.loads(line)
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def stream_consumer(folder: Path, scorer: Scorer, settings: ServeSettings) -> Consumer:
    """A consumer of `folder`/in, with leases of its own."""
    return Consumer(
        FileLog(folder / "in"),
        scorer,
        [FileSink(folder / "out")],
        dead_letters=DeadLetters(folder / "dead"),
        leases=FileLeases(folder / "leases"),
        settings=settings,
    )
