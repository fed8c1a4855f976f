"""Thresholds of the entities of a request: asked for before its rows are scored, told after."""

from __future__ import annotations

from serve.model.loaded import LoadedModel
from serve.model.prepared import ContextSource, PreparedRows, known_thresholds
from serve.model.scored_batch import ScoredBatch
from serve.model.threshold_store import ToldMargins
from train.model.entity_threshold import EntityThresholdRule


async def find_thresholds(source: ContextSource, rows: PreparedRows) -> None:
    """Have rows know what is known of the thresholds of their entities, where they name any."""
    context = rows.context
    if context is not None and context.entities is not None:
        rows.known = await known_thresholds(source, context.entities)


def tell_margins(
    source: ContextSource,
    model: LoadedModel,
    rows: PreparedRows,
    scored: ScoredBatch,
) -> None:
    """Have the thresholds of the entities learn of what `model` has given the rows."""
    context = rows.context
    if scored.limits is None or context is None or context.entities is None:
        return
    rule = EntityThresholdRule.of(model.bundle.threshold)
    told = ToldMargins(
        context.entities,
        scored.scores - scored.threshold,
        rule.width,
        rule.rate,
    )
    source.tell(told.where(scored.teaches.nonzero()[0].tolist()))
