"""Random streams of which it is known what must become of each row, and processes that die."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from hypothesis import strategies as st

from serve.model.row_format import RowFormat
from serve.stream.log_writer import LogWriter
from serve.stream.scorer import BatchScores, Busy, Refused
from tests.serve.stream.packing import LAYERS, aggregate, gzipped

Outcome = Literal["result", "dead"]
NAMES = ("value", "other")
ANOMALY, UNWANTED, REFUSED, NORMAL = 9.0, 8.0, -1.0, 1.0


@dataclass(frozen=True)
class Row:
    """A row as it stands in a record. `is_json`: other values may stand beside it in a line."""

    text: bytes
    id: str | int | None
    outcome: Outcome
    value: float = NORMAL
    is_json: bool = True


@dataclass(frozen=True)
class Packed:
    """One record or line of a source, with the rows that must come out of it."""

    data: bytes
    rows: tuple[Row, ...]


def _good(n: int, value: float, form: int) -> Row:
    key: str | int = n if form % 2 else f"r:{n}"
    features: Any = [value, n] if form < 4 else {"other": n, "value": value}
    more = {"entity": f"e{n % 3}", "time": 1_700_000_000_000 + n} if form in (2, 3) else {}
    text = json.dumps({"id": key, "features": features, **more}).encode()
    return Row(text, key, "dead" if value == REFUSED else "result", value)


def _bad(n: int, form: int) -> Row:
    texts = (
        f'{{"id": "bad-{n}", "features": [1, 2',
        f"bad-{n} is no json",
        f'{{"id": "bad-{n}", "features": [1, 2]}} and more',
        f'{{"id": "bad-{n}", "features": [1, 2, 3]}}',
        f'{{"id": "bad-{n}", "features": {{"value": 1, "value": 2, "other": 3}}}}',
        f'{{"id": "bad-{n}", "features": [1e300, 1]}}',
        f'{{"id": "bad-{n}", "features": [1, 2], "time": "soon"}}',
        f'{{"features": [1, 2], "note": "bad-{n}"}}',
    )
    return Row(texts[form].encode(), None, "dead", is_json=form > 2)


class StreamMaker:
    """Makes random records of a seed; an id comes again in its own shard alone."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._rows = 0
        self._earlier: list[Row] = []

    def shard(self, records: int, make: Callable[[], Packed]) -> list[Packed]:
        self._earlier = []
        return [make() for _ in range(records)]

    def line(self) -> Packed:
        """A line of a file: a row, several, or none."""
        form = self._random.choice(["row", "row", "row", "joined", "array", "base64", "blank"])
        if form == "blank":
            return Packed(self._random.choice([b"", b"  ", b"\r"]), ())
        if form == "row":
            row = self._row()
            mark = self._random.choice([b"", b"", b"\xef\xbb\xbf"])
            return Packed(mark + row.text + self._random.choice([b"", b"\r"]), (row,))
        rows = [self._json_row() for _ in range(self._random.randint(1, 3))]
        texts = [row.text for row in rows]
        if form == "array":
            return Packed(b"[" + b", ".join(texts) + b"]", tuple(rows))
        joined = b" ".join(texts)
        return Packed(LAYERS["base64"](joined) if form == "base64" else joined, tuple(rows))

    def record(self) -> Packed:
        """A record of Kinesis: lines, packed in layers, or damaged in one."""
        packed = self._lines()
        layers = self._random.choices(("kpl", "gzip", "gzip members", "zlib"), k=2)
        layers = layers[: self._random.randint(0, 2)]
        data = packed.data
        for layer in layers:
            data = LAYERS[layer](data)
        damage = self._random.randint(0, 5) if layers else 2
        if damage == 0:
            return Packed(data[:-1], (LOST,))
        if damage == 1:
            return Packed(aggregate([data, gzipped(data)[:-5]]), (*packed.rows, LOST))
        return Packed(data, packed.rows)

    def _lines(self) -> Packed:
        """Some lines that are rows, of which base64 stands alone."""
        lines: list[Packed] = []
        wanted = self._random.randint(1, 3)
        while len(lines) < wanted:
            line = self.line()
            if line.rows and (wanted == 1 or b'"' in line.data or b" " in line.data):
                lines.append(line)
        data = b"\n".join(line.data for line in lines)
        return Packed(data, tuple(row for line in lines for row in line.rows))

    def _json_row(self) -> Row:
        while True:
            row = self._row()
            if row.is_json:
                return row

    def _row(self) -> Row:
        self._rows += 1
        kind = self._random.choice("ggggbr")
        if kind == "r" and self._earlier:
            return self._random.choice(self._earlier)  # an id that comes again
        if kind == "b":
            return _bad(self._rows, self._random.randint(0, 7))
        value = self._random.choice([NORMAL, NORMAL, ANOMALY, UNWANTED, REFUSED])
        row = _good(self._rows, value, self._random.randint(0, 5))
        if row.outcome == "result":
            self._earlier.append(row)
        return row


