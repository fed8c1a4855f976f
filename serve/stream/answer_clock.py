"""The time by the clock of a service that answers requests of HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any


class AnswerClock:
    """The clock of an AWS service, by the dates of its answers; between them seconds are counted.

    So a stamp is comparable with those of the service, whatever our own clock does. Of a service
    that dates no answer it is our own clock.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._offset: float | None = None  # Unix seconds of the service when `seconds` was 0

    @property
    def is_known(self) -> bool:
        """Whether an answer had a date."""
        return self._offset is not None

    def read(self, answer: dict[str, Any]) -> None:
        """Take the date of an answer of boto3, which is in whole seconds, rounded down."""
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        with suppress(KeyError, ValueError):
            date = parsedate_to_datetime(headers["date"])
            self._offset = date.timestamp() - self._seconds()

    def now(self) -> float:
        """Return Unix seconds."""
        if self._offset is None:
            return self._clock()
        return self._offset + self._seconds()
