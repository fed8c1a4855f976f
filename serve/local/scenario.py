"""What happens to a simulated stream, and when: drift, broken columns, bad records, anomalies and
bursts, written down as truth.

A scenario is a JSON list of events such as `{"kind": "drift", "at": 2000, "rows": 1000}`; `at` and
`rows` count rows.
"""

from __future__ import annotations

import math
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

from serve.local.row_times import RowTimes
from serve.local.simulate import whose_row, write_records
from serve.local.telemetry import Drift, DriftKind
from serve.stream.cli import stream_client
from serve.stream.kinesis import put_records
from serve.stream.log_writer import LogWriter
from serve.stream.records import StreamError
from train.table.table import Table
from vigil.arrays import Floats
from vigil.errors import DataError
from vigil.json_types import JsonObject

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
        return i >= self.at and (not self.rows or i < self.at + self.rows)

    @property
    def label(self) -> str:
        """Its name in the truth of a row."""
        return f"{self.kind} {self.how or ''}".strip()

    @property
    def lasts(self) -> bool:
        """Whether it is true of every row that it covers."""
        return self.kind not in ("bad", "anomaly")

    def hits(self, kind: str, rng: np.random.Generator) -> bool:
        """Whether it is of this kind, and the row that is drawn for is in its share."""
        return self.kind == kind and bool(rng.random() < self.share)


