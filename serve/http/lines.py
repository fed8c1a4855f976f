"""Lines of a body that comes in chunks, each with its number. Pure."""

from __future__ import annotations

import msgspec


class SentLine(msgspec.Struct, frozen=True):
    """A line as it was sent, without its end; `text` is None of one that is over the limit.

    number: counted from 1, with the blank lines
    """

    number: int
    text: bytes | None


class LineSplitter:
    """Cuts chunks into lines of at most `max_bytes`; blank lines are counted and left out.

    It holds the line that has not ended. Of one that is over the limit it holds nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._is_over_limit = False
        self.held_bytes = 0
        self.count = 0

    def feed(self, chunk: bytes) -> list[SentLine]:
        """Return the lines that end in a chunk."""
        first, *others = chunk.split(b"\n")
        if not others:
            self._hold(first)
            return []
        ended = [self._end_with(first), *others[:-1]]
        lines = self._numbered(ended)
        self._hold(others[-1])
        return lines

    def end(self) -> list[SentLine]:
        """Return the last line where it has no end of its own."""
        if not self._parts and not self._is_over_limit:
            return []
        return self._numbered([self._end_with(b"")])

    def _hold(self, part: bytes) -> None:
        if self._is_over_limit or not part:
            return
        self._parts.append(part)
        self.held_bytes += len(part)
        if self.held_bytes > self._max_bytes:
            self._forget()
            self._is_over_limit = True

    def _end_with(self, part: bytes) -> bytes | None:
        """The line that has not ended yet, with its last part."""
        self._hold(part)
        text = None if self._is_over_limit else b"".join(self._parts)
        self._forget()
        self._is_over_limit = False
        return text

    def _forget(self) -> None:
        self._parts = []
        self.held_bytes = 0

    def _numbered(self, texts: list[bytes | None] | list[bytes]) -> list[SentLine]:
        first = self.count + 1
        self.count += len(texts)
        most = self._max_bytes
        return [
            SentLine(number, text if text is None or len(text) <= most else None)
            for number, text in enumerate(texts, first)
            if text is None or (text and not text.isspace())
        ]
