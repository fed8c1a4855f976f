"""Rows that are sent a line each, as `/predict` takes one. Pure.

Lines that come together are decoded together. Where one of them cannot be, each is decoded as
the body of a request would be, and says itself what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from serve.http.fields import RequestId
from serve.http.lines import SentLine
from serve.http.messages import MAX_REQUEST_ID
from serve.http.predict import PredictBody, PredictRows
from serve.http.refusals import ErrorDetail, error_detail
from serve.http.row_context import check_context, context_colons, is_writable
from serve.http.rows import DECODE_ERRORS, refuse_duplicate_names, to_matrix, try_decode_json
from serve.model.report import RowContext, joined_contexts
from vigil.arrays import Floats
from vigil.errors import BodyTooLarge, MalformedRequest, VigilError

_ONE_ROW = 'a line is one row: send {"features": [..]} or {"features": {"name": value}}'
_BAD_ID = f"`id` must be a name of at most {MAX_REQUEST_ID} characters"

DecodeRow = Callable[[bytes], PredictRows]  # of a body of `/predict`; raises VigilError


class LineBody(PredictBody):
    """A line: `features`, whose they are, and an id that its answer has."""

    id: Annotated[
        str | int | UnsetType | None,
        msgspec.Meta(title="What the answer has as `request_id`"),
    ] = UNSET


class RefusedLine(msgspec.Struct):
    """The answer to a line that cannot be scored."""

    error: ErrorDetail
    line: Annotated[int, msgspec.Meta(description="number of the line, counted from 1")]
    request_id: RequestId


@dataclass(frozen=True)
class LineRows:
    """Rows [n, d] of neighbouring lines, and whose they are where all of these say so.

    texts [n]: the lines as they were sent; request_ids [n], numbers [n]: those of each
    """

    texts: list[bytes]
    request_ids: list[str]
    numbers: list[int]
    X: Floats
    context: RowContext | None

    @property
    def kind(self) -> tuple[bool, bool]:
        """What neighbours share that are scored together: whether they say entity and time."""
        context = self.context or RowContext()
        return context.entities is not None, context.times is not None

    def where(self, rows: Sequence[int]) -> LineRows:
        """Return the rows of these places."""
        return LineRows(
            [self.texts[row] for row in rows],
            [self.request_ids[row] for row in rows],
            [self.numbers[row] for row in rows],
            X=self.X[list(rows)],
            context=self.context and self.context.where(rows),
        )

    def refused(self, error: VigilError) -> list[RefusedLine]:
        """Return the answers where none of the rows can be scored."""
        return [
            _refused(error, number, request_id)
            for number, request_id in zip(self.numbers, self.request_ids, strict=True)
        ]


class LineDecoder:
    """Decodes lines for a model with the features `names`.

    A line without an id gets the stream's with its number. `unused` are columns that rows may have
    and the model has not; `decode_row` decodes a line as the body of a request, and does so for all
    where some features are words.
    """

    def __init__(
        self,
        stream_id: str,
        names: tuple[str, ...],
        unused: Collection[str],
        decode_row: DecodeRow,
        *,
        has_words: bool = False,
    ) -> None:
        self._stream_id = stream_id
        self._names = names
        self._unused = unused
        self._decode_row = decode_row
        self._has_words = has_words

    def decode(self, lines: list[SentLine]) -> list[LineRows | RefusedLine]:
        """Return the rows of the lines, and what is refused of them, in their order."""
        together = self._decode_together(lines)
        if together is not None:
            return [together]
        return list(_joined([self._decode_alone(line) for line in lines]))

    def _decode_together(self, lines: list[SentLine]) -> LineRows | None:
        """All rows, None where a line has more to say than numbers for each feature."""
        texts = [line.text for line in lines if line.text is not None]
        if len(texts) < len(lines) or self._has_words:
            return None
        try:
            documents = [_decode_line(text) for text in texts]
            for document, text in zip(documents, texts, strict=True):
                if text.count(b":") != 1:  # one is that of `features`, and nothing else is there
                    _require_plain(document, text)
            rows = [document.features for document in documents]
            X = to_matrix(
                rows,
                self._names,
                True,
                unused=self._unused,
            )
            context = _common_context(documents)
            request_ids = self._request_ids(lines, documents)
        except (*DECODE_ERRORS, VigilError):
            return None
        numbers = [line.number for line in lines]
        return LineRows(
            texts,
            request_ids,
            numbers,
            X,
            context,
        )

    def _request_ids(
        self,
        lines: list[SentLine],
        documents: list[LineBody],
    ) -> list[str]:
        return [
            f"{self._stream_id}/{line.number}" if document.id is UNSET else _checked_id(document.id)
            for line, document in zip(lines, documents, strict=True)
        ]

    def _decode_alone(self, line: SentLine) -> LineRows | RefusedLine:
        request_id = f"{self._stream_id}/{line.number}"
        if line.text is None:
            error = BodyTooLarge("the line is over the limit of a body")
            return _refused(error, line.number, request_id)
        try:
            request_id = _own_id(line.text) or request_id
            sent = self._decode_row(line.text)
            if not sent.is_single or sent.past is not None:
                raise MalformedRequest(_ONE_ROW)
        except VigilError as error:
            return _refused(error, line.number, request_id)
        return LineRows(
            [line.text],
            [request_id],
            [line.number],
            X=sent.X,
            context=sent.context,
        )


_decode_line = msgspec.json.Decoder(LineBody).decode


def _require_plain(document: LineBody, text: bytes) -> None:
    """Raise MalformedRequest for a line that a second look is needed at."""
    if document.instances is not UNSET or document.history is not UNSET:
        raise MalformedRequest(_ONE_ROW)
    if document.entities is not UNSET or document.times is not UNSET:
        raise MalformedRequest(_ONE_ROW)
    others = 1 + context_colons(document)
    if document.id is not UNSET:
        others += 1 + str(document.id).count(":")
    refuse_duplicate_names(text, others, [document.features])


def _common_context(documents: list[LineBody]) -> RowContext | None:
    """Whose the rows are; raises MalformedRequest where some lines alone say so."""
    entities = _given([document.entity for document in documents])
    times = _given([document.time for document in documents])
    return check_context(entities, times)


def _given(values: list[Any]) -> list[Any] | None:
    absent = values.count(UNSET) + values.count(None)
    if absent == len(values):
        return None
    if absent:
        raise MalformedRequest(_ONE_ROW)  # together they cannot be scored: each is decoded alone
    return values


def _own_id(text: bytes) -> str | None:
    """The id of a line, None where it has none or cannot be read; raises MalformedRequest."""
    if b'"id"' not in text and b"\\" not in text:
        return None
    document = try_decode_json(text)
    if not isinstance(document, dict) or document.get("id") is None:
        return None
    return _checked_id(document["id"])


def _checked_id(value: Any) -> str:
    is_name = isinstance(value, str | int) and not isinstance(value, bool)
    name = str(value)
    if not is_name or not name or len(name) > MAX_REQUEST_ID or not is_writable(name):
        raise MalformedRequest(_BAD_ID)
    return name


def _refused(error: VigilError, number: int, request_id: str) -> RefusedLine:
    return RefusedLine(error_detail(error), number, request_id)


def _joined(decoded: list[LineRows | RefusedLine]) -> Iterator[LineRows | RefusedLine]:
    """Neighbours of one kind become one."""
    for kind, group in groupby(decoded, _kind):
        if kind is None:
            yield from group
            continue
        parts = [part for part in group if isinstance(part, LineRows)]
        yield parts[0] if len(parts) == 1 else _one_of(parts)


def _kind(part: LineRows | RefusedLine) -> tuple[bool, bool] | None:
    return part.kind if isinstance(part, LineRows) else None


def _one_of(parts: list[LineRows]) -> LineRows:
    return LineRows(
        [part.texts[0] for part in parts],
        [part.request_ids[0] for part in parts],
        [part.numbers[0] for part in parts],
        X=np.concatenate([part.X for part in parts]),
        context=joined_contexts([part.context for part in parts]),
    )
