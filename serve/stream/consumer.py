"""The stream consumer: read, score, write, then checkpoint. At least once in, each id once out.

A crash between the sink and the checkpoint has the records since the checkpoint read again; what the output already holds
of them is known from the output itself (`Sink.recover`) and skipped. Order is kept within a shard.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.metrics import StreamMetrics
from serve.model.context import EntityHistory
from serve.settings import ServeSettings
from serve.stream.file_log import DeadLetters
from serve.stream.leases import Checkpoint, ShardLeases
from serve.stream.records import (
    DeadLetter,
    Good,
    Id,
    Raw,
    RecentIds,
    RecordBatch,
    Result,
    ShardLeaseLost,
    Sink,
    Source,
    dead_letter,
    decode,
)
from serve.stream.scorer import Busy, Patience, Refused, Scorer
from vigil.arrays import Floats

log = logging.getLogger("vigil.stream")


@dataclass
class _Shard:
    """A shard that is ours, and how far it is."""

    name: str
    checkpoint: Checkpoint
    position: str | None
    seen: dict[str, RecentIds]
    history: EntityHistory | None
    saved: float
    changed: bool = False
    ended: bool = False
    patience: Patience = field(default_factory=Patience)


class OtherModel(Exception):
    """The model has other features than when the batch was decoded."""


class Consumer:
    """Reads the shards that its leases give it, in turn. `history` makes one for each shard."""

    def __init__(
        self,
        source: Source,
        scorer: Scorer,
        sinks: list[Sink],
        dead: DeadLetters,
        leases: ShardLeases,
        settings: ServeSettings,
        metrics: StreamMetrics | None = None,
        history: Callable[[], EntityHistory] | None = None,
    ) -> None:
        self._source, self._scorer, self._sinks, self._dead, self._leases = (
            source,
            scorer,
            sinks,
            dead,
            leases,
        )
        self._settings, self._history = settings, history
        self.metrics = metrics or StreamMetrics()
        self.counts = {"scored": 0, "duplicate": 0, "dead": 0}
        self._names: tuple[str, ...] = ()
        self._shards: dict[str, _Shard] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have `run` save its checkpoints and return; safe in a signal handler."""
        self._stop.set()

    def run(self, *, until_end: bool = False) -> dict[str, int]:
        """Consume until `stop`, or until all that is there is read; return the records by outcome."""
        shared = -math.inf
        try:
            while not self._stop.is_set():
                if time.monotonic() > shared + self._settings.stream_share_s:
                    try:
                        self._share()
                    except (OSError, Busy, ShardLeaseLost) as error:
                        log.warning("shards cannot be shared out now: %s", error)
                    shared = time.monotonic()
                moved = [self._turn(shard) for shard in list(self._shards.values())]
                if not any(moved):
                    if any(shard.ended for shard in self._shards.values()):
                        shared = -math.inf  # its children may be read now
                        self._retire()
                    elif until_end:
                        break
                    else:
                        self._wait(self._settings.stream_idle_s)
        finally:
            for name in list(self._shards):
                self._give_up(name)
            self._leases.close()
            self._scorer.close()
        return self.counts

    def _share(self) -> None:
        """Take shards that are free, up to a fair part of them; give back what is more than that."""
        finished = self._leases.finished()
        readable = [name for name in self._source.shards(finished) if name not in finished]
        fair = math.ceil(len(readable) / self._leases.consumers())
        for name in list(self._shards)[fair:]:
            self._give_up(name)
        for name in readable:
            if len(self._shards) >= fair:
                break
            if name not in self._shards and (checkpoint := self._leases.acquire(name)) is not None:
                try:
                    self._open(name, checkpoint)
                except BaseException:
                    self._leases.release(name)
                    raise
        self.metrics.shards.set(len(self._shards))

    def _open(self, name: str, checkpoint: Checkpoint) -> None:
        seen: dict[str, RecentIds] = {}
        for sink in self._sinks:
            seen[sink.name] = RecentIds(self._settings.stream_remember)
            seen[sink.name].add(sink.recover(name, checkpoint.states.get(sink.name)))
        self._dead.recover(name, checkpoint.states.get("dead"))
        if not checkpoint.states:  # from the first write on there must be something to recover by
            checkpoint = replace(checkpoint, states=self._flush(name))
            self._leases.save(name, checkpoint)
        history = self._history() if self._history else None
        if history:
            history.restore(checkpoint.history)
        shard = _Shard(
            name,
            checkpoint,
            checkpoint.position,
            seen,
            history,
            time.monotonic(),
            ended=checkpoint.ended,
        )
        shard.patience = Patience(self._wait)
        self._shards[name] = shard
        self.metrics.checkpoint_age.labels(name).set_function(
            lambda: time.monotonic() - shard.saved
        )

    def _turn(self, shard: _Shard) -> bool:
        """Read and score one batch; whether there was one. A fault takes the shard back to its checkpoint, after a pause."""
        try:
            self._leases.renew()
            moved = not shard.ended and self._batch(shard)
            if shard.changed and (
                not moved or time.monotonic() > shard.saved + self._settings.stream_checkpoint_s
            ):
                self._save(shard)
            if moved:
                shard.patience.reset()
            return moved
        except ShardLeaseLost as error:
            log.warning("%s", error)
            self._forget(shard.name)
            return False
        except OtherModel:
            self._reopen(shard)
            return True
        except (OSError, Busy) as error:
            log.warning("%s: %s; going on from its checkpoint", shard.name, error)
            self.metrics.failures.labels(type(error).__name__).inc()
            shard.patience.pause()
            self._reopen(shard)
            return True

    def _reopen(self, shard: _Shard) -> None:
        try:
            self._open(shard.name, shard.checkpoint)
            self._shards[shard.name].patience = shard.patience
        except (
            OSError,
            Busy,
        ) as error:  # the next turn tries again: what cannot be recovered must not be written to
            log.warning("%s: %s", shard.name, error)
            self._forget(shard.name)
            self._leases.release(shard.name)

    def _batch(self, shard: _Shard) -> bool:
        began = time.monotonic()
        batch = self._source.read(shard.name, shard.position, self._settings.stream_batch)
        self.metrics.lag.labels(shard.name).set(batch.lag)
        done = self._scored(shard, batch)
        if done is None:
            return False
        results, dead, again = done
        for sink in self._sinks:
            fresh = [result for result in results if result.id not in shard.seen[sink.name]]
            refused = sink.write(shard.name, fresh) if fresh else []
            shard.seen[sink.name].add(result.id for result in fresh)
            dead += [_refusal(result, why, sink.name, shard.name, batch) for result, why in refused]
        self._count(scored=len(results), duplicate=again, dead=self._dead.write(shard.name, dead))
        shard.changed |= batch.position != shard.position or batch.ended
        moved = bool(batch.records) or batch.position != shard.position
        shard.position, shard.ended = batch.position, batch.ended
        if batch.records:
            self.metrics.batch.observe(time.monotonic() - began)
        return moved

    def _scored(
        self, shard: _Shard, batch: RecordBatch
    ) -> tuple[list[Result], list[DeadLetter], int] | None:
        """Results, dead letters, and how many records came again; None when `stop` came first."""
        if not batch.records:
            return [], [], 0
        if not self._names and not self._ask(self._learn):
            return None
        good, dead = decode(batch.records, self._names, shard.name)
        fresh, again = _unseen(good, list(shard.seen.values()))
        # What is read again passes the history too: the rows behind it need the same past.
        X = shard.history.apply(good.entities, good.X) if shard.history else good.X
        results: list[Result] = []
        for part in self._parts(good, X, fresh):
            if part is None:
                return None
            results += part[0]
            dead += [dead_letter(raw, shard.name, why) for raw, why in part[1]]
        return results, dead, again

    def _parts(
        self, good: Good, X: Floats, which: NDArray[np.intp]
    ) -> Iterator[tuple[list[Result], list[tuple[Raw, str]]] | None]:
        """Scores of the rows `which`. A batch that is refused is halved until the refused records stand alone."""
        if not len(which):
            return
        try:
            scored = self._ask(lambda: self._scorer.score(X[which]))
        except Refused as error:
            known = self._names
            if not self._ask(self._learn):
                yield None
            elif self._names != known:
                raise OtherModel from error
            elif len(which) == 1:
                yield [], [(good.raw[which[0]], error.message)]
            else:
                yield from self._parts(good, X, which[: len(which) // 2])
                yield from self._parts(good, X, which[len(which) // 2 :])
            return
        if scored is None:
            yield None
            return
        columns = zip(which, scored.scores.tolist(), scored.predictions.tolist(), strict=True)
        yield [Result(good.ids[i], score, label, scored.version) for i, score, label in columns], []

    def _learn(self) -> bool:
        self._names = self._scorer.names()
        return True

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The service's answer, however long it is busy; None when `stop` came first."""
        patience = Patience(self._wait)
        while not self._stop.is_set():
            try:
                return question()
            except Busy as error:
                log.warning("%s", error)
                self.metrics.busy.inc()
                patience.pause(error.retry_after)
        return None

    def _wait(self, seconds: float) -> None:
        """Sleep, but keep the leases and wake for `stop`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, 1.0)):
            self._leases.renew()

    def _save(self, shard: _Shard) -> None:
        """Sinks first, then the checkpoint: what it says is done is done."""
        past = shard.history.state() if shard.history else None
        checkpoint = Checkpoint(shard.position, shard.ended, self._flush(shard.name), past)
        self._leases.save(shard.name, checkpoint)
        shard.checkpoint, shard.saved, shard.changed = checkpoint, time.monotonic(), False

    def _flush(self, name: str) -> dict[str, Any]:
        return {sink.name: sink.flush(name) for sink in self._sinks} | {
            "dead": self._dead.flush(name)
        }

    def _retire(self) -> None:
        for shard in [
            shard for shard in self._shards.values() if shard.ended and not shard.changed
        ]:
            self._give_up(shard.name)

    def _give_up(self, name: str) -> None:
        shard = self._shards[name]
        try:
            if shard.changed:
                self._save(shard)
        except (OSError, Busy, ShardLeaseLost) as error:
            log.warning("%s: no last checkpoint: %s", name, error)
        self._forget(name)
        self._leases.release(name)

    def _forget(self, name: str) -> None:
        for output in (*self._sinks, self._dead):
            output.close(name)
        if self._shards.pop(name, None):
            self.metrics.forget(name)

    def _count(self, **outcomes: int) -> None:
        for outcome, n in outcomes.items():
            self.counts[outcome] += n
            self.metrics.records.labels(outcome).inc(n)


def _unseen(good: Good, seen: list[RecentIds]) -> tuple[NDArray[np.intp], int]:
    """The records that some sink has not had yet, each id once, and how many are left out."""
    batch: set[Id] = set()
    kept: list[int] = []
    for i, key in enumerate(good.ids):
        if key not in batch and not all(key in known for known in seen):
            batch.add(key)
            kept.append(i)
    return np.array(kept, np.intp), len(good.ids) - len(kept)


def _refusal(result: Result, why: str, sink: str, shard: str, batch: RecordBatch) -> DeadLetter:
    raw = next(
        (raw for raw in batch.records if (b'"%s"' % str(result.id).encode()) in raw.data),
        Raw(batch.position, b""),
    )
    letter = dead_letter(raw, shard, f"{sink}: {why}")
    letter.id = result.id
    return letter
