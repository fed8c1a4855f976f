"""Rows of a CSV file, a chunk at a time."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import pandas as pd

from train.table.cells import MISSING_WORDS
from train.table.csv_layout import (
    SEPARATOR_NAMES,
    CsvLayout,
    check_header,
    check_is_csv,
    detect_layout,
    numbered_records,
    skip_header,
)
from train.table.schema import Columns
from train.table.source import File
from vigil.errors import DataError

NAMELESS = "Unnamed: "  # what pandas calls a column without a name, with its number from 0
_MISSING_WORDS = sorted(MISSING_WORDS | {word.upper() for word in MISSING_WORDS} | {"NaN", "None"})
_DECIMAL_COMMA = r"^(\s*[+-]?[0-9]*),([0-9]+(?:[eE][+-]?[0-9]+)?\s*)$"
_DECIMAL_POINT = r"\s*[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?\s*"
_BAD_CSV = (
    pd.errors.ParserError,
    pd.errors.ParserWarning,
    pd.errors.EmptyDataError,
    csv.Error,
)


class CsvError(DataError):
    """Text that is no CSV: its encoding, its quotes, or a line that has more values than names."""


@dataclass(frozen=True)
class CsvReader:
    """The rows of a file as frames; `columns` says which hold text, and which names to expect."""

    file: File
    columns: Columns

    def layout(self) -> CsvLayout:
        """Return how the file is written; raises CsvError where it is no text, or has no names."""
        with _refusing_bad_csv(self.file), self.file.open() as stream:
            return self._checked_layout(stream)

    def _checked_layout(self, stream: IO[bytes]) -> CsvLayout:
        check_is_csv(stream, self.file.path)
        layout = detect_layout(stream, self.file.encoding)
        check_header(layout, self.columns.features or (), self.file.path)
        return layout

    def frames(self, chunk_rows: int | None) -> Generator[pd.DataFrame]:
        """Return the rows in chunks of `chunk_rows`, or all at once.

        Columns have cleaned names, and without one that of pandas; empty ones without a name, as
        separators at the ends of lines make them, are left out. Numbers have decimal points.

        Raises CsvError for what is no CSV.
        """
        with _refusing_bad_csv(self.file), self.file.open() as stream:
            layout = self._checked_layout(stream)
            with open_text(stream, layout) as text:
                skip_header(text, layout)
                names: tuple[str, ...] | None = None
                for frame in _Chunks(self, layout, text, chunk_rows):
                    names = names or _names_of(frame, layout)
                    yield self._named(self._with_points(frame, layout), names, layout)

    def parse(
        self,
        text: IO[str],
        layout: CsvLayout,
        chunk_rows: int | None,
    ) -> Any:
        """Return a frame, or a parser of chunks; columns have numbers, the last no names."""
        return pd.read_csv(
            text,
            sep=layout.separator,
            decimal="," if layout.has_decimal_comma else ".",
            header=None,
            names=range(layout.width),
            index_col=False,
            skipinitialspace=True,
            keep_default_na=False,
            chunksize=chunk_rows,
            low_memory=False,
            **self._types(layout),
        )

    def _types(self, layout: CsvLayout) -> dict[str, Any]:
        """An entity and a category are text, whatever they look like: 007 is not 7, NA a name."""
        texts = [layout.header.index(name) for name in self._texts if name in layout.header]
        if not texts:
            return {"na_values": _MISSING_WORDS}
        missing_words = dict.fromkeys(range(layout.width), _MISSING_WORDS)
        missing_words |= {column: [""] for column in texts}
        return {"dtype": dict.fromkeys(texts, "str"), "na_values": missing_words}

    @property
    def _texts(self) -> tuple[str, ...]:
        return self.columns.as_text

    def _named(
        self,
        frame: pd.DataFrame,
        names: tuple[str, ...],
        layout: CsvLayout,
    ) -> pd.DataFrame:
        kept = [j for j, name in enumerate(names) if name]
        nameless: Any = frame[[j for j, name in enumerate(names) if not name]]
        is_filled = nameless.notna().to_numpy().any(axis=1)
        if is_filled.any():
            raise self.long_line(layout) or self._nameless(frame, int(is_filled.argmax()))
        named: Any = frame[kept]
        return named.set_axis([names[j] for j in kept], axis=1)

    def _nameless(self, frame: pd.DataFrame, row: int) -> CsvError:
        """A value in a column without a name, which was empty before."""
        return CsvError(f"{self._place(frame, row)}: a value in a column without a name")

    def _place(self, frame: pd.DataFrame, row: int) -> str:
        number: Any = frame.index[row]
        return f"{self.file.path}, line {line_of(self.file, int(number))}"

    def _with_points(self, frame: pd.DataFrame, layout: CsvLayout) -> pd.DataFrame:
        """The frame with 1.5 for 1,5, which is a number only between semicolons."""
        if layout.separator != ";":
            return frame
        for j, name in enumerate(layout.header):
            if name not in self._texts and is_text(frame[j]):
                frame[j] = self._column_with_points(frame, j, name)
        return frame

    def _column_with_points(
        self,
        frame: pd.DataFrame,
        j: int,
        name: str,
    ) -> Any:
        """The column; raises CsvError where it has both signs, for one may separate thousands."""
        texts: Any = frame[j].astype("str").str
        has_point = texts.fullmatch(_DECIMAL_POINT, na=False).to_numpy(bool)
        if has_point.any() and texts.fullmatch(_DECIMAL_COMMA, na=False).any():
            row = int(has_point.argmax())
            raise CsvError(
                f"{self._place(frame, row)}, column {name!r}: {frame[j].iloc[row]} has a decimal "
                "point, and other rows have commas: write all with one of them"
            )
        return texts.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)

    def long_line(self, layout: CsvLayout) -> CsvError | None:
        """Return what is wrong with the first line that has more values than there are names."""
        with (
            suppress(csv.Error),
            self.file.open() as stream,
            open_text(stream, layout) as text,
        ):
            for record, line in numbered_records(text, layout.separator):
                if any(field.strip() for field in record[len(layout.header) :]):
                    return self._too_long(line, len(record), layout)
        return None

    def _too_long(
        self,
        line: int,
        values: int,
        layout: CsvLayout,
    ) -> CsvError:
        separator = SEPARATOR_NAMES.get(layout.separator, layout.separator)
        return CsvError(
            f"{self.file.path}, line {line} has {values} values, the header has "
            f"{len(layout.header)}, with {separator} as separator: where commas are decimal "
            "points, separate the columns with semicolons"
        )


@dataclass
class _Chunks:
    """The chunks of a text, as pandas parses them."""

    reader: CsvReader
    layout: CsvLayout
    text: IO[str]
    rows: int | None

    def __iter__(self) -> Iterator[pd.DataFrame]:
        with self._strictly():
            parsed = self.reader.parse(self.text, self.layout, self.rows)
        chunks = iter([parsed]) if self.rows is None else parsed
        while (chunk := self._next(chunks)) is not None:
            yield chunk

    def _next(self, chunks: Any) -> pd.DataFrame | None:
        with self._strictly():
            return next(chunks, None)

    @contextmanager
    def _strictly(self) -> Iterator[None]:
        """Rows that are longer than the header are refused, the first of them by its line."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                yield
            except _BAD_CSV as error:
                raise self.reader.long_line(self.layout) or error from error