def _bad_record(
    id_: str,
    row: _Row,
    rng: np.random.Generator,
) -> bytes:
    make_bad = _BAD_RECORDS[int(rng.integers(len(_BAD_RECORDS)))]
    return make_bad(id_, row.values.tolist())


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

    Row `i` is the same in every run. times: of the rows that are sent, where they have any
    """

    def __init__(
        self,
        table: Table,
        events: Iterable[ScenarioEvent],
        times: RowTimes | None = None,
    ) -> None:
        self._table = table
        self._times = times
        self._events = list(events)
        self._spread = table.X.std(axis=0)
        self._drifted = {
            event: _drift_of(event).apply(table.X)
            for event in self._events
            if event.kind == "drift"
        }

    def rate(self, i: int) -> float:
        """How many times faster than usual row `i` follows."""
        bursts = [event for event in self._events if event.kind == "burst"]
        active = [event.size for event in bursts if event.covers(i)]
        return math.prod(active)

    def record(self, i: int, id_: str) -> tuple[bytes, Truth]:
        """Row `i` as the bytes of a record, and the truth about it.

        The record is `{"id", "features", "entity", "time"}`, the last two where they are known.
        """
        active = [event for event in self._events if event.covers(i)]
        rng = np.random.default_rng([7, i])
        row = self._row(i, active)
        self._change(row, active, rng)
        is_bad = any(event.hits("bad", rng) for event in active)
        if is_bad:
            events = [*row.events, "bad"]
            truth = Truth(
                id_,
                i,
                label=0,
                events=events,
            )
            return _bad_record(id_, row, rng), truth
        truth = Truth(
            id_,
            i,
            row.label,
            events=row.events,
        )
        place = i % len(self._table)
        features = self._table.sent_row(place, row.features)
        at = None if self._times is None else self._times.at(i)
        whose = whose_row(self._table.entity_of(place), at)
        return _record(id_, features=features, **whose), truth

    def _change(
        self,
        row: _Row,
        active: list[ScenarioEvent],
        rng: np.random.Generator,
    ) -> None:
        for event in active:
            if event.hits("anomaly", rng):
                self._stray(row, event, rng)
            elif event.kind == "break":
                row.broken = self._broken(row.values, event)

    def _row(self, i: int, active: list[ScenarioEvent]) -> _Row:
        """Row `i` of the table, drifted where a drift is on."""
        k = i % len(self._table)
        labels = self._table.labels
        values = self._source(active)[k].copy()
        label = 0 if labels is None else int(labels[k])
        return _Row(values, label, [event.label for event in active if event.lasts])

    def _source(self, active: list[ScenarioEvent]) -> Floats:
        """All rows of the table, as the first drift that is on has them."""
        for event in active:
            if event.kind == "drift":
                return self._drifted[event]
        return self._table.X

    def _stray(
        self,
        row: _Row,
        event: ScenarioEvent,
        rng: np.random.Generator,
    ) -> None:
        """Make the row an anomaly: some of its features stray."""
        count = min(_ANOMALOUS_FEATURES, len(row.values))
        columns = rng.choice(len(row.values), count, replace=False)
        signs = rng.choice((-1.0, 1.0), count)
        row.values[columns] += signs * event.size * self._spread[columns]
        row.label = 1
        row.events.append("anomaly")

    def _broken(self, values: Floats, event: ScenarioEvent) -> list[Any]:
        """The features with one column broken; `swap` exchanges two."""
        rng = np.random.default_rng(event.seed)
        columns = rng.choice(len(values), min(2, len(values)), replace=False).tolist()
        first = columns[0]
        last = columns[-1]
        features: list[Any] = values.tolist()
        if event.how == "swap":
            features[first], features[last] = features[last], features[first]
        else:
            features[first] = self._broken_value(features[first], first, event)
        return features

    def _broken_value(
        self,
        value: float,
        column: int,
        event: ScenarioEvent,
    ) -> float | None:
        match event.how:
            case "null":
                return None
            case "unit":
                return value * 1000
            case "sign":
                return -value
            case _:
                return float(self._table.X[event.at % len(self._table), column])


def _drift_of(event: ScenarioEvent) -> Drift:
    kind: Any = event.how or "shift"
    return Drift(
        kind,
        event.size,
        event.share,
        seed=event.seed,
    )


class Replay:
    """A run of a scenario: names its records, and writes the truth as lines of `truth`."""

    def __init__(self, scenario: Scenario, truth: Path | None = None) -> None:
        self.scenario = scenario
        self._run = uuid.uuid4().hex[:8]
        self._truth = truth.open("wb") if truth else None

    def name(self, i: int) -> str:
        """The id of row `i`; over HTTP its request id too, which `POST /feedback` takes."""
        return f"{self._run}-{i}"

    def _note(self, truth: Truth) -> None:
        if self._truth is not None:
            self._truth.write(msgspec.json.encode(truth) + b"\n")

    def body(self, i: int) -> bytes:
        """The record of row `i`; its truth is written down."""
        record, truth = self.scenario.record(i, self.name(i))
        self._note(truth)
        return record

    def write_to(
        self,
        target: str,
        rate: float,
        rows: int,
    ) -> JsonObject:
        """Write `rows` records at `rate` a second to `file:DIR` or `kinesis:NAME`.

        Returns the figures of what was done. Raises StreamError for another target.
        """
        kind, _, where = target.partition(":")
        if kind == "file" and where:
            return self._write_log(LogWriter(Path(where)), rate, rows)
        if kind == "kinesis" and where:
            put = partial(put_records, stream_client("kinesis"), where)
            return self._write(put, rate, rows)
        raise StreamError(f"--to {target!r}: it must be file:DIR or kinesis:NAME")

    def _write_log(
        self,
        log: LogWriter,
        rate: float,
        rows: int,
    ) -> JsonObject:
        figures = self._write(partial(_append, log), rate, rows)
        log.close(LOG_SHARD)
        return figures

    def _write(
        self,
        put: Callable[[list[tuple[str, bytes]]], None],
        rate: float,
        rows: int,
    ) -> JsonObject:
        began = time.monotonic()
        pace = self.scenario.rate
        late_s = write_records(
            self._named_record,
            rate,
            put,
            rows=rows,
            times=pace,
        )
        self.close()
        seconds = round(time.monotonic() - began, 2)
        return {
            "records": rows,
            "seconds": seconds,
            "last_late_s": round(late_s, 3),
        }

    def _named_record(self, i: int) -> tuple[str, bytes]:
        return self.name(i), self.body(i)

    def close(self) -> None:
        """The truth is complete."""
        if self._truth is not None:
            self._truth.close()


def _append(log: LogWriter, records: list[tuple[str, bytes]]) -> None:
    log.append(LOG_SHARD, b"".join(record + b"\n" for _, record in records))


def read_events(path: Path) -> list[ScenarioEvent]:
    """The events of a file. Raises DataError that says what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ScenarioEvent])
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"the scenario {path} cannot be read: {error}") from error
