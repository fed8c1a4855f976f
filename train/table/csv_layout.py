"""How the text of a CSV file is written: its encoding, its separator, and the names in its header.

It is seen from the first lines, by the same rules at every door (docs/data.md).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from train.table.cells import clean_name, parse_cell, show_value
from vigil.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_HEAD_BYTES = 2**16
_SAMPLE_RECORDS = 8
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_KINDS = {
    b"\x1f\x8b": "packed by gzip: unpack it",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"PAR1": "Parquet: name it .parquet",
    b"[{": "JSON: write a line of names, and a line for each row",
}
_DECLARATION = re.compile(r'"?sep=(.)"?[,; ]*')
_COMMA_IN_NUMBER = re.compile(r"[0-9],[0-9]")
_TIME = re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([ T].*)?")


@dataclass(frozen=True)
class CsvLayout:
    """How a table is written as text.

    header: its names, cleaned, "" where a column has none; width: columns to read, of which there
    may be more than names where lines end with separators; has_declaration: a line `sep=` is first
    """

    encoding: str
    separator: str
    header: tuple[str, ...]
    width: int
    has_declaration: bool
    has_decimal_comma: bool

    def describe(self) -> str:
        """Return what is unusual of it in words, "" for UTF-8 with commas."""
        words: list[str] = []
        if self.separator != ",":
            words.append(f"{SEPARATOR_NAMES.get(self.separator, self.separator)} as separator")
        if self.has_decimal_comma:
            words.append("decimal commas")
        if self.encoding != "utf-8-sig":
            words.append(f"{self.encoding} as encoding")
        return ", ".join(words)


def detect_layout(stream: IO[bytes], encoding: str | None = None) -> CsvLayout:
    """Return the layout of a file, whose place is then at its beginning again.

    `encoding` is the one that the sender says. Raises DataError for one that nobody knows.
    """
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    spoken = _encoding(head, encoding)
    text = head.decode(spoken, errors="replace")
    if len(head) == _HEAD_BYTES:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    return _layout_of_text(text, spoken)


def check_is_csv(stream: IO[bytes], path: str) -> None:
    """Raise DataError for what has the beginning of another kind of file."""
    head = stream.read(max(map(len, _OTHER_KINDS)))
    stream.seek(0)
    for mark, kind in _OTHER_KINDS.items():
        if head.startswith(mark):
            raise DataError(f"{path} is {kind}")


def _encoding(head: bytes, told: str | None) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return _unmarked_encoding(head) if told is None else _known_encoding(told)


def _known_encoding(told: str) -> str:
    try:
        name = codecs.lookup(told).name
    except LookupError as error:
        raise DataError(f"there is no encoding {show_value(told)}") from error
    return "utf-8-sig" if name in ("utf-8", "ascii") else name


def _unmarked_encoding(head: bytes) -> str:
    """UTF-16 without a mark has a zero in every second byte of ASCII."""
    sample = head[:1024]
    pairs = max(len(sample) // 2, 1)
    if sample[1::2].count(0) / pairs > 0.5:
        return "utf-16-le"
    if sample[0::2].count(0) / pairs > 0.5:
        return "utf-16-be"
    return "utf-8-sig"


def _layout_of_text(text: str, encoding: str) -> CsvLayout:
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    declaration = _DECLARATION.fullmatch(first_line.strip(" \r\ufeff"))
    separator = declaration[1] if declaration else _detect_separator(text)
    records = _sample(text, separator)
    header, *rows = records[declaration is not None :] or [[]]
    return CsvLayout(
        encoding,
        separator,
        tuple(map(clean_name, header)),
        width=len(header) + max(1, _surplus(header, rows)),
        has_declaration=declaration is not None,
        has_decimal_comma=separator == ";" and _has_commas_in_numbers(rows),
    )


def _sample(text: str, separator: str) -> list[list[str]]:
    records: list[list[str]] = []
    with suppress(csv.Error):
        for record in islice(filled_records(io.StringIO(text, newline=""), separator), 99):
            records.append(record)
            if len(records) > _SAMPLE_RECORDS:
                break
    return records


def filled_records(text: IO[str] | io.StringIO, separator: str) -> Iterator[list[str]]:
    """Return the fields of the records that are not blank."""
    for record, _ in numbered_records(text, separator):
        yield record


def numbered_records(
    text: IO[str] | io.StringIO,
    separator: str,
) -> Iterator[tuple[list[str], int]]:
    """Return the records that are not blank, each with the number of the line on which it ends."""
    reader: Any = csv.reader(text, delimiter=separator, skipinitialspace=True)
    for record in reader:
        if len(record) > 1 or (record and record[0].strip()):
            yield record, reader.line_num


def _detect_separator(text: str) -> str:
    """The separator that makes most columns of the first lines, as many of each.

    Where none does, it is the one that is most often in the header.
    """
    widths = {separator: _widths(text, separator) for separator in SEPARATORS}
    even = [separator for separator, (names, values) in widths.items() if names == values > 1]
    return max(even or SEPARATORS, key=lambda separator: widths[separator][0])


def _widths(text: str, separator: str) -> tuple[int, int]:
    """How many fields the first two lines have, without empty ones at their ends."""
    records = [*_sample(text, separator), [], []]
    return _filled_width(records[0]), _filled_width(records[1])


def _filled_width(record: list[str]) -> int:
    return max((number for number, field in enumerate(record, 1) if field.strip()), default=0)


def _surplus(header: list[str], rows: list[list[str]]) -> int:
    """How many separators more than the header a line has at its end."""
    if any(_filled_width(row) > len(header) for row in rows):
        return 0
    return max((len(row) - len(header) for row in rows), default=0)


def _has_commas_in_numbers(rows: list[list[str]]) -> bool:
    return any(_COMMA_IN_NUMBER.search(field) for row in rows for field in row)


def skip_header(text: IO[str], layout: CsvLayout) -> None:
    """Read on to where the rows begin."""
    records = filled_records(text, layout.separator)
    for _ in range(1 + layout.has_declaration):
        next(records, None)


def check_header(layout: CsvLayout, expected: tuple[str, ...], path: str) -> None:
    """Raise DataError where there is no header, or the first row of values is in its place.

    Names may be whole numbers where they count the columns, as pandas does, or are `expected`.
    """
    names = [name for name in layout.header if name]
    if not names:
        raise DataError(f"{path}: No columns: the first line must name them")
    if set(names) <= set(expected) or not all(map(_is_value, names)):
        return
    if _count_columns(names):
        return
    first_names = ", ".join(names[:3])
    raise DataError(f"{path}, line 1 holds numbers ({first_names}, ..): it must name the columns")


def _is_value(name: str) -> bool:
    return parse_cell(name) is not None or _TIME.fullmatch(name) is not None


def _count_columns(names: list[str]) -> bool:
    """Whether the names are 0, 1, 2, .. or 1, 2, 3, .."""
    numbers = range(len(names) + 1)
    return names in ([str(n) for n in numbers[:-1]], [str(n) for n in numbers[1:]])
