"""The stream consumer: read, score, write, then checkpoint. At least once in, each id once out.

A crash between the sink and the checkpoint has the records since the checkpoint read again; what
the output already holds of them is known from the output itself (`Sink.recover`) and skipped.
Order is kept within a shard.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from serve.metrics import StreamMetrics
from serve.model.context_limits import ContextLimits
from serve.settings import ServeSettings
from serve.stream.batch import (
    BatchOutcome,
    BatchScorer,
    ConsumerStopped,
    ModelChanged,
    refusal_letter,
)
from serve.stream.context import ShardContext
from serve.stream.file_log import DeadLetters
from serve.stream.interfaces import Sink, Source
from serve.stream.leases import Checkpoint, ShardLeases
from serve.stream.records import RecordBatch, ShardLeaseLost
from serve.stream.scorer import Backoff, Busy, Scorer
from serve.stream.shard import Outputs, OwnedShard

log = logging.getLogger("vigil.stream")
_TORN = (
    "%s: the last %d bytes are no whole record and have no newline: they are read once they have "
    "one"
)
RENEW_INTERVAL_S = 1.0  # of the leases, while the consumer waits


class Consumer:
    """Reads the shards that its leases give it, in turn.

    `wait` sleeps where the service is busy or a shard fails.
    """

    def __init__(
        self,
        source: Source,
        scorer: Scorer,
        sinks: Sequence[Sink],
        *,
        dead_letters: DeadLetters,
        leases: ShardLeases,
        settings: ServeSettings,
        metrics: StreamMetrics | None = None,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self.metrics = metrics or StreamMetrics()
        self.counts = {"scored": 0, "duplicate": 0, "dead": 0}
        self.shards: dict[str, OwnedShard] = {}
        self._source = source
        self._scorer = scorer
        self._outputs = Outputs(sinks, dead_letters)
        self._leases = leases
        self._settings = settings
        self._stopped = threading.Event()
        self._wait = wait or self._wait_with_leases
        self._batches = BatchScorer(
            scorer,
            self.metrics,
            self._stopped,
            wait=self._wait,
            max_rows=settings.stream_batch,
        )
        self._share_at = -math.inf  # monotonic

    def stop(self) -> None:
        """Have `run` save its checkpoints and return; safe in a signal handler."""
        self._stopped.set()

    def run(self, *, until_end: bool = False) -> dict[str, int]:
        """Consume until `stop`, or until all that is there is read.

        Returns the records by outcome: scored, duplicate or dead.
        """
        try:
            self._consume(until_end)
        finally:
            self._close()
        return self.counts

    def _close(self) -> None:
        self._give_up_all()
        self._leases.close()
        self._scorer.close()

    def _give_up_all(self) -> None:
        for name in list(self.shards):
            self._give_up(name)

    def _consume(self, until_end: bool) -> None:
        while not self._stopped.is_set():
            self._share_when_due()
            if self._take_turns():
                continue
            if any(shard.is_ended for shard in self.shards.values()):
                self._share_at = -math.inf  # its children may be read now
                self._retire_ended()
            elif until_end:
                self._warn_of_torn_records()
                return
            else:
                self._wait_with_leases(self._settings.stream_idle_s)

    def _take_turns(self) -> bool:
        """One turn for each shard; whether any of them had something to do."""
        has_moved = [self.take_turn(shard) for shard in list(self.shards.values())]
        return any(has_moved)

    def _warn_of_torn_records(self) -> None:
        for shard in self.shards.values():
            if shard.torn:
                log.warning(_TORN, shard.name, shard.torn)

    def _share_when_due(self) -> None:
        if time.monotonic() > self._share_at:
            self._try_to_share()
            interval_s = self._settings.stream_share_s
            self._share_at = time.monotonic() + interval_s

    def _try_to_share(self) -> None:
        try:
            self.share_shards()
        except (OSError, Busy, ShardLeaseLost) as error:
            log.warning("shards cannot be shared out now: %s", error)

    def share_shards(self) -> None:
        """Take shards that are free, up to a fair part of them; give back what is more."""
        readable = self._readable_shards()
        consumers = self._leases.consumers()
        fair_share = math.ceil(len(readable) / consumers)
        self._give_up_renamed()
        for name in list(self.shards)[fair_share:]:
            self._give_up(name)
        for name in readable:
            if len(self.shards) >= fair_share:
                break
            self._acquire(name)
        self.metrics.shards.set(len(self.shards))

    def _readable_shards(self) -> list[str]:
        finished = self._leases.finished()
        return [name for name in self._source.shards(finished) if name not in finished]

    def _give_up_renamed(self) -> None:
        """Give up shards of which a new file has the name that their results have gone by."""
        for shard in filter(self._is_renamed, list(self.shards.values())):
            self._give_up(shard.name)

    def _is_renamed(self, shard: OwnedShard) -> bool:
        name = self._source.output_name(shard.name)
        return shard.output_name != name

    def _acquire(self, name: str) -> None:
        if name in self.shards:
            return
        checkpoint = self._leases.acquire(name)
        if checkpoint is None:
            return
        try:
            self._open(name, checkpoint, Backoff(self._wait))
        except BaseException:
            output_name = self._source.output_name(name)
            self._outputs.close(output_name)
            self._leases.release(name)
            raise

    def _open(
        self,
        name: str,
        checkpoint: Checkpoint,
        backoff: Backoff,
    ) -> None:
        max_ids = self._settings.stream_remember
        output_name = self._source.output_name(name)
        recent_ids = self._outputs.recover(output_name, checkpoint.states, max_ids)
        if not checkpoint.states:  # from the first write on there must be something to recover by
            states = self._outputs.flush(output_name)
            checkpoint = replace(checkpoint, states=states)
            self._leases.save(name, checkpoint)
        shard = OwnedShard(
            name,
            output_name,
            checkpoint,
            recent_ids=recent_ids,
            context=self._restored_context(checkpoint),
            backoff=backoff,
            position=checkpoint.position,
            is_ended=checkpoint.ended,
            saved_at=time.monotonic(),
        )
        self.shards[name] = shard
        age = self.metrics.checkpoint_age.labels(name)
        age.set_function(shard.age)

    def _restored_context(self, checkpoint: Checkpoint) -> ShardContext:
        limits = ContextLimits.of(self._settings)
        return ShardContext(limits, checkpoint.history)

    def take_turn(self, shard: OwnedShard) -> bool:
        """Read and score one batch; whether there was one.

        A fault takes the shard back to its checkpoint, after a pause.
        """
        try:
            return self._advance(shard)
        except ShardLeaseLost as error:
            log.warning("%s", error)
            self._forget(shard.name)
            return False
        except ModelChanged:
            self._reopen(shard)
            return True
        except (OSError, Busy) as error:
            log.warning("%s: %s; going on from its checkpoint", shard.name, error)
            kind = type(error).__name__
            self.metrics.failures.labels(kind).inc()
            shard.backoff.pause()
            self._reopen(shard)
            return True

    def _advance(self, shard: OwnedShard) -> bool:
        self._leases.renew()
        has_moved = not shard.is_ended and self._score_batch(shard)
        is_idle = shard.has_changed and not has_moved
        interval_s = self._settings.stream_checkpoint_s
        if is_idle or shard.is_checkpoint_due(interval_s):
            self._save(shard)
        if has_moved:
            shard.backoff.reset()
        return has_moved

    def _score_batch(self, shard: OwnedShard) -> bool:
        began = time.monotonic()
        batch = self._read(shard)
        try:
            outcome = self._batches.score(batch, shard)
        except ConsumerStopped:
            return False
        self._write(shard, outcome)
        self._count_context(shard)
        has_new_position = shard.advance(batch)
        if batch.records:
            seconds = time.monotonic() - began
            self.metrics.batch.observe(seconds)
        return bool(batch.records) or has_new_position

    def _count_context(self, shard: OwnedShard) -> None:
        entities = sum(owned.context.entities for owned in self.shards.values())
        self.metrics.context.entities.set(entities)
        self.metrics.context.add(shard.context.take_counts())

    def _read(self, shard: OwnedShard) -> RecordBatch:
        max_records = self._settings.stream_batch
        batch = self._source.read(shard.name, shard.position, max_records)
        self._set_lag(shard.name, batch.lag)
        return batch

    def _set_lag(self, name: str, lag: float) -> None:
        self.metrics.lag.labels(name).set(lag)

    def _write(self, shard: OwnedShard, outcome: BatchOutcome) -> None:
        letters = outcome.dead_letters
        for refused in self._outputs.write(shard, outcome.results):
            letter = refusal_letter(refused, shard.name, outcome)
            letters.append(letter)
        buried = self._outputs.bury(shard, letters)
        self._count("scored", len(outcome.results))
        self._count("duplicate", outcome.duplicates)
        self._count("dead", buried)

    def _count(self, outcome: str, records: int) -> None:
        self.counts[outcome] += records
        self.metrics.records.labels(outcome).inc(records)

    def _save(self, shard: OwnedShard) -> None:
        """Sinks first, then the checkpoint: what it says is done is done."""
        began = time.monotonic()
        states = self._outputs.flush(shard.output_name)
        checkpoint = shard.checkpoint_with(states)
        self._leases.save(shard.name, checkpoint)
        shard.note_saved(checkpoint, began)

    def _reopen(self, shard: OwnedShard) -> None:
        try:
            self._open(shard.name, shard.checkpoint, shard.backoff)
        except (OSError, Busy) as error:
            # The next turn tries again: what cannot be recovered must not be written to.
            log.warning("%s: %s", shard.name, error)
            self._forget(shard.name)
            self._leases.release(shard.name)

    def _retire_ended(self) -> None:
        for shard in list(self.shards.values()):
            if shard.is_finished:
                self._give_up(shard.name)

    def _give_up(self, name: str) -> None:
        self._save_last(self.shards[name])
        self._forget(name)
        self._leases.release(name)

    def _save_last(self, shard: OwnedShard) -> None:
        if not shard.has_changed:
            return
        try:
            self._save(shard)
        except (OSError, Busy, ShardLeaseLost) as error:
            log.warning("%s: no last checkpoint: %s", shard.name, error)

    def _forget(self, name: str) -> None:
        shard = self.shards.pop(name, None)
        if shard is not None:
            self._outputs.close(shard.output_name)
            self.metrics.forget(name)

    def _wait_with_leases(self, seconds: float) -> None:
        """Sleep, but keep the leases and wake for `stop`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            pause = min(left, RENEW_INTERVAL_S)
            if self._stopped.wait(pause):
                return
            self._leases.renew()
