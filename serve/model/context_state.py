"""What a store keeps, as arrays and as text for a checkpoint. Pure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serve.model.context_rings import KeptRows
from serve.model.context_slots import EntityKey
from vigil.arrays import Floats
from vigil.json_types import JsonObject

_LEVEL = 1  # of zlib: rows are floats, which compress little, and a checkpoint is written often


@dataclass(frozen=True)
class KeptContext:
    """The entities of a store [e], the one that is silent longest first, and their rows.

    counts [e]: kept rows of each; seen [e]: rows of each that ever came; rows [sum of counts, d]
    and times (Unix seconds) are those of one entity after the other, oldest first; key: of the
    transform under which they carry `carried` [e, s]
    """

    entities: list[EntityKey]
    counts: NDArray[np.int64]
    seen: NDArray[np.int64]
    rows: Floats
    times: Floats
    key: str
    carried: Floats

    @classmethod
    def collect(
        cls,
        entities: list[EntityKey],
        kept: list[KeptRows],
        seen: NDArray[np.int64],
        *,
        key: str,
        carried: Floats,
        width: int,
    ) -> KeptContext:
        """Return what is kept of the entities [e]."""
        none = np.empty((0, width))
        return cls(
            entities=entities,
            counts=np.array([len(each.times) for each in kept], np.int64),
            seen=seen,
            rows=np.concatenate([none, *(each.rows for each in kept)]),
            times=np.concatenate([none[:, 0], *(each.times for each in kept)]),
            key=key,
            carried=carried,
        )

    def by_entity(self) -> Iterator[tuple[EntityKey, KeptRows]]:
        """Yield each entity with its kept rows."""
        ends = np.cumsum(self.counts).tolist()
        begins = [0, *ends]
        for i, entity in enumerate(self.entities):
            part = slice(begins[i], ends[i])
            yield entity, KeptRows(self.rows[part], self.times[part])

    def to_json(self) -> JsonObject:
        """Return it as plain values, its arrays as compressed text."""
        return {
            "entities": self.entities,
            "width": self.rows.shape[1],
            "counts": self.counts.tolist(),
            "seen": self.seen.tolist(),
            "rows": _packed(self.rows),
            "times": _packed(self.times),
            "key": self.key,
            "carried": _packed(self.carried),
        }

    @classmethod
    def from_json(cls, values: Any) -> KeptContext | None:
        """Return what `to_json` gave; None for anything else, such as an older Vigil's."""
        try:
            stored = msgspec.convert(values, _Stored)
            return stored.kept()
        except (ValueError, zlib.error):  # msgspec's own is a ValueError
            return None


class _Stored(msgspec.Struct):
    entities: list[str | None]
    width: int
    counts: list[int]
    seen: list[int]
    rows: str
    times: str
    key: str
    carried: str

    def kept(self) -> KeptContext:
        kept = KeptContext(
            self.entities,
            np.array(self.counts, np.int64),
            np.array(self.seen, np.int64),
            rows=_unpacked(self.rows).reshape(-1, self.width),
            times=_unpacked(self.times),
            key=self.key,
            carried=self._carried(),
        )
        _check_lengths(kept)
        return kept

    def _carried(self) -> Floats:
        entities = len(self.entities)
        carried = _unpacked(self.carried)
        width = len(carried) // entities if entities else 0
        return carried.reshape(entities, width)


def _check_lengths(kept: KeptContext) -> None:
    """Raise ValueError for what does not belong together."""
    sizes = {len(kept.entities), len(kept.counts), len(kept.seen)}
    rows = {len(kept.rows), len(kept.times), int(kept.counts.sum())}
    if len(sizes) != 1 or len(rows) != 1:
        raise ValueError("arrays of different lengths")


def _packed(values: Floats) -> str:
    data = values.astype("<f8").tobytes()
    return base64.b64encode(zlib.compress(data, _LEVEL)).decode()


def _unpacked(text: str) -> Floats:
    data = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(data, "<f8").astype(np.float64)