LOST = Row(b"", None, "dead")  # what a damaged layer holds: one dead letter

seeds = st.integers(0, 2**32)
sizes = st.lists(st.integers(0, 6), min_size=1, max_size=2)  # records of each shard


@dataclass(frozen=True)
class Fault:
    """What happens after so many steps of a process: it dies, or a step fails."""

    kind: Literal["death", "error"]
    steps: int


faults = st.lists(
    st.builds(Fault, st.sampled_from(["death", "death", "error"]), st.integers(1, 60)), max_size=4
)


class Death(BaseException):
    """The process is gone: nothing of it runs any more."""


class Steps:
    """Counts the steps of a process, and has its fault happen."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._taken = 0

    def take(self) -> None:
        self._taken += 1
        if self._fault is None or self._taken != self._fault.steps:
            return
        if self._fault.kind == "death":
            raise Death
        raise OSError("no space left on device")


class Stepping:
    """An object each of whose calls is two steps: before its effect, and after it."""

    def __init__(self, wrapped: Any, steps: Steps) -> None:
        self._wrapped = wrapped
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if not callable(value) or name in ("close", "release"):
            return value

        def call(*args: Any, **options: Any) -> Any:
            self._steps.take()
            answer = value(*args, **options)
            self._steps.take()
            return answer

        return call


class TearingWriter(LogWriter):
    """Writes lines in two halves, with a step between them."""

    def __init__(self, folder: Path, steps: Steps) -> None:
        super().__init__(folder)
        self._steps = steps
        self._shards: set[str] = set()

    def open(self, shard: str) -> IO[bytes]:
        self._shards.add(shard)
        return super().open(shard)

    def append(self, shard: str, lines: bytes) -> None:
        half = len(lines) // 2
        super().append(shard, lines[:half])
        self._steps.take()
        super().append(shard, lines[half:])

    def vanish(self) -> None:
        """Let go of the files, as the operating system does for the dead."""
        for shard in self._shards:
            self.close(shard)


class RuleScorer:
    """Scores by the first value: refuses batches with a REFUSED one, is busy now and then."""

    def __init__(self) -> None:
        self._calls = 0

    def row_format(self) -> RowFormat:
        return RowFormat(NAMES)

    def score(self, X: np.ndarray[Any, Any], context: Any = None, made: Any = None) -> BatchScores:
        self._calls += 1
        if self._calls % 5 == 0:
            raise Busy("a moment")
        if (X[:, 0] == REFUSED).any():
            raise Refused("not this one")
        return BatchScores(X[:, 0].copy(), np.where(X[:, 0] > NORMAL, -1, 1), "1")

    def close(self) -> None:
        pass


def expected_results(shard: Sequence[Packed]) -> dict[str | int, float]:
    """The value of each id of which there must be a result."""
    good = (row for record in shard for row in record.rows if row.outcome == "result")
    return {row.id: row.value for row in good if row.id is not None}


def count_rows(shard: Sequence[Packed], outcome: Outcome) -> int:
    return sum(row.outcome == outcome for record in shard for row in record.rows)


def unwanted_rows(shard: Sequence[Packed]) -> Iterator[Row]:
    """Rows whose results the receiver refuses."""
    for record in shard:
        yield from (row for row in record.rows if row.value == UNWANTED)
