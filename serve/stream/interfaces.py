"""What a source and a sink of a stream are to the consumer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from serve.stream.records import Id, RecordBatch, Refusals, Result


class Source(Protocol):
    """An ordered log in shards. Positions are opaque strings; None is the beginning."""

    def output_name(self, shard: str) -> str:
        """The name under which the results of a shard go: no other shard has it."""
        ...

    def shards(self, finished: set[str]) -> list[str]:
        """The shards that may be read now: a child of a resharding only once its parents are
        among the `finished`."""
        ...

    def read(
        self,
        shard: str,
        position: str | None,
        max_records: int,
    ) -> RecordBatch:
        """At most `max_records` records from `position` on; no record is no error.

        Raises StreamError.
        """
        ...


class Sink(Protocol):
    """Where results go. `state` is what the checkpoint keeps for it; with it `recover` finds what
    was written since."""

    name: str

    def recover(
        self,
        shard: str,
        state: Any,
    ) -> Iterable[Id]:
        """Make the output of this shard ready for writing; return the ids in it: all since
        `state`, and recent ones."""
        ...

    def write(
        self,
        shard: str,
        results: list[Result],
    ) -> Refusals:
        """Take the results; return those that the sink refuses for good, with the reason."""
        ...

    def flush(self, shard: str) -> Any:
        """Make all that was written durable; return the state for the checkpoint.

        Raises ShardLeaseLost.
        """
        ...

    def close(self, shard: str) -> None:
        """Drop what is not flushed: another consumer may have the shard."""
        ...
