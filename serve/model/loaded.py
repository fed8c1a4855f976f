"""The model in a replica's memory: verified, warm and immutable. A request reads it once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from serve.model.prepared import KnownThresholds, PreparedRows
from serve.model.report import CapturedRows
from serve.model.row_format import RowFormat
from serve.model.scored_batch import ScoredBatch
from train.model.bundle import ModelBundle
from train.model.entity_threshold import EntityThresholdRule
from train.model.forest import BATCH_ROWS
from vigil.arrays import Floats


@dataclass(frozen=True)
class LoadedModel:
    """One verified version; `since` (Unix seconds) is when it was loaded."""

    version: str
    digest: str
    bundle: ModelBundle
    since: float

    @cached_property
    def row_format(self) -> RowFormat:
        """What callers send, and what makes the model's rows of it."""
        return RowFormat.of(self.bundle)

    def rows_of(self, prepared: PreparedRows) -> Floats:
        """Return the rows [n, D] that this model scores."""
        return prepared.by_key[self.row_format.key]

    def scored(self, prepared: PreparedRows, scores: Floats) -> ScoredBatch:
        """Return the rows with the scores [n] that this model gave them."""
        key = self.row_format.key
        threshold = self.bundle.threshold
        scored = ScoredBatch(
            prepared.by_key[key],
            scores,
            threshold.value,
            prepared.warming.get(key),
        )
        if prepared.known is None or not threshold.entity_width:
            return scored
        return scored.with_limits(self._limits(prepared.known, scored))

    def captured(
        self,
        prepared: PreparedRows,
        scored: ScoredBatch,
        request_ids: Sequence[str],
    ) -> CapturedRows:
        """Return scored rows, of these requests [n], as the monitor gets them."""
        raw = prepared.by_key.get("") if self.bundle.transform is not None else None
        return CapturedRows(
            self.version,
            scored.rows,
            scored.scores,
            list(request_ids),
            scored.threshold,
            prepared.context,
            warming=scored.warming,
            raw=raw,
            limits=scored.limits,
        )

    def _limits(self, known: KnownThresholds, scored: ScoredBatch) -> Floats:
        """Thresholds [n] of the entities of rows, of which earlier ones of the batch teach."""
        rule = EntityThresholdRule.of(self.bundle.threshold)
        offsets = rule.follow(
            scored.scores - scored.threshold,
            known.places,
            known.state.copy(),
            scored.teaches,
        )
        return scored.threshold + offsets

    @property
    def has_entity_thresholds(self) -> bool:
        """Whether a row of an entity alerts by the entity's own threshold."""
        return self.bundle.threshold.entity_width > 0

    @cached_property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """ASGI headers that name the model in every answer."""
        values = {
            "model-version": self.version,
            "model-digest": self.digest,
            "threshold": repr(self.bundle.threshold.value),
            "schema-hash": self.bundle.schema_hash,
        }
        return tuple(
            (b"x-vigil-" + name.encode(), value.encode()) for name, value in values.items()
        )

    @classmethod
    def warm(
        cls,
        version: str,
        digest: str,
        bundle: ModelBundle,
    ) -> LoadedModel:
        """Compile and run every kernel once, so that the first request does not."""
        rows = np.zeros((BATCH_ROWS, len(bundle.names)))
        bundle.forest.score(rows)
        bundle.forest.score(rows[:1])
        bundle.forest.attribute(rows[:1])
        if bundle.transform is not None:
            bundle.transform.warm()
        return cls(version, digest, bundle, since=time.time())


def distinct_formats(models: Sequence[LoadedModel]) -> Iterator[RowFormat]:
    """Return the formats of the models that take the raw rows of the first, each once."""
    keys: set[str] = set()
    for model in models:
        row_format = model.row_format
        if row_format.key not in keys and row_format.names == models[0].row_format.names:
            keys.add(row_format.key)
            yield row_format
