"""Random streams of which it is known what must become of each row, and processes that die."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from hypothesis import strategies as st

from serve.stream.file_log import LogWriter
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


class _Numbers:
    """Numbers of rows, so that no two are alike."""

    def __init__(self) -> None:
        self.next = 0

    def __call__(self) -> int:
        self.next += 1
        return self.next


@st.composite
def rows_of(draw: st.DrawFn, numbers: _Numbers, earlier: list[Row]) -> Row:
    kind = draw(st.sampled_from("ggggbr"))
    if kind == "r" and earlier:
        return draw(st.sampled_from(earlier))  # an id that comes again
    if kind == "b":
        return _bad(numbers(), draw(st.integers(0, 7)))
    value = draw(st.sampled_from([NORMAL, NORMAL, ANOMALY, UNWANTED, REFUSED]))
    row = _good(numbers(), value, draw(st.integers(0, 5)))
    if row.outcome == "result":
        earlier.append(row)
    return row


@st.composite
def lines_of(draw: st.DrawFn, row: st.SearchStrategy[Row]) -> Packed:
    """A line of a file: a row, several, or none."""
    form = draw(st.sampled_from(["row", "row", "row", "joined", "array", "base64", "blank"]))
    if form == "blank":
        return Packed(draw(st.sampled_from([b"", b"  ", b"\r"])), ())
    if form == "row":
        one = draw(row)
        mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
        return Packed(mark + one.text + draw(st.sampled_from([b"", b"\r"])), (one,))
    rows = draw(st.lists(row.filter(lambda one: one.is_json), min_size=1, max_size=3))
    texts = [one.text for one in rows]
    if form == "array":
        return Packed(b"[" + b", ".join(texts) + b"]", tuple(rows))
    joined = b" ".join(texts)
    return Packed(LAYERS["base64"](joined) if form == "base64" else joined, tuple(rows))


@st.composite
def records_of(draw: st.DrawFn, row: st.SearchStrategy[Row]) -> Packed:
    """A record of Kinesis: lines, packed in layers, or damaged in one."""
    lines = draw(st.lists(lines_of(row).filter(lambda line: line.rows), min_size=1, max_size=3))
    rows = tuple(row for line in lines for row in line.rows)
    has_several = len(lines) > 1 and not any(line.data.endswith(b"=") for line in lines)
    if not has_several:
        data, rows = lines[0].data, lines[0].rows
    else:
        lines = [line for line in lines if line.data[:1] in b"{[\xefb"]
        rows = tuple(row for line in lines for row in line.rows)
        data = b"\n".join(line.data for line in lines)
    layers = draw(st.lists(st.sampled_from(["kpl", "gzip", "gzip members", "zlib"]), max_size=2))
    for layer in layers:
        data = LAYERS[layer](data)
    if layers and draw(st.booleans()):
        return Packed(aggregate([data, gzipped(data)[:-5]]), (*rows, Row(b"", None, "dead")))
    if layers and draw(st.booleans()):
        return Packed(data[:-1], (Row(b"", None, "dead"),))
    return Packed(data, rows)


@st.composite
def shards(
    draw: st.DrawFn, packed: Callable[[st.SearchStrategy[Row]], st.SearchStrategy[Packed]]
) -> list[list[Packed]]:
    """The records of up to two shards. An id comes again in its own shard alone."""
    numbers = _Numbers()
    return [
        draw(st.lists(packed(rows_of(numbers, [])), max_size=6))
        for _ in range(draw(st.integers(1, 2)))
    ]


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

    def names(self) -> tuple[str, ...]:
        return NAMES

    def score(self, X: np.ndarray[Any, Any]) -> BatchScores:
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
