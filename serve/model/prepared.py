"""Rows of a request, made ready for each model that may score them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from serve.model.context_batch import LiftedRows
from serve.model.context_keeper import RawRows
from serve.model.report import RowContext
from serve.model.row_format import TIME_IS_NEEDED, MadeRows, RowFormat
from serve.model.threshold_store import ToldMargins
from serve.settings import ServeSettings
from train.model.entity_threshold import EntityPlaces
from vigil.arrays import Flags, Floats
from vigil.errors import InvalidFeatures


@dataclass(frozen=True, slots=True)
class KnownThresholds:
    """What is known of the thresholds of the entities of rows: see EntityThresholdRule.

    state [m, 2]: of each entity; places [n]: the one of each row
    """

    state: Floats
    places: EntityPlaces


@dataclass(slots=True)
class PreparedRows:
    """Rows of a request by the key of the transform that made them; raw ones under an empty key.

    context: whose they are, where the caller says so; warming [n]: see LiftedRows, by the same
    keys; known: where entities have thresholds of their own
    """

    context: RowContext | None = None
    by_key: dict[str, Floats] = field(default_factory=dict)
    warming: dict[str, Flags] = field(default_factory=dict)
    known: KnownThresholds | None = None

    def __len__(self) -> int:
        return len(next(iter(self.by_key.values())))

    def add(
        self,
        key: str,
        lifted: LiftedRows,
    ) -> None:
        """Keep the rows that the transform of this key has made."""
        self.by_key[key] = lifted.rows
        self.warming[key] = lifted.warming


class ContextSource(Protocol):
    """Keeps context, and makes rows in its light. Where it cannot, rows are warming; none fails."""

    def follow_settings(self, settings: ServeSettings) -> None:
        """Take the settings that may change while the replica runs."""
        ...

    async def lift(self, formats: Sequence[RowFormat], rows: RawRows) -> list[LiftedRows]:
        """Return the rows for each of the transforms, which have the same raw features."""
        ...

    async def threshold_states(self, entities: Sequence[str]) -> Floats:
        """Return what is known of the thresholds of entities [m, 2]: zeros where nothing is."""
        ...

    def tell(self, told: ToldMargins) -> None:
        """Have the thresholds of entities learn of scores, before they are asked for again."""
        ...


async def known_thresholds(source: ContextSource, entities: Sequence[str]) -> KnownThresholds:
    """Return what is known of the thresholds of these entities [n], one for each row."""
    place_of = {entity: place for place, entity in enumerate(dict.fromkeys(entities))}
    state = await source.threshold_states(list(place_of))
    places = np.array([place_of[entity] for entity in entities], np.int64)
    return KnownThresholds(state, places)


def as_they_are(X: Floats, context: RowContext | None) -> PreparedRows:
    """Return rows for models without a transform."""
    return PreparedRows(context, {"": X})


def already_made(
    X: Floats,
    context: RowContext | None,
    made: MadeRows,
) -> PreparedRows:
    """Return rows that a caller, such as the stream consumer, has made by the model's transform."""
    prepared = PreparedRows(context)
    prepared.add(made.key, LiftedRows(X, np.full(len(X), made.is_warming)))
    return prepared


def in_light_of(
    past: Floats,
    X: Floats,
    context: RowContext | None,
    *,
    formats: Sequence[RowFormat],
) -> PreparedRows:
    """Return a row [1, d] for each of the formats, in the light of the rows [k, d] before it.

    The caller has sent them: nothing is kept, and nothing is said of how many they are.
    """
    prepared = as_they_are(X, context)
    times = None if context is None or context.times is None else np.array(context.times)
    for row_format in formats:
        transform = row_format.transform
        if transform is not None:
            prepared.by_key[row_format.key] = transform.apply(
                X,
                past,
                times,
            )
    return prepared


async def with_context(
    source: ContextSource,
    X: Floats,
    context: RowContext | None,
    *,
    formats: Sequence[RowFormat],
) -> PreparedRows:
    """Return raw rows for each of the formats. Raises InvalidFeatures for times that are needed."""
    prepared = as_they_are(X, context)
    rows = RawRows.of(X, context)
    _require_times(rows, formats)
    for row_format in formats:
        if row_format.transform is not None and not row_format.needs_context:
            prepared.add(row_format.key, alone(row_format, rows))
    looking_back = [row_format for row_format in formats if row_format.needs_context]
    if not looking_back:
        return prepared
    for row_format, lifted in zip(
        looking_back,
        await source.lift(looking_back, rows),
        strict=True,
    ):
        prepared.add(row_format.key, lifted)
    return prepared


def _require_times(rows: RawRows, formats: Sequence[RowFormat]) -> None:
    is_needed = any(each.needs_time for each in formats)
    if is_needed and np.isnan(rows.times).any():
        raise InvalidFeatures(TIME_IS_NEEDED, field="time")


def alone(row_format: RowFormat, rows: RawRows) -> LiftedRows:
    """Return each row as if it were the first of its entity: what there is without context."""
    transform = row_format.transform
    assert transform is not None
    padding = np.zeros((len(rows.X), transform.length, rows.X.shape[1]))
    windows = np.concatenate([padding, rows.X[:, None, :]], axis=1)
    made, _ = transform.apply_latest(
        windows,
        np.ones(len(rows.X), np.int64),
        rows.times,
    )
    return LiftedRows(made, np.full(len(rows.X), row_format.needs_context))
