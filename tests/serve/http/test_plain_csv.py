"""Small bodies of text/csv: what the quick reader reads, the reader of tables reads likewise."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from serve.http.context_columns import ContextColumns
from serve.http.csv_body import decode_csv
from serve.http.plain_csv import MAX_PLAIN_BYTES, read_plain_csv
from serve.http.rows import ColumnMatcher
from vigil.arrays import Floats

NAMES = ("cpu", "1", "nan")
UNUSED = ("at", "2", "true")
FLOATS = st.floats(
    width=32,
    allow_nan=False,
    allow_infinity=False,
)
# Numbers as people write them, and what only looks like one.
ODD = ("1.", ".5", "+3", "-0", "1e-400", "1e5", "1E+5", "1e400", "1_0", "", " 2", "nan", "--1")
CELLS = st.one_of(FLOATS.map(repr), st.integers(-(2**70), 2**70).map(str), st.sampled_from(ODD[:7]))
SPOILERS = [*ODD, *'a0,;|\t" \r\n\0\ufeff\u00e9', "sep=;\n", "\n\n", ",1", ",,", "0x1", "1,"]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Plain tables, and such with something inserted somewhere."""
    header = [*NAMES, *draw(st.lists(st.sampled_from(UNUSED), unique=True))]
    header = draw(st.permutations(header))
    row = st.lists(CELLS, min_size=len(header), max_size=len(header))
    lines = [",".join(cells) for cells in (header, *draw(st.lists(row, max_size=4)))]
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    for spoiler in draw(st.lists(st.sampled_from(SPOILERS), max_size=2)):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + spoiler + text[place:]
    return text.encode()


def plain(body: bytes) -> Floats | None:
    return read_plain_csv(
        body,
        None,
        NAMES,
        unused=UNUSED,
    )


@given(bodies())
@example(b"1,2,nan\n3,4,5\n")
@example(b"cpu,1,nan,2\n3,4,5\n")
def test_what_is_read_here_is_read_by_the_reader_of_tables(body: bytes) -> None:
    X = plain(body)
    if X is not None:
        matcher = ColumnMatcher(NAMES, UNUSED)
        whole, _ = decode_csv(body, None, matcher, names=NAMES, whose=ContextColumns())
        np.testing.assert_array_equal(X, whole)


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_a_plain_table_is_read_here(rows: list[tuple[float, ...]], end: str) -> None:
    lines = [f"{nan!r},2026-01-01 00:00,{cpu!r},{one!r}" for cpu, one, nan in rows]
    X = plain(end.join(["nan,at,cpu,1", *lines, ""]).encode())
    assert X is not None
    np.testing.assert_array_equal(X, rows)


def test_a_large_body_is_left_to_the_reader_of_tables() -> None:
    row = "1,2,3\n"
    assert plain(("cpu,1,nan\n" + row * (MAX_PLAIN_BYTES // len(row))).encode()) is None
