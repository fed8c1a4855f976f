"""Batches to the service, by the binary Open Inference Protocol; patient with overload."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from serve.model.report import RowContext
from serve.model.row_format import MadeRows, RowFormat
from vigil import http
from vigil.arrays import Floats
from vigil.errors import VigilError

if TYPE_CHECKING:
    import httpx

_LENGTH_HEADER = "inference-header-content-length"
MIN_BACKOFF_S = 0.05
MAX_BACKOFF_S = 10.0
MAX_RETRY_AFTER_S = 60.0
_TRANSIENT = {408, 425, 429}  # and every 5xx
_REFUSED = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class BatchScores:
    """Scores [n] and labels [n] of a batch, and the version that gave them."""

    scores: Floats
    predictions: NDArray[np.int64]
    version: str


class Busy(VigilError):
    """The service is overloaded or away: the same batch again after `retry_after` seconds
    (None: it did not say)."""

    status = 503

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(VigilError):
    """The service refuses the batch for what is in it."""

    status = 422


class Scorer(Protocol):
    """Raises Busy, Refused, or VigilError when nothing will help."""

    def row_format(self) -> RowFormat:
        """The features of a record, in order, and the transform of the model."""
        ...

    def score(
        self,
        X: Floats,
        context: RowContext | None = None,
        made: MadeRows | None = None,
    ) -> BatchScores:
        """Score rows [n, d]; `context`: whose they are, and of when.

        made: they are rows of the model
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def _context_inputs(context: RowContext | None) -> Iterator[dict[str, Any]]:
    """The inputs `entity` and `time` of the protocol, in JSON."""
    if context is None:
        return
    if context.entities is not None:
        shape = [len(context.entities)]
        yield {"name": "entity", "datatype": "BYTES", "shape": shape, "data": context.entities}
    if context.times is not None:
        milliseconds = [round(seconds * 1000) for seconds in context.times]
        shape = [len(milliseconds)]
        yield {"name": "time", "datatype": "INT64", "shape": shape, "data": milliseconds}


def _made_parameters(made: MadeRows | None) -> dict[str, Any]:
    """What the service must know of rows that are the model's."""
    if made is None:
        return {}
    return {"made_by": made.key, "warming": made.is_warming}


class HttpScorer:
    """The service at `url`, over one kept-alive connection."""

    def __init__(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        model: str = "vigil",
        timeout_s: float = 60.0,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._path = f"/v2/models/{quote(model, safe='')}/infer"
        self._client = http.open_client(
            self._url,
            headers=headers,
            timeout_s=timeout_s,
            use_proxy=False,
        )

    def row_format(self) -> RowFormat:
        body, _ = self._ask(
            "GET",
            "/readyz",
            b"",
            headers={},
        )
        return RowFormat.from_wire(msgspec.json.decode(body))

    def score(
        self,
        X: Floats,
        context: RowContext | None = None,
        made: MadeRows | None = None,
    ) -> BatchScores:
        data = X.astype("<f8").tobytes()
        tensor = {
            "name": "features",
            "datatype": "FP64",
            "shape": list(X.shape),
            "parameters": {"binary_data_size": len(data)},
        }
        inputs = [tensor, *_context_inputs(context)]
        parameters = {"binary_data_output": True, **_made_parameters(made)}
        head = msgspec.json.encode({"inputs": inputs, "parameters": parameters})
        headers = {
            "content-type": "application/octet-stream",
            _LENGTH_HEADER: str(len(head)),
        }
        body, json_length = self._ask(
            "POST",
            self._path,
            head + data,
            headers=headers,
        )
        if json_length is None:
            raise VigilError(f"{self._path} did not answer in binary: is this Vigil's service?")
        return _read_scores(body, json_length, len(X))

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        headers: dict[str, str],
    ) -> tuple[bytes, int | None]:
        """The body of the answer, and how much of it is JSON where it is binary."""
        url = self._url + path
        try:
            with http.os_errors():
                response = self._client.request(
                    method,
                    url,
                    content=body,
                    headers=headers,
                )
        except OSError as error:
            reason = str(error) or type(error).__name__
            raise Busy(f"the service at {self._host} does not answer: {reason}") from error
        if response.status_code != 200:
            raise _failure(path, response)
        json_length = response.headers.get(_LENGTH_HEADER)
        return response.content, int(json_length) if json_length else None

    def close(self) -> None:
        self._client.close()


def _read_scores(
    body: bytes,
    json_length: int,
    rows: int,
) -> BatchScores:
    """Scores and labels behind the JSON of an answer."""
    metadata = msgspec.json.decode(body[:json_length])
    scores = np.frombuffer(
        body,
        "<f8",
        rows,
        offset=json_length,
    )
    behind_scores = json_length + scores.nbytes
    labels = np.frombuffer(
        body,
        "<i8",
        rows,
        offset=behind_scores,
    )
    return BatchScores(scores, labels, metadata["model_version"])


def _failure(path: str, response: httpx.Response) -> VigilError:
    status = response.status_code
    content = response.content[:500]
    body = content.decode(errors="replace")
    message = f"{path} answered {status}: {body}"
    if status in _TRANSIENT or status >= 500:
        retry_after = response.headers.get("retry-after")
        return Busy(message, _seconds(retry_after))
    if status in _REFUSED:
        return Refused(message)
    hint = "Show a key with --api-key, or name the model with VIGIL_SERVE_MODEL_NAME"
    return VigilError(f"{message}. {hint}")


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


class Backoff:
    """How long to wait before the next try: what the service asked for, else doubling; both with
    jitter."""

    def __init__(self, wait: Callable[[float], Any] = time.sleep) -> None:
        self._wait = wait
        self._next_s = MIN_BACKOFF_S

    def pause(self, retry_after: float | None = None) -> None:
        """Wait. Of a full queue's clients each comes back at another time, and never before it
        was asked to."""
        seconds = self._own_seconds()
        if retry_after is not None:
            seconds = _seconds_after(retry_after)
        self._next_s = min(self._next_s * 2, MAX_BACKOFF_S)
        self._wait(seconds)

    def _own_seconds(self) -> float:
        return self._next_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_s = MIN_BACKOFF_S


def _seconds_after(retry_after: float) -> float:
    """At least what was asked for, up to a bound."""
    seconds = min(retry_after, MAX_RETRY_AFTER_S)
    return seconds * random.uniform(1.0, 1.5)
