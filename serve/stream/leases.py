"""Who reads which shard, and up to where: checkpoints under a lease, in files on one machine or in
DynamoDB."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from serve.stream.records import ShardLeaseLost
from vigil.home import write_json
from vigil.locks import HeldLock, try_lock

MAX_CONTEXT_BYTES = 300_000  # of a checkpoint in DynamoDB, whose items end at 400 KB
_SEEN = "#c = :c"
_NEW_OR_SEEN = f"attribute_not_exists(#c) OR {_SEEN}"


@dataclass
class Checkpoint:
    """All before `position` is scored and safe in every sink. `states` are the sinks' own, by
    their names."""

    position: str | None = None
    ended: bool = False
    states: dict[str, Any] = field(default_factory=dict)
    history: Any = None


class ShardLeases(Protocol):
    """Shards are shared out: each belongs to one consumer at a time."""

    def acquire(self, shard: str) -> Checkpoint | None:
        """The checkpoint of the shard, which is ours from now on; None while another consumer has
        it."""
        ...

    def save(self, shard: str, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint. Raises ShardLeaseLost when the shard is no longer ours."""
        ...

    def release(self, shard: str) -> None:
        """Let another consumer have the shard."""
        ...

    def renew(self) -> None:
        """Say that this consumer lives; call it several times within the length of a lease."""
        ...

    def finished(self) -> set[str]:
        """The shards that are read to their end."""
        ...

    def consumers(self) -> int:
        """How many consumers live, this one included."""
        ...

    def close(self) -> None:
        """This consumer is gone; its shards are released before."""
        ...


