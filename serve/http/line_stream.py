"""`/predict` with a row a line: lines are answered as they come, over one connection.

What has arrived together is scored together, in micro-batches. Nothing more is read before the
answers are sent, so that a client that does not read them stops itself: a stream holds one
micro-batch, what the server has read ahead, and the line that has not ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from functools import partial

import msgspec
import numpy as np

from serve.http.bodies import BodyReader, check_encoding
from serve.http.entity_thresholds import find_thresholds
from serve.http.line_rows import LineDecoder, LineRows, RefusedLine
from serve.http.lines import LineSplitter, SentLine
from serve.http.messages import Receive, Request, StreamedResponse
from serve.http.predict import Prediction, line_answers
from serve.http.refusals import InternalError, TooSlow, error_detail
from serve.http.replica import Replica
from serve.http.scoring import ModelScorer, ScoringEndpoints
from serve.http.stream_slots import StreamSlots
from serve.model.loaded import LoadedModel
from vigil.errors import VigilError

COUNTED_BYTES = 2**16  # of a line that has not ended: what is beyond counts as a body in work
_FAULT = "the service failed on this line; its log says why"

LineAnswer = Prediction | RefusedLine

log = logging.getLogger("ray.serve")
_encode_lines = msgspec.json.Encoder().encode_lines


class LineReader:
    """Reads the lines of one stream, so many at a time.

    It holds of `bodies` the bytes of a long line that has not ended.
    """

    def __init__(
        self,
        replica: Replica,
        receive: Receive,
        bodies: BodyReader,
    ) -> None:
        self._replica = replica
        self._receive = receive
        self._bodies = bodies
        self._splitter = LineSplitter(replica.settings.max_body_bytes)
        self._lines: deque[SentLine] = deque()
        self._is_ended = False
        self._counted = 0

    @property
    def line(self) -> int:
        """The number of the line that comes next."""
        return self._splitter.count + 1

    async def next(self) -> list[SentLine]:
        """Return lines that came together, none at the end of the stream.

        Raises TooSlow where no line ends in time, and Overloaded for a long one where too many
        bytes are in work.
        """
        while not self._lines and not self._is_ended:
            await self._read_line()
        settings = self._replica.settings
        if settings.micro_batch_ms and len(self._lines) < settings.micro_batch_rows:
            await self._wait_for_more(settings.micro_batch_ms / 1000)
        most = min(len(self._lines), settings.micro_batch_rows)
        return [self._lines.popleft() for _ in range(most)]

    def close(self) -> None:
        """Let go of the bytes that are held."""
        self._bodies.release(self._counted)
        self._counted = 0

    async def _read_line(self) -> None:
        """Receive until a line has ended, be it a blank one."""
        timeout_s = self._replica.settings.body_timeout_s
        before = self._splitter.count
        try:
            async with asyncio.timeout(timeout_s):
                while self._splitter.count == before and not self._is_ended:
                    await self._receive_chunk()
        except TimeoutError as error:
            raise TooSlow(
                f"no line came in {timeout_s:g} s: a blank one keeps a stream open"
            ) from error

    async def _wait_for_more(self, seconds: float) -> None:
        """Receive for so long, or until a micro-batch is full."""
        most = self._replica.settings.micro_batch_rows
        try:
            async with asyncio.timeout(seconds):
                while len(self._lines) < most and not self._is_ended:
                    await self._receive_chunk()
        except TimeoutError:
            return

    async def _receive_chunk(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":  # nobody would read an answer
            self._is_ended = True
            self._lines.clear()
            return
        self._lines.extend(self._splitter.feed(message.get("body", b"")))
        if not message.get("more_body", False):
            self._is_ended = True
            self._lines.extend(self._splitter.end())
        self._count_held_bytes()

    def _count_held_bytes(self) -> None:
        held = self._splitter.held_bytes
        if held < COUNTED_BYTES:
            held = 0
        if held > self._counted:
            self._bodies.hold_bytes(held - self._counted)
        else:
            self._bodies.release(self._counted - held)
        self._counted = held


class LineScorer:
    """Answers the lines of one stream, each as `/predict` would a request."""

    def __init__(
        self,
        replica: Replica,
        scorer: ModelScorer,
        scoring: ScoringEndpoints,
        request: Request,
    ) -> None:
        self._replica = replica
        self._scorer = scorer
        self._scoring = scoring
        self._request = request

    async def answer(self, lines: list[SentLine]) -> bytes:
        """Return an answer a line, in their order."""
        began = time.perf_counter()
        model = self._replica.model()
        answers: list[LineAnswer] = []
        for part in self._decoder(model).decode(lines):
            if isinstance(part, RefusedLine):
                answers.append(part)
            else:
                answers.extend(await self._answer_rows(model, part))
        self._count(answers, time.perf_counter() - began)
        return _encode_lines(answers)

    def _decoder(self, model: LoadedModel) -> LineDecoder:
        return LineDecoder(
            self._request.request_id,
            model.row_format.names,
            model.bundle.unused_columns,
            partial(self._scoring.decode_rows, model=model),
            has_words=model.row_format.categories is not None,
        )

    async def _answer_rows(self, model: LoadedModel, rows: LineRows) -> list[LineAnswer]:
        answers: list[LineAnswer] = []
        for part in self._by_arm(rows):
            try:
                answers += await self._score(model, part)
            except VigilError as error:
                answers += part.refused(error)
            except Exception:
                log.exception("lines of a stream failed", extra=self._request.log_fields)
                answers += part.refused(InternalError(_FAULT))
        return answers

    def _by_arm(self, rows: LineRows) -> Iterator[LineRows]:
        """Neighbours that one model answers: where a canary runs, each line is the one's."""
        canary = self._replica.watch.canary
        if canary is None:
            yield rows
            return
        takes = np.array([canary.takes(text) for text in rows.texts])
        borders = np.flatnonzero(np.diff(takes)) + 1
        for numbers in np.split(np.arange(len(takes)), borders):
            yield rows.where(numbers.tolist())

    async def _score(self, model: LoadedModel, rows: LineRows) -> list[Prediction]:
        prepared = await self._scorer.prepare_raw(model, rows.X, rows.context)
        if model.has_entity_thresholds:
            await find_thresholds(self._replica.context, prepared)
        # It stands for the lines: its body says which arm of a canary answers them.
        request = Request(self._request.headers, rows.texts[0])
        model, scored = self._scorer.score(
            model,
            prepared,
            request,
            rows.request_ids,
        )
        observation = self._request.observation
        if observation is not None:
            anomalies = int(np.count_nonzero(scored.alerts))
            observation.add_scored(len(prepared), anomalies, model.version)
        return line_answers(
            model,
            scored,
            rows.request_ids,
            drift_score=self._replica.reporter.drift_score,
            max_reasons=self._replica.settings.reasons,
        )

    def _count(self, answers: list[LineAnswer], seconds: float) -> None:
        """Count each line as a request, and the time of the micro-batch once."""
        metrics = self._replica.metrics
        refused = [answer for answer in answers if isinstance(answer, RefusedLine)]
        for answer in refused:
            metrics.requests.labels(answer.error.type).inc()
        if len(refused) < len(answers):
            metrics.requests.labels("ok").inc(len(answers) - len(refused))
            metrics.latency.observe(seconds)


