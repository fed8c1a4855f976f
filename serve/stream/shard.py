"""A shard while this consumer has it, and the outputs that its records go to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from serve.stream.context import ShardContext
from serve.stream.file_log import DeadLetters
from serve.stream.interfaces import Sink
from serve.stream.leases import Checkpoint
from serve.stream.recent_ids import RecentIds
from serve.stream.records import DeadLetter, RecordBatch, Result
from serve.stream.scorer import Backoff

SAVING_SHARE = 10  # so many times as long as a checkpoint takes the next one waits
DEAD_LETTERS = "dead"  # the name of the dead letters' state in a checkpoint


@dataclass
class OwnedShard:
    """A shard that is ours, and how far it is. `recent_ids` are those that each sink has."""

    name: str
    output_name: str  # under which its results go
    checkpoint: Checkpoint
    recent_ids: dict[str, RecentIds]
    context: ShardContext
    backoff: Backoff
    position: str | None
    is_ended: bool
    saved_at: float  # monotonic
    has_changed: bool = False  # since the checkpoint
    torn: int = 0  # bytes of a last record that is not whole yet
    saving_s: float = 0.0  # that the last checkpoint took

    def is_checkpoint_due(self, interval_s: float) -> bool:
        """Whether it is time for one: of many entities it takes a while, and comes less often."""
        due_at = self.saved_at + max(interval_s, SAVING_SHARE * self.saving_s)
        return self.has_changed and time.monotonic() > due_at

    @property
    def is_finished(self) -> bool:
        """Whether it is read to its end, and the checkpoint says so."""
        return self.is_ended and not self.has_changed

    def advance(self, batch: RecordBatch) -> bool:
        """Go on behind the batch; whether that is another position."""
        has_new_position = batch.position != self.position
        self.has_changed |= has_new_position or batch.ended
        self.position = batch.position
        self.is_ended = batch.ended
        self.torn = batch.torn
        return has_new_position

    def age(self) -> float:
        """Seconds since the checkpoint."""
        return time.monotonic() - self.saved_at

    def checkpoint_with(self, states: dict[str, Any]) -> Checkpoint:
        """The checkpoint of where it is, with the states of the outputs."""
        history = self.context.state()
        return Checkpoint(
            self.position,
            self.is_ended,
            states,
            history=history,
        )

    def note_saved(self, checkpoint: Checkpoint, began: float) -> None:
        """Note the checkpoint whose saving `began` then (monotonic)."""
        self.checkpoint = checkpoint
        self.saved_at = time.monotonic()
        self.saving_s = self.saved_at - began
        self.has_changed = False


@dataclass(frozen=True)
class RefusedResult:
    """A result that a sink does not take."""

    result: Result
    sink: str
    reason: str

    @property
    def words(self) -> str:
        return f"{self.sink}: {self.reason}"


class Outputs:
    """All sinks of a consumer and its dead letters: recovered, flushed and closed together."""

    def __init__(
        self,
        sinks: Iterable[Sink],
        dead_letters: DeadLetters,
    ) -> None:
        self._sinks = list(sinks)
        self._dead_letters = dead_letters
        self._all: dict[str, Sink | DeadLetters] = {DEAD_LETTERS: dead_letters}
        for sink in self._sinks:
            self._all[sink.name] = sink

    def recover(
        self,
        shard: str,
        states: dict[str, Any],
        max_ids: int,
    ) -> dict[str, RecentIds]:
        """Make every output of the shard ready for writing; return the ids that each sink has.

        Shards go here by their output names.
        """
        recent_ids: dict[str, RecentIds] = {}
        for sink in self._sinks:
            state = states.get(sink.name)
            written = RecentIds(max_ids)
            written.add(sink.recover(shard, state))
            recent_ids[sink.name] = written
        state = states.get(DEAD_LETTERS)
        self._dead_letters.recover(shard, state)
        return recent_ids

    def write(
        self,
        shard: OwnedShard,
        results: list[Result],
    ) -> list[RefusedResult]:
        """Give each sink the results that it does not have; return what it refuses for good."""
        refused: list[RefusedResult] = []
        for sink in self._sinks:
            written = shard.recent_ids[sink.name]
            fresh = [result for result in results if result.id not in written]
            if fresh:
                refused += _write(sink, shard.output_name, fresh)
                written.add(result.id for result in fresh)
        return refused

    def bury(
        self,
        shard: OwnedShard,
        letters: list[DeadLetter],
    ) -> int:
        """Write the dead letters that are not there yet; return how many these were."""
        return self._dead_letters.write(shard.output_name, letters)

    def flush(self, shard: str) -> dict[str, Any]:
        """Make all that was written durable; return the states for the checkpoint."""
        return {name: output.flush(shard) for name, output in self._all.items()}

    def close(self, shard: str) -> None:
        """Drop what is not flushed: another consumer may have the shard."""
        for output in self._all.values():
            output.close(shard)


def _write(
    sink: Sink,
    shard: str,
    results: list[Result],
) -> Iterator[RefusedResult]:
    for result, reason in sink.write(shard, results):
        yield RefusedResult(result, sink.name, reason)
