"""An output belongs to one source: records of two would be taken for each other's.

Shards of two sources may have one name, and both number their records from the start. So each
output, and each folder of leases, keeps the name of its source.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from serve.stream.records import ShardLeaseLost, StreamError
from serve.stream.sinks import ObjectStore

OWNER_KEY = ".source"


class _Owner(msgspec.Struct):
    source: str


def claim_output(
    store: ObjectStore,
    source: str,
    place: str,
) -> None:
    """Mark an output as that of `source`; raises StreamError where it is another's."""
    mark = msgspec.json.encode(_Owner(source))
    try:
        store.put(OWNER_KEY, mark)
    except ShardLeaseLost:
        _require_owner(store, source, place)


def _require_owner(
    store: ObjectStore,
    source: str,
    place: str,
) -> None:
    owner = _owner_of(store, place)
    if owner != source:
        raise StreamError(
            f"{place} has the results of {owner}: those of {source} would be taken for them. Name "
            f"another place; or, if that source has only moved, remove {place}/{OWNER_KEY}"
        )


def _owner_of(store: ObjectStore, place: str) -> str:
    data = store.get(OWNER_KEY) or b""
    try:
        return msgspec.json.decode(data, type=_Owner).source
    except msgspec.DecodeError as error:
        raise StreamError(f"{place}/{OWNER_KEY} cannot be read: {error}. Remove it") from error


def source_identity(source: str) -> str:
    """The name of a source that does not depend on the working directory."""
    kind, _, rest = source.partition(":")
    if kind != "file":
        return source
    return f"{kind}:{Path(rest).resolve()}"
