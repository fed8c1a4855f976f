"""One pass over all rows of a table, on as many machines as there are, that keeps a bounded sample and what identifies the rest.

Each task keeps the rows with the smallest random keys (Vitter's reservoir, as a bottom-k sample: samples of shards merge exactly)
and the last rows in order, so memory does not grow with the data. Rows never leave the task that reads them, which is why Ray
Data carries the pieces and not the rows: through its object store they would be in memory twice.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from train.table import reader as chunks
from train.table import values
from train.table.reader import Chunk, Piece
from train.table.schema import Columns
from train.table.transform import parse
from vigil.arrays import Floats
from vigil.errors import DataError

REMOTE_BYTES = 256 * 2**20  # smaller tables are read faster than tasks start
STRIDE = 2**40  # of row indices from piece to piece


@dataclass(frozen=True)
class Plan:
    """What every task is told. most: rows to keep of each kind; over_time: the transform as text; cut: keep keys below it."""

    columns: Columns
    most: int
    seed: int = 0
    over_time: str = ""
    allow_missing: bool = False
    cut: float = 1.0


@dataclass
class Kept:
    """Rows [n, d] with their labels and index in the whole table."""

    index: NDArray[np.int64]
    X: Floats
    labels: NDArray[np.int64] | None

    def take(self, rows: Any) -> Kept:
        return Kept(
            self.index[rows],
            np.ascontiguousarray(self.X[rows]),
            None if self.labels is None else self.labels[rows],
        )


def join(parts: Sequence[Kept]) -> Kept:
    """Rows of all parts, one after the other."""
    labels = [part.labels for part in parts]
    some = (
        None
        if any(one is None for one in labels)
        else np.concatenate([one for one in labels if one is not None])
    )
    return Kept(
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.X for part in parts]),
        some,
    )


@dataclass
class Shard:
    """What one pass over some pieces found. sample, keys: the rows with the smallest keys; tail: the last rows, in order.

    span: first and last time by entity; digests: sha256 by column, one for each piece
    extremes: [2, 2, d], of normal and of anomalous rows the smallest and the largest value of each column, where there are labels
    """

    names: tuple[str, ...]
    ordered: bool
    rows: int
    sample: Kept
    keys: Floats
    tail: Kept
    digests: dict[str, list[str]]
    span: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    test: Kept | None = None
    extremes: Floats | None = None


def scan(
    pieces: Sequence[Piece],
    plan: Plan,
    *,
    tasks: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Shard:
    """All pieces together; on Ray, where it runs and the table is large. `progress` is told the rows that were read.

    Raises DataError for rows that cannot be learnt from.
    """
    known = [piece.rows for piece in pieces if piece.rows is not None]
    if len(known) == len(pieces) and sum(known) > plan.most:
        # So many keys are almost surely enough, and a shard need not return `most` rows.
        plan = replace(plan, cut=min(1.0, (plan.most + 6 * plan.most**0.5) / sum(known)))
    found: Iterable[Shard]
    if (
        len(pieces) > 1
        and ray.is_initialized()
        and sum(file.size for file in {piece.file for piece in pieces}) > REMOTE_BYTES
    ):
        found = _on_ray(pieces, plan, tasks)
    else:
        found = (
            scan_piece(piece, i, plan, _wanted_tail(pieces, i, plan))
            for i, piece in enumerate(pieces)
        )
    whole = None
    for piece, shard in zip(pieces, found, strict=True):
        whole = shard if whole is None else _merge(whole, shard, piece, plan)
        progress(whole.rows)
    assert whole is not None
    order = np.argsort(whole.sample.index)
    return replace(whole, sample=whole.sample.take(order), keys=whole.keys[order])


def _wanted_tail(pieces: Sequence[Piece], i: int, plan: Plan) -> int:
    """How many of the last rows of a piece can be among the last of all."""
    after = sum(piece.rows or 0 for piece in pieces[i + 1 :])
    return max(0, plan.most - after)


def _on_ray(pieces: Sequence[Piece], plan: Plan, tasks: int) -> Iterator[Shard]:
    """In the order of the pieces, each in a task that Ray tries again elsewhere when its worker dies."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    items = [{"i": i, "tail": _wanted_tail(pieces, i, plan)} for i in range(len(pieces))]
    made = ray.data.from_items(items, override_num_blocks=len(items)).map(
        partial(_task, list(pieces), plan), num_cpus=1, concurrency=tasks
    )
    for row in made.iter_rows():
        found = pickle.loads(row["found"])  # noqa: S301  # from our own task
        if isinstance(found, DataError):
            raise found
        yield found