@contextmanager
def open_text(stream: IO[bytes], layout: CsvLayout) -> Iterator[IO[str]]:
    """Give the text of a file, its line ends as they are; `stream` stays open."""
    buffered: Any = io.BufferedReader(stream)  # type: ignore[type-var]
    text = io.TextIOWrapper(buffered, layout.encoding, newline="")
    try:
        yield text
    finally:
        text.detach()
        buffered.detach()


def _names_of(frame: pd.DataFrame, layout: CsvLayout) -> tuple[str, ...]:
    """The name of each column, "" for one that has neither a name nor values."""
    names = [name or _nameless(frame[j], j) for j, name in enumerate(layout.header)]
    beyond_header = [""] * (layout.width - len(layout.header))
    return (*names, *beyond_header)


def _nameless(column: Any, number: int) -> str:
    return f"{NAMELESS}{number}" if column.notna().any() else ""


def is_text(column: Any) -> bool:
    """Whether a column of a frame is no numbers, truth values or times throughout."""
    return pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)


def line_of(file: File, row: int) -> int:
    """Return the line of the CSV `file` on which its data row `row` (from 0) ends.

    Blank lines and those within quotes count.
    """
    with file.open() as stream, suppress(csv.Error):  # a field that is too long for it
        layout = detect_layout(stream, file.encoding)
        first = 1 + layout.has_declaration
        with open_text(stream, layout) as text:
            records = numbered_records(text, layout.separator)
            for _, line in islice(records, first + row, None):
                return line
    return row + 2


@contextmanager
def _refusing_bad_csv(file: File) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        raise CsvError(
            f"{file.path} is not text in UTF-8 or, with a byte-order mark, UTF-16 ({error}): save "
            "it as UTF-8, as `iconv -f windows-1252 -t utf-8` does"
        ) from error
    except _BAD_CSV as error:
        raise CsvError(f"{file.path}: {error}") from error
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {error}") from error
