"""Who reads which shard, and up to where: checkpoints under a lease, in files on one machine or in DynamoDB."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from serve.stream.records import ShardLeaseLost
from vigil.home import write_json
from vigil.locks import HeldLock, try_lock


@dataclass
class Checkpoint:
    """All before `position` is scored and safe in every sink. `states` are the sinks' own, by their names."""

    position: str | None = None
    ended: bool = False
    states: dict[str, Any] = field(default_factory=dict)
    history: Any = None


class ShardLeases(Protocol):
    """Shards are shared out: each belongs to one consumer at a time."""

    def acquire(self, shard: str) -> Checkpoint | None:
        """The checkpoint of the shard, which is ours from now on; None while another consumer has it."""
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
    """ShardLeases of one machine: a file lock ends with its process, however that ends, and at no other time.

    A consumer that is stopped (SIGSTOP) therefore keeps its shards: nobody writes beside it when it wakes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, HeldLock] = {}
        (folder / "consumers").mkdir(parents=True, exist_ok=True)
        self._own = folder / "consumers" / uuid.uuid4().hex
        presence = try_lock(self._own)
        assert presence is not None  # the name is new
        self._presence = presence

    def _path(self, shard: str, suffix: str) -> Path:
        return self._folder / f"{quote(shard, safe='')}.{suffix}"

    def acquire(self, shard: str) -> Checkpoint | None:
        lock = try_lock(self._path(shard, "lock"))
        if lock is None:
            return None
        self._held[shard] = lock
        path = self._path(shard, "checkpoint")
        return Checkpoint(**json.loads(path.read_text())) if path.exists() else Checkpoint()

    def save(self, shard: str, checkpoint: Checkpoint) -> None:
        write_json(self._path(shard, "checkpoint"), asdict(checkpoint))

    def release(self, shard: str) -> None:
        self._held.pop(shard).release()

    def renew(self) -> None:
        """Nothing to do: the lock lasts as long as the process."""

    def finished(self) -> set[str]:
        found = self._folder.glob("*.checkpoint")
        return {unquote(path.stem) for path in found if json.loads(path.read_text())["ended"]}

    def consumers(self) -> int:
        living = 1
        for path in (self._folder / "consumers").iterdir():
            if path == self._own:
                continue
            if (lock := try_lock(path)) is None:
                living += 1
            else:
                path.unlink(missing_ok=True)
                lock.release()
        return living

    def close(self) -> None:
        for shard in list(self._held):
            self.release(shard)
        self._own.unlink(missing_ok=True)
        self._presence.release()


class DynamoLeases:
    """ShardLeases of a cluster: items of a DynamoDB table (partition key `key`, a string).

    No clock is compared with another: a lease is free when its counter has stood still for `seconds` of our own clock, and
    every change is conditional on the counter that we saw. Source: the lease table of the Kinesis Client Library.
    """

    def __init__(self, client: Any, table: str, stream: str, seconds: float = 15.0) -> None:
        self._client, self._table, self._stream, self._seconds = client, table, stream, seconds
        self._id = uuid.uuid4().hex
        self._held: dict[str, int] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._renewed = float("-inf")
        self._beat = 0

    def acquire(self, shard: str) -> Checkpoint | None:
        key = self._key("shard", shard)
        found = self._client.get_item(
            TableName=self._table, Key={"key": {"S": key}}, ConsistentRead=True
        ).get("Item")
        counter = int(found["counter"]["N"]) if found else 0
        if found and found["owner"]["S"] not in ("", self._id) and not self._still(key, counter):
            return None
        checkpoint = json.loads(found["checkpoint"]["S"]) if found else {}
        try:
            self._put(key, self._id, counter, checkpoint)
        except ShardLeaseLost:
            return None
        self._held[shard] = counter + 1
        return Checkpoint(**checkpoint)

    def save(self, shard: str, checkpoint: Checkpoint) -> None:
        if shard not in self._held:
            raise ShardLeaseLost(f"the lease of {shard} is lost")
        self._change(shard, self._id, asdict(checkpoint))

    def release(self, shard: str) -> None:
        if shard in self._held:
            try:
                self._change(shard, "")
            except ShardLeaseLost:
                return
            del self._held[shard]

    def renew(self) -> None:
        if time.monotonic() < self._renewed + self._seconds / 5:
            return
        self._renewed, self._beat = time.monotonic(), self._beat + 1
        for shard in list(self._held):
            try:
                self._change(shard, self._id)
            except ShardLeaseLost:
                continue  # forgotten: the next save says so
        item = {
            "key": {"S": self._key("consumer", self._id)},
            "counter": {"N": str(self._beat)},
            "owner": {"S": self._id},
        }
        self._client.put_item(TableName=self._table, Item=item)

    def finished(self) -> set[str]:
        prefix, found = self._key("shard", ""), set()
        for item in self._items(prefix):
            if json.loads(item["checkpoint"]["S"]).get("ended"):
                found.add(item["key"]["S"].removeprefix(prefix))
        return found

    def consumers(self) -> int:
        living = 1
        for item in self._items(self._key("consumer", "")):
            key, counter = item["key"]["S"], int(item["counter"]["N"])
            if item["owner"]["S"] == self._id:
                continue
            if self._still(key, counter):
                self._client.delete_item(TableName=self._table, Key={"key": {"S": key}})
            else:
                living += 1
        return living

    def close(self) -> None:
        self._client.delete_item(
            TableName=self._table, Key={"key": {"S": self._key("consumer", self._id)}}
        )

    def _key(self, kind: str, name: str) -> str:
        return f"{self._stream}#{kind}#{name}"

    def _items(self, prefix: str) -> list[dict[str, Any]]:
        asked = {
            "TableName": self._table,
            "ConsistentRead": True,
            "FilterExpression": "begins_with(#k, :p)",
            "ExpressionAttributeNames": {"#k": "key"},
            "ExpressionAttributeValues": {":p": {"S": prefix}},
        }
        return [
            item
            for page in self._client.get_paginator("scan").paginate(**asked)
            for item in page["Items"]
        ]

    def _still(self, key: str, counter: int) -> bool:
        """Whether the counter has not moved for the length of a lease."""
        known, since = self._seen.get(key, (-1, 0.0))
        if known != counter:
            self._seen[key] = counter, time.monotonic()
            return False
        return time.monotonic() > since + self._seconds

    def _change(self, shard: str, owner: str, checkpoint: dict[str, Any] | None = None) -> None:
        """Write our item if it is still ours, else forget it and raise ShardLeaseLost."""
        try:
            self._put(self._key("shard", shard), owner, self._held[shard], checkpoint)
        except ShardLeaseLost:
            del self._held[shard]
            raise
        self._held[shard] += 1

    def _put(self, key: str, owner: str, counter: int, checkpoint: dict[str, Any] | None) -> None:
        change, names = "SET #o = :o, #c = :n", {"#o": "owner", "#c": "counter"}
        values = {":o": {"S": owner}, ":n": {"N": str(counter + 1)}, ":c": {"N": str(counter)}}
        if checkpoint is not None:
            change, names, values = (
                f"{change}, #p = :p",
                names | {"#p": "checkpoint"},
                values | {":p": {"S": json.dumps(checkpoint)}},
            )
        condition = "#c = :c" if counter else "attribute_not_exists(#c) OR #c = :c"
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"key": {"S": key}},
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            raise ShardLeaseLost(f"another consumer has {key}") from error
