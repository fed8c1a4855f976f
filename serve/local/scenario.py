"""What happens to a simulated stream, and when: drift, broken columns, bad records, anomalies and bursts, written down as truth.

A scenario is a JSON list of events such as `{"kind": "drift", "at": 2000, "rows": 1000}`; `at` and `rows` count rows.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from serve.local.simulate import Drift, DriftKind, write_records
from serve.stream import kinesis
from serve.stream.cli import aws
from serve.stream.file_log import LogWriter
from serve.stream.records import StreamError
from train.table.table import Table
from vigil.arrays import Floats
from vigil.errors import DataError

Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
BreakKind = Literal["null", "stuck", "unit", "sign", "swap"]
_BAD_RECORDS: tuple[Callable[[str, list[float]], str], ...] = (
    lambda id_, row: f"not json {id_}",
    lambda id_, row: msgspec.json.encode({"id": id_, "features": row[:-1]}).decode(),
    lambda id_, row: msgspec.json.encode({"id": id_, "features": ["x", *row[1:]]}).decode(),
    lambda id_, row: msgspec.json.encode({"id": id_}).decode(),
)


class ScenarioEvent(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`rows` rows from row `at` on; 0 is to the end.

    drift: `how` shift, scale or mix by `size` in `share` of the features
    break: `how` null, stuck, unit, sign or swap of one column (`swap` of two), chosen by `seed`
    bad, anomaly: `share` of the rows are no records that can be scored, or stray by `size` sd in three features
    burst: the rate times `size`
    """

    kind: Literal["drift", "break", "bad", "anomaly", "burst"]
    at: Count = 0
    rows: Count = 0
    how: DriftKind | BreakKind | None = None
    size: Annotated[float, Meta(gt=0)] = 3.0
    share: Share = 0.4
    seed: Count = 0

    def covers(self, i: int) -> bool:
        """Whether row `i` is part of it."""
        return i >= self.at and (not self.rows or i < self.at + self.rows)


class Truth(msgspec.Struct):
    """What is known of one row: the line that `--truth` writes."""

    id: str
    row: int
    label: int
    events: list[str]


class Scenario:
    """The rows of `table`, again and again, as the events change them. Row `i` is the same in every run."""

    def __init__(self, table: Table, events: Iterable[ScenarioEvent]) -> None:
        self._table, self._events = table, list(events)
        self._drifted = {
            e: Drift(e.how or "shift", e.size, e.share, e.seed).apply(table.X)  # type: ignore[arg-type]
            for e in self._events
            if e.kind == "drift"
        }
        self._sd = table.X.std(axis=0)

    def rate(self, i: int) -> float:
        """How many times faster than usual row `i` follows."""
        return float(
            np.prod(
                [e.size for e in self._events if e.kind == "burst" and e.covers(i)], initial=1.0
            )
        )

    def record(self, i: int, id_: str) -> tuple[bytes, Truth]:
        """Row `i` as the bytes of a record `{"id", "features"}`, and the truth about it."""
        now = [event for event in self._events if event.covers(i)]
        source, k = self._table, i % len(self._table)
        row = next((self._drifted[e][k] for e in now if e.kind == "drift"), source.X[k]).copy()
        label, rng = (
            int(source.labels[k]) if source.labels is not None else 0,
            np.random.default_rng([7, i]),
        )
        told = [f"{e.kind} {e.how or ''}".strip() for e in now if e.kind not in ("bad", "anomaly")]
        values: list[Any] | None = None
        for event in now:
            if event.kind == "anomaly" and rng.random() < event.share:
                columns = rng.choice(len(row), min(3, len(row)), replace=False)
                row[columns] += (
                    rng.choice((-1.0, 1.0), len(columns)) * event.size * self._sd[columns]
                )
                label, told = 1, [*told, "anomaly"]
            elif event.kind == "break":
                values = self._broken(row, event)
        for event in now:
            if event.kind == "bad" and rng.random() < event.share:
                line = _BAD_RECORDS[int(rng.integers(len(_BAD_RECORDS)))](id_, row.tolist())
                return line.encode(), Truth(id_, i, 0, [*told, "bad"])
        return msgspec.json.encode({"id": id_, "features": values or row.tolist()}), Truth(
            id_, i, label, told
        )

    def _broken(self, row: Floats, event: ScenarioEvent) -> list[Any]:
        columns = np.random.default_rng(event.seed).choice(
            len(row), min(2, len(row)), replace=False
        )
        j, other = int(columns[0]), int(columns[-1])
        values: list[Any] = row.tolist()
        how = event.how or "stuck"
        if how == "swap":
            values[j], values[other] = values[other], values[j]
        else:
            stuck = float(self._table.X[event.at % len(self._table), j])
            values[j] = {
                "null": None,
                "stuck": stuck,
                "unit": values[j] * 1000,
                "sign": -values[j],
            }[how]
        return values


class Replay:
    """A run of a scenario: names its records, and writes the truth as lines of `truth`."""

    def __init__(self, scenario: Scenario, truth: Path | None = None) -> None:
        self.scenario, self._run = scenario, uuid.uuid4().hex[:8]
        self._truth = truth.open("wb") if truth else None

    def name(self, i: int) -> str:
        """The id of row `i`; over HTTP its request id too, which `POST /feedback` takes."""
        return f"{self._run}-{i}"

    def body(self, i: int) -> bytes:
        """The record of row `i`; its truth is written down."""
        record, truth = self.scenario.record(i, self.name(i))
        if self._truth is not None:
            self._truth.write(msgspec.json.encode(truth) + b"\n")
        return record

    def write_to(self, target: str, rate: float, rows: int) -> dict[str, Any]:
        """Write `rows` records at `rate` a second to `file:DIR` or `kinesis:NAME`; what was done."""
        kind, _, where = target.partition(":")
        log: LogWriter | None = None
        if kind == "file" and where:
            log = writer = LogWriter(Path(where))

            def put(records: list[tuple[str, bytes]]) -> None:
                writer.append("simulated", b"".join(record + b"\n" for _, record in records))

        elif kind == "kinesis" and where:
            client = aws("kinesis")

            def put(records: list[tuple[str, bytes]]) -> None:
                kinesis.put_records(client, where, records)

        else:
            raise StreamError(f"--to {target!r}: it must be file:DIR or kinesis:NAME")
        began = time.monotonic()
        late = write_records(
            lambda i: (self.name(i), self.body(i)), rate, put, rows, self.scenario.rate
        )
        self.close()
        if log is not None:
            log.close("simulated")
        seconds = time.monotonic() - began
        return {"records": rows, "seconds": round(seconds, 2), "last_late_s": round(late, 3)}

    def close(self) -> None:
        """The truth is complete."""
        if self._truth is not None:
            self._truth.close()


def read_events(path: Path) -> list[ScenarioEvent]:
    """The events of a file. Raises DataError that says what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ScenarioEvent])
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"the scenario {path} cannot be read: {error}") from error