class LineEndpoint:
    """Handler of `/predict` for a body of lines."""

    def __init__(
        self,
        replica: Replica,
        scorer: ModelScorer,
        scoring: ScoringEndpoints,
        *,
        bodies: BodyReader,
        slots: StreamSlots,
    ) -> None:
        self._replica = replica
        self._scorer = scorer
        self._scoring = scoring
        self._bodies = bodies
        self._slots = slots

    async def predict_lines(self, request: Request, receive: Receive) -> StreamedResponse:
        """Open a stream. Raises NoModel, UnsupportedMediaType, and Overloaded beyond the bound."""
        check_encoding(request.headers)
        self._replica.model()
        self._slots.require_one()
        return StreamedResponse(self._answers(request, receive))

    async def _answers(self, request: Request, receive: Receive) -> AsyncGenerator[bytes]:
        reader = LineReader(self._replica, receive, self._bodies)
        scorer = LineScorer(
            self._replica,
            self._scorer,
            self._scoring,
            request,
        )
        with self._slots.taken():
            try:
                while lines := await reader.next():
                    yield await scorer.answer(lines)
                    await asyncio.sleep(0)  # others have their turn, however much has come
            except VigilError as error:
                yield self._last_words(error, reader.line, request)
            finally:
                reader.close()

    def _last_words(
        self,
        error: VigilError,
        line: int,
        request: Request,
    ) -> bytes:
        """The answer that ends a stream before its end."""
        self._replica.metrics.requests.labels(type(error).__name__).inc()
        return _encode_lines([RefusedLine(error_detail(error), line, request.request_id)])
