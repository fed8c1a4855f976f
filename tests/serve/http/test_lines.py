"""Lines of a body in chunks: whatever the cuts, the same lines with the same numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serve.http.lines import LineSplitter, SentLine

LIMIT = 8
BODIES = st.lists(st.sampled_from([b"", b" ", b"a", b"bc", b"\r", b"12345678", b"123456789"]))
CUTS = st.lists(st.integers(0, 60))


def split(body: bytes, cuts: list[int]) -> list[SentLine]:
    splitter = LineSplitter(LIMIT)
    found: list[SentLine] = []
    borders = [0, *sorted(cuts), len(body)]
    for begin, end in pairwise(borders):
        found += splitter.feed(body[begin:end])
        assert splitter.held_bytes <= LIMIT
    return found + splitter.end()


@given(texts=BODIES, cuts=CUTS, ends=st.booleans())
def test_lines_are_the_same_however_they_are_cut(
    texts: list[bytes],
    cuts: list[int],
    ends: bool,
) -> None:
    body = b"\n".join(texts) + b"\n" * ends
    expected = [
        SentLine(number, text if len(text) <= LIMIT else None)
        for number, text in enumerate(texts, 1)
        if text.strip()
    ]
    assert split(body, cuts) == expected


def test_a_line_that_never_ends_is_not_held_beyond_the_limit() -> None:
    splitter = LineSplitter(LIMIT)
    for _ in range(1000):
        assert splitter.feed(b"x" * LIMIT) == []
        assert splitter.held_bytes <= LIMIT
    assert splitter.feed(b"\nab\n") == [SentLine(1, None), SentLine(2, b"ab")]
    assert splitter.end() == []
