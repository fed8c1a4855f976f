"""How many streams a replica has open: half of its slots stay for requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serve.http.refusals import Overloaded
from serve.http.replica import Replica


class StreamSlots:
    """Counts the streams of one replica, of lines and of gRPC together."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._taken = 0

    def require_one(self) -> None:
        """Raise Overloaded where no more streams may be opened."""
        settings = self._replica.settings
        if self._taken >= max(1, settings.max_ongoing_requests // 2):
            raise Overloaded(settings.overload_status, settings.retry_after_s)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A stream that is open for the length of a block."""
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