def _task(pieces: list[Piece], plan: Plan, row: dict[str, Any]) -> dict[str, bytes]:
    try:
        found: Any = scan_piece(pieces[row["i"]], row["i"], plan, row["tail"])
    except DataError as error:  # not a failure of the task: trying again would not help
        found = error
    return {"found": pickle.dumps(found)}


def scan_piece(piece: Piece, number: int, plan: Plan, tail: int) -> Shard:
    """Read one piece, keeping at most `plan.most` random rows and its last `tail` rows."""
    keeper: _Keeper | None = None
    for chunk in chunks.read(piece, plan.columns, allow_missing=plan.allow_missing):
        if keeper is None:
            keeper = _Keeper(chunk, piece, number, plan, tail)
        keeper.add(chunk)
    if keeper is None:
        raise DataError(f"{piece.file.path} has 0 rows")
    return keeper.shard()


class _Keeper:
    """Gathers the chunks of one piece."""

    def __init__(self, first: Chunk, piece: Piece, number: int, plan: Plan, tail: int) -> None:
        self._piece, self._number, self._plan, self._most_tail = piece, number, plan, tail
        self._rng = np.random.default_rng([plan.seed, number])
        self._raw, self._ordered = first.names, first.ordered
        self._transform = parse(plan.over_time, first.names) if plan.over_time else None
        self.names = self._transform.outputs if self._transform else first.names
        d = len(self.names)
        none = Kept(
            np.empty(0, np.int64),
            np.empty((0, d)),
            None if first.labels is None else np.empty(0, np.int64),
        )
        self._samples, self._keys, self._tails, self._tests = (
            [none],
            [np.empty(0)],
            [none],
            [none][:0],
        )
        self._cut, self.rows = plan.cut, 0
        self._hashes = {
            name: hashlib.sha256()
            for name in (*first.names, *(("label",) if first.labels is not None else ()))
        }
        self._extremes = (
            None
            if first.labels is None
            else np.full((2, 2, len(first.names)), [[np.inf], [-np.inf]])
        )
        self._past: dict[str, Floats] = {}
        self._span: dict[str, tuple[Any, Any]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take in the rows that follow."""
        if chunk.part == "test":
            self._tests.append(
                Kept(np.arange(len(chunk.X)), self._over_time(chunk)[0], chunk.labels)
            )
            return
        for j, name in enumerate(self._raw):
            self._hashes[name].update(np.ascontiguousarray(chunk.X[:, j]).data)
        if chunk.labels is not None:
            self._hashes["label"].update(np.ascontiguousarray(chunk.labels).data)
            assert self._extremes is not None
            for label in (0, 1):
                rows = chunk.X[chunk.labels == label]
                if len(rows):
                    self._extremes[label] = _wider(
                        self._extremes[label], np.stack([rows.min(axis=0), rows.max(axis=0)])
                    )
        if chunk.times is not None:
            self._check_times(chunk)
        X, complete = self._over_time(chunk)
        index = self._number * STRIDE + self.rows + np.arange(len(X))
        self.rows += len(X)
        rows = (
            Kept(index, X, chunk.labels).take(complete)
            if not complete.all()
            else Kept(index, X, chunk.labels)
        )
        self._sample(rows)
        if self._most_tail:
            self._tails.append(rows.take(slice(max(0, len(rows.X) - self._most_tail), None)))
            if sum(len(part.X) for part in self._tails) > 2 * self._most_tail:
                self._tails = [_last(join(self._tails), self._most_tail)]

    def _sample(self, rows: Kept) -> None:
        keys = self._rng.random(len(rows.X))
        chosen = keys < self._cut
        self._samples.append(rows.take(chosen))
        self._keys.append(keys[chosen])
        if sum(map(len, self._keys)) > 2 * self._plan.most:
            sample, kept = _smallest(
                join(self._samples), np.concatenate(self._keys), self._plan.most
            )
            self._samples, self._keys, self._cut = [sample], [kept], float(kept.max())

    def _over_time(self, chunk: Chunk) -> tuple[Floats, NDArray[np.bool_]]:
        """The model's rows, and which of them have all the earlier rows that they need: only these are learnt from.

        Test rows follow the training rows, and all of them count.
        """
        if self._transform is None:
            return chunk.X, np.ones(len(chunk.X), bool)
        made, complete = np.empty((len(chunk.X), len(self.names))), np.ones(len(chunk.X), bool)
        for entity, rows in _by_entity(chunk):
            past = self._past.get(entity, np.empty((0, len(self._raw))))
            made[rows] = self._transform.apply(chunk.X[rows], past)
            complete[rows] = np.arange(len(rows)) + len(past) >= self._transform.length
            self._past[entity] = np.concatenate([past, chunk.X[rows]])[
                -max(self._transform.length, 1) :
            ]
        return made, complete

    def _check_times(self, chunk: Chunk) -> None:
        assert chunk.times is not None
        for entity, rows in _by_entity(chunk):
            times = chunk.times[rows]
            before = self._span.get(entity, (times[0], None))[1]
            steps = np.diff(times) <= 0
            wrong = (
                0
                if before is not None and times[0] <= before
                else int(np.argmax(steps)) + 1
                if steps.any()
                else None
            )
            if wrong is not None:
                last = before if wrong == 0 else times[wrong - 1]
                _refuse_time(
                    values.where(self._piece.file, chunk.first + int(rows[wrong])),
                    times[wrong] == last,
                    entity,
                )
            self._span[entity] = (self._span.get(entity, (times[0],))[0], times[-1])

    def shard(self) -> Shard:
        """All that was found."""
        digests = {name: [whole.hexdigest()] for name, whole in self._hashes.items()}
        sample, keys = _smallest(join(self._samples), np.concatenate(self._keys), self._plan.most)
        tail = _last(join(self._tails), self._most_tail)
        test = join(self._tests) if self._tests else None
        return Shard(
            self.names,
            self._ordered,
            self.rows,
            sample,
            keys,
            tail,
            digests,
            self._span,
            test,
            self._extremes,
        )


def _wider(one: Floats, other: Floats) -> Floats:
    """Extremes [.., 2, d] over both."""
    return np.stack(
        [np.fmin(one[..., 0, :], other[..., 0, :]), np.fmax(one[..., 1, :], other[..., 1, :])],
        axis=-2,
    )


def _by_entity(chunk: Chunk) -> list[tuple[str, NDArray[np.intp]]]:
    """The rows of each entity, in their order."""
    if chunk.entities is None:
        return [("", np.arange(len(chunk.X)))] if len(chunk.X) else []
    entities, which = np.unique(chunk.entities, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which))
    return [
        (str(entity), part)
        for entity, part in zip(entities, np.split(order, ends[:-1]), strict=True)
    ]


def _refuse_time(place: str, same: bool, entity: str) -> None:
    of = f" of {entity!r}" if entity else ""
    what = (
        f"has the time of the row{of} before it"
        if same
        else f"is earlier than the row{of} before it"
    )
    raise DataError(
        f"{place} {what}: sort the table by time and drop duplicates (or name whose rows they are with --entity)"
    )


def _smallest(rows: Kept, keys: Floats, most: int) -> tuple[Kept, Floats]:
    if len(keys) <= most:
        return rows, keys
    chosen = np.argpartition(keys, most - 1)[:most]
    return rows.take(chosen), keys[chosen]


def _last(rows: Kept, most: int) -> Kept:
    return rows.take(slice(max(0, len(rows.X) - most), None))


def _merge(one: Shard, other: Shard, piece: Piece, plan: Plan) -> Shard:
    """`other` follows `one`."""
    if one.names != other.names:
        odd = (
            ", ".join(sorted(set(one.names) ^ set(other.names)))
            or "their order: say which one with --columns"
        )
        raise DataError(
            f"{piece.file.path} has not the columns of the files before it: they differ in {odd}"
        )
    if (one.sample.labels is None) != (other.sample.labels is None):
        raise DataError(
            f"{piece.file.path} has labels and files before it have none, or the other way round"
        )
    for entity, (first, last) in other.span.items():
        before = one.span.get(entity)
        if before is not None and first <= before[1]:
            _refuse_time(f"{piece.file.path}, row {piece.first + 1}", first == before[1], entity)
        one.span[entity] = (before[0] if before else first, last)
    sample, keys = _smallest(
        join([one.sample, other.sample]), np.concatenate([one.keys, other.keys]), plan.most
    )
    digests = {name: [*found, *other.digests.get(name, [])] for name, found in one.digests.items()}
    tests = [part for part in (one.test, other.test) if part is not None]
    return Shard(
        one.names,
        one.ordered and other.ordered,
        one.rows + other.rows,
        sample,
        keys,
        _last(join([one.tail, other.tail]), plan.most),
        digests,
        one.span,
        join(tests) if tests else None,
        None
        if one.extremes is None or other.extremes is None
        else _wider(one.extremes, other.extremes),
    )
