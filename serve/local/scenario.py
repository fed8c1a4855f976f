"""What happens to a simulated stream, and when: drift, broken columns, bad records, anomalies and
bursts, written down as truth.

A scenario is a JSON list of events such as `{"kind": "drift", "at": 2000, "rows": 1000}`; `at` and
`rows` count rows.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from serve.local.simulate import Drift, DriftKind, write_records
from serve.stream.cli import stream_client
from serve.stream.file_log import LogWriter
from serve.stream.kinesis import put_records
from serve.stream.records import StreamError
from train.table.table import Table
from vigil.arrays import Floats
from vigil.errors import DataError

Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
BreakKind = Literal["null", "stuck", "unit", "sign", "swap"]
LOG_SHARD = "simulated"
_ANOMALOUS_FEATURES = 3


def _record(id_: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"id": id_, **fields})


# Records that cannot be scored, each in a way of its own.
_BAD_RECORDS: tuple[Callable[[str, list[float]], bytes], ...] = (
    lambda id_, row: f"not json {id_}".encode(),
    lambda id_, row: _record(id_, features=row[:-1]),
    lambda id_, row: _record(id_, features=["x", *row[1:]]),
    lambda id_, row: _record(id_),
)


class ScenarioEvent(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`rows` rows from row `at` on; 0 is to the end.

    drift: `how` shift, scale or mix by `size` in `share` of the features
    break: `how` null, stuck, unit, sign or swap of one column (`swap` of two), chosen by `seed`
    bad, anomaly: `share` of the rows are no records that can be scored, or stray by `size` sd in
        three features
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
        is_over = self.rows and i >= self.at + self.rows
        return i >= self.at and not is_over

    @property
    def label(self) -> str:
        """Its name in the truth of a row."""
        return f"{self.kind} {self.how or ''}".strip()


class Truth(msgspec.Struct):
    """What is known of one row: the line that `--truth` writes."""

    id: str
    row: int
    label: int
    events: list[str]


@dataclass
class _Row:
    """A row while the events change it; `broken` are its values where a column is."""

    values: Floats
    label: int
    events: list[str]
    broken: list[Any] | None = None

    @property
    def features(self) -> list[Any]:
        return self.broken or self.values.tolist()


class Scenario:
    """The rows of `table`, again and again, as the events change them.

    Row `i` is the same in every run.
    """

    def __init__(self, table: Table, events: Iterable[ScenarioEvent]) -> None:
        self._table = table
        self._events = list(events)
        self._spread = table.X.std(axis=0)
        self._drifted = {
            event: _drift_of(event).apply(table.X)
            for event in self._events
            if event.kind == "drift"
        }

    def rate(self, i: int) -> float:
        """How many times faster than usual row `i` follows."""
        rate = 1.0
        for event in self._events:
            if event.kind == "burst" and event.covers(i):
                rate *= event.size
        return rate

    def record(self, i: int, id_: str) -> tuple[bytes, Truth]:
        """Row `i` as the bytes of a record `{"id", "features"}`, and the truth about it."""
        active = [event for event in self._events if event.covers(i)]
        rng = np.random.default_rng([7, i])
        row = self._row(i, active)
        for event in active:
            if event.kind == "anomaly" and rng.random() < event.share:
                self._stray(row, event, rng)
            elif event.kind == "break":
                row.broken = self._broken(row.values, event)
        for event in active:
            if event.kind == "bad" and rng.random() < event.share:
                make_bad = _BAD_RECORDS[int(rng.integers(len(_BAD_RECORDS)))]
                truth = Truth(id_, i, label=0, events=[*row.events, "bad"])
                return make_bad(id_, row.values.tolist()), truth
        return _record(id_, features=row.features), Truth(id_, i, row.label, events=row.events)

    def _row(self, i: int, active: list[ScenarioEvent]) -> _Row:
        """Row `i` of the table, drifted where a drift is on."""
        k = i % len(self._table)
        labels = self._table.labels
        source = self._table.X
        for event in active:
            if event.kind == "drift":
                source = self._drifted[event]
                break
        events = [event.label for event in active if event.kind not in ("bad", "anomaly")]
        return _Row(source[k].copy(), 0 if labels is None else int(labels[k]), events)

    def _stray(self, row: _Row, event: ScenarioEvent, rng: np.random.Generator) -> None:
        """Make the row an anomaly: some of its features stray."""
        count = min(_ANOMALOUS_FEATURES, len(row.values))
        columns = rng.choice(len(row.values), count, replace=False)
        signs = rng.choice((-1.0, 1.0), count)
        row.values[columns] += signs * event.size * self._spread[columns]
        row.label = 1
        row.events.append("anomaly")

    def _broken(self, values: Floats, event: ScenarioEvent) -> list[Any]:
        rng = np.random.default_rng(event.seed)
        columns = rng.choice(len(values), min(2, len(values)), replace=False)
        first = int(columns[0])
        last = int(columns[-1])
        features: list[Any] = values.tolist()
        if event.how == "swap":
            features[first], features[last] = features[last], features[first]
            return features
        stuck = float(self._table.X[event.at % len(self._table), first])
        broken = {
            "null": None,
            "stuck": stuck,
            "unit": features[first] * 1000,
            "sign": -features[first],
        }
        features[first] = broken[event.how or "stuck"]
        return features


def _drift_of(event: ScenarioEvent) -> Drift:
    kind: Any = event.how or "shift"
    return Drift(kind, event.size, event.share, seed=event.seed)


class Replay:
    """A run of a scenario: names its records, and writes the truth as lines of `truth`."""

    def __init__(self, scenario: Scenario, truth: Path | None = None) -> None:
        self.scenario = scenario
        self._run = uuid.uuid4().hex[:8]
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
        """Write `rows` records at `rate` a second to `file:DIR` or `kinesis:NAME`.

        Returns the figures of what was done. Raises StreamError for another target.
        """
        kind, _, where = target.partition(":")
        if kind == "file" and where:
            return self._write_log(LogWriter(Path(where)), rate, rows)
        if kind == "kinesis" and where:
            return self._write(partial(put_records, stream_client("kinesis"), where), rate, rows)
        raise StreamError(f"--to {target!r}: it must be file:DIR or kinesis:NAME")

    def _write_log(self, log: LogWriter, rate: float, rows: int) -> dict[str, Any]:
        def append(records: list[tuple[str, bytes]]) -> None:
            log.append(LOG_SHARD, b"".join(record + b"\n" for _, record in records))

        figures = self._write(append, rate, rows)
        log.close(LOG_SHARD)
        return figures

    def _write(
        self, put: Callable[[list[tuple[str, bytes]]], None], rate: float, rows: int
    ) -> dict[str, Any]:
        began = time.monotonic()
        late_s = write_records(
            lambda i: (self.name(i), self.body(i)),
            rate,
            put,
            rows=rows,
            times=self.scenario.rate,
        )
        self.close()
        seconds = round(time.monotonic() - began, 2)
        return {"records": rows, "seconds": seconds, "last_late_s": round(late_s, 3)}

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
