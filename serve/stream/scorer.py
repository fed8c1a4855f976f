"""Batches to the service over HTTP, by the Open Inference Protocol in binary; patient with overload."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats
from vigil.errors import VigilError

_LENGTH_HEADER = "inference-header-content-length"
FIRST_WAIT_S, MOST_WAIT_S = 0.05, 10.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores [n] and labels [n] of a batch, and the version that gave them."""

    scores: Floats
    predictions: NDArray[np.int64]
    version: str


class Busy(VigilError):
    """The service is overloaded or away: the same batch again after `retry_after` seconds (None: it did not say)."""

    status = 503

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(VigilError):
    """The service refuses the batch for what is in it."""

    status = 422


class Scorer(Protocol):
    """Raises Busy, Refused, or VigilError when nothing will help."""

    def names(self) -> tuple[str, ...]:
        """The features of the model, in order."""
        ...

    def score(self, X: Floats) -> Scored:
        """Score rows [n, d]."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class HttpScorer:
    """The service at `url`, over one kept-alive connection."""

    def __init__(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        model: str = "vigil",
        timeout_s: float = 60.0,
    ) -> None:
        self._parts, self._headers, self._timeout_s = urlsplit(url), headers or {}, timeout_s
        self._path = f"/v2/models/{model}/infer"
        self._connection: http.client.HTTPConnection | None = None

    def names(self) -> tuple[str, ...]:
        return tuple(msgspec.json.decode(self._ask("GET", "/readyz", b"", {})[0])["features"])

    def score(self, X: Floats) -> Scored:
        data = X.astype("<f8").tobytes()
        tensor = {
            "name": "features",
            "datatype": "FP64",
            "shape": list(X.shape),
            "parameters": {"binary_data_size": len(data)},
        }
        head = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = {"content-type": "application/octet-stream", _LENGTH_HEADER: str(len(head))}
        body, length = self._ask("POST", self._path, head + data, headers)
        if length is None:
            raise VigilError(f"{self._path} did not answer in binary: is this Vigil's service?")
        about, n = msgspec.json.decode(body[:length]), len(X)
        scores, labels = (
            np.frombuffer(body, "<f8", n, length),
            np.frombuffer(body, "<i8", n, length + 8 * n),
        )
        return Scored(scores, labels, about["model_version"])

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[bytes, int | None]:
        try:
            if self._connection is None:
                kind = (
                    http.client.HTTPSConnection
                    if self._parts.scheme == "https"
                    else http.client.HTTPConnection
                )
                self._connection = kind(self._parts.netloc, timeout=self._timeout_s)
            self._connection.request(method, path, body, {**self._headers, **headers})
            answer = self._connection.getresponse()
            text, status = answer.read(), answer.status
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Busy(
                f"the service at {self._parts.netloc} does not answer: {error or type(error).__name__}"
            ) from error
        if status == 200:
            length = answer.getheader(_LENGTH_HEADER)
            return text, int(length) if length else None
        told = f"{path} answered {status}: {text[:500].decode(errors='replace')}"
        if status in (408, 425, 429) or status >= 500:
            if answer.will_close:
                self.close()
            raise Busy(told, _seconds(answer.getheader("retry-after")))
        if status in (400, 413, 422):
            raise Refused(told)
        raise VigilError(
            f"{told}. Show a key with --api-key, or name the model with VIGIL_SERVE_MODEL_NAME"
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


class Patience:
    """How long to wait before the next try: what the service asked for, else doubling; both with jitter."""

    def __init__(self, wait: Callable[[float], Any] = time.sleep) -> None:
        self._wait, self._next = wait, FIRST_WAIT_S

    def pause(self, retry_after: float | None = None) -> None:
        seconds = self._next if retry_after is None else min(retry_after, 60.0)
        self._next = min(self._next * 2, MOST_WAIT_S)
        # Of a full queue's clients each comes back at another time; never before it was asked to.
        self._wait(
            seconds * random.uniform(0.5, 1.0)
            if retry_after is None
            else seconds * random.uniform(1.0, 1.5)
        )

    def reset(self) -> None:
        self._next = FIRST_WAIT_S