class FileLeases:
    """Leases of one machine: a file lock ends with its process, however that ends, and at no other
    time.

    A consumer that is stopped (SIGSTOP) therefore keeps its shards: nobody writes beside it when
    it wakes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, HeldLock] = {}
        self._consumers = folder / "consumers"
        self._consumers.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        self._own = self._consumers / name
        presence = try_lock(self._own)
        assert presence is not None  # the name is new
        self._presence = presence

    def _path(self, shard: str, suffix: str) -> Path:
        name = quote(shard, safe="")
        return self._folder / f"{name}.{suffix}"

    def acquire(self, shard: str) -> Checkpoint | None:
        lock = try_lock(self._path(shard, "lock"))
        if lock is None:
            return None
        self._held[shard] = lock
        path = self._path(shard, "checkpoint")
        return _read_checkpoint(path) if path.exists() else Checkpoint()

    def save(self, shard: str, checkpoint: Checkpoint) -> None:
        path = self._path(shard, "checkpoint")
        write_json(path, asdict(checkpoint))

    def release(self, shard: str) -> None:
        self._held.pop(shard).release()

    def renew(self) -> None:
        """Nothing to do: the lock lasts as long as the process."""

    def finished(self) -> set[str]:
        paths = self._folder.glob("*.checkpoint")
        ended = (path for path in paths if _read_checkpoint(path).ended)
        return {unquote(path.stem) for path in ended}

    def consumers(self) -> int:
        paths = set(self._consumers.iterdir()) - {self._own}
        return 1 + sum(map(_is_held, paths))

    def close(self) -> None:
        for shard in list(self._held):
            self.release(shard)
        self._own.unlink(missing_ok=True)
        self._presence.release()


def _read_checkpoint(path: Path) -> Checkpoint:
    fields = json.loads(path.read_text())
    return Checkpoint(**fields)


def _is_held(path: Path) -> bool:
    """Whether the consumer of this file lives; the file of one that does not is removed."""
    lock = try_lock(path)
    if lock is None:
        return True
    path.unlink(missing_ok=True)
    lock.release()
    return False


@dataclass(frozen=True)
class _LeaseItem:
    """A lease, or the presence of a consumer, as DynamoDB has it."""

    key: str
    owner: str
    counter: int
    checkpoint: dict[str, Any]

    @property
    def has_ended(self) -> bool:
        return self.checkpoint.get("ended", False)

    @classmethod
    def of_nobody(cls, key: str) -> _LeaseItem:
        return cls(
            key,
            "",
            0,
            checkpoint={},
        )

    @classmethod
    def read(cls, item: dict[str, Any]) -> _LeaseItem:
        checkpoint = item.get("checkpoint", {"S": "{}"})
        return cls(
            key=item["key"]["S"],
            owner=item["owner"]["S"],
            counter=int(item["counter"]["N"]),
            checkpoint=json.loads(checkpoint["S"]),
        )


@dataclass(frozen=True)
class _Sighting:
    """A counter of another consumer, and since when (monotonic) it has had this value."""

    counter: int
    since: float


class DynamoLeases:
    """Leases of a cluster: items of a DynamoDB table (partition key `key`, a string).

    No clock is compared with another: a lease is free when its counter has stood still for
    `seconds` of our own clock, and every change is conditional on the counter that we saw. Source:
    the lease table of the Kinesis Client Library.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        stream: str,
        *,
        seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._table = table
        self._stream = stream
        self._seconds = seconds
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._held: dict[str, int] = {}  # counters of our shards
        self._sightings: dict[str, _Sighting] = {}
        self._renewed_at = float("-inf")
        self._heartbeat = 0

    def acquire(self, shard: str) -> Checkpoint | None:
        key = self._key("shard", shard)
        item = self._get(key)
        if not self._is_free(item):
            return None
        try:
            self._put(key, self._id, item.counter, checkpoint=item.checkpoint)
        except ShardLeaseLost:
            return None
        self._held[shard] = item.counter + 1
        return Checkpoint(**item.checkpoint)

    def _is_free(self, item: _LeaseItem) -> bool:
        is_ours = item.owner in ("", self._id)
        return is_ours or self._is_still(item)

    def save(self, shard: str, checkpoint: Checkpoint) -> None:
        if shard not in self._held:
            raise ShardLeaseLost(f"the lease of {shard} is lost")
        fields = asdict(_without_large_context(checkpoint))
        self._change(shard, self._id, fields)

    def release(self, shard: str) -> None:
        if shard not in self._held:
            return
        try:
            self._change(shard, "")
        except ShardLeaseLost:
            return
        del self._held[shard]

    def renew(self) -> None:
        due_at = self._renewed_at + self._seconds / 5
        if self._clock() < due_at:
            return
        self._renewed_at = self._clock()
        for shard in list(self._held):
            with suppress(ShardLeaseLost):  # forgotten: the next save says so
                self._change(shard, self._id)
        self._show_presence()

    def _show_presence(self) -> None:
        self._heartbeat += 1
        key = self._presence_key()
        presence = {
            "key": {"S": key},
            "counter": {"N": str(self._heartbeat)},
            "owner": {"S": self._id},
        }
        self._client.put_item(TableName=self._table, Item=presence)

    def finished(self) -> set[str]:
        prefix = self._key("shard", "")
        items = self._items(prefix)
        keys = (item.key for item in items if item.has_ended)
        return {key.removeprefix(prefix) for key in keys}

    def consumers(self) -> int:
        items = self._items(self._key("consumer", ""))
        return 1 + sum(map(self._is_other_living, items))

    def _is_other_living(self, item: _LeaseItem) -> bool:
        """Whether the presence is that of another consumer that lives; one of a dead goes."""
        if item.owner == self._id:
            return False
        is_dead = self._is_still(item)
        if is_dead:
            self._delete(item.key)
        return not is_dead

    def close(self) -> None:
        self._delete(self._presence_key())

    def _presence_key(self) -> str:
        return self._key("consumer", self._id)

    def _key(self, kind: str, name: str) -> str:
        return f"{self._stream}#{kind}#{name}"

    def _get(self, key: str) -> _LeaseItem:
        """The lease under `key`; one of nobody where there is none yet."""
        place = self._place(key)
        answer = self._client.get_item(**place, ConsistentRead=True)
        item = answer.get("Item")
        return _LeaseItem.read(item) if item else _LeaseItem.of_nobody(key)

    def _place(self, key: str) -> dict[str, Any]:
        item = {"key": {"S": key}}
        return {"TableName": self._table, "Key": item}

    def _delete(self, key: str) -> None:
        place = self._place(key)
        self._client.delete_item(**place)

    def _items(self, prefix: str) -> list[_LeaseItem]:
        scan = self._client.get_paginator("scan")
        pages = scan.paginate(
            TableName=self._table,
            ConsistentRead=True,
            FilterExpression="begins_with(#k, :p)",
            ExpressionAttributeNames={"#k": "key"},
            ExpressionAttributeValues={":p": {"S": prefix}},
        )
        items = (item for page in pages for item in page["Items"])
        return list(map(_LeaseItem.read, items))

    def _is_still(self, item: _LeaseItem) -> bool:
        """Whether the counter has not moved for the length of a lease."""
        now = self._clock()
        sighting = self._sightings.get(item.key)
        if sighting is None or sighting.counter != item.counter:
            sighting = _Sighting(item.counter, since=now)
            self._sightings[item.key] = sighting
            return False
        return now > sighting.since + self._seconds

    def _change(
        self,
        shard: str,
        owner: str,
        checkpoint: dict[str, Any] | None = None,
    ) -> None:
        """Write our item if it is still ours, else forget it and raise ShardLeaseLost."""
        try:
            key = self._key("shard", shard)
            counter = self._held[shard]
            self._put(key, owner, counter, checkpoint=checkpoint)
        except ShardLeaseLost:
            del self._held[shard]
            raise
        self._held[shard] += 1

    def _put(
        self,
        key: str,
        owner: str,
        counter: int,
        *,
        checkpoint: dict[str, Any] | None,
    ) -> None:
        """Change the item where its counter is still `counter`; without a `checkpoint` that stays.

        Raises ShardLeaseLost where it is not.
        """
        condition = _SEEN if counter else _NEW_OR_SEEN
        change = _lease_change(owner, counter, checkpoint)
        try:
            self._client.update_item(
                **self._place(key),
                **change,
                ConditionExpression=condition,
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            raise ShardLeaseLost(f"another consumer has {key}") from error


def _without_large_context(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as it fits an item: of many entities without their context."""
    context = json.dumps(checkpoint.history)
    if len(context) <= MAX_CONTEXT_BYTES:
        return checkpoint
    return replace(checkpoint, history=None)


def _lease_change(
    owner: str,
    counter: int,
    checkpoint: dict[str, Any] | None,
) -> dict[str, Any]:
    """The arguments of an update that moves the counter on from `counter`."""
    names = {"#o": "owner", "#c": "counter"}
    values = {
        ":o": {"S": owner},
        ":n": {"N": str(counter + 1)},
        ":c": {"N": str(counter)},
    }
    change = "SET #o = :o, #c = :n"
    if checkpoint is not None:
        change += ", #p = :p"
        names["#p"] = "checkpoint"
        values[":p"] = {"S": json.dumps(checkpoint)}
    return {
        "UpdateExpression": change,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
