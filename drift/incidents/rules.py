"""Dismissal rules: what people have dismissed, and do not want to hear of again.

A rule is made from a dismissed incident. It matches rows of its entity whose leading feature is
one of the rule's, in the same direction, while no feature of the rule deviates further than the
rule allows. An incident of such rows alone is held back, and says by which rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from drift.incidents.incident import Direction, FeatureDeviation, Incident
from vigil.errors import VigilError

MAX_RULES = 500
MAX_RULE_FEATURES = 3
SIZE_MARGIN = 1.5


class RuleRefused(VigilError):
    """A dismissal rule that cannot be."""

    status = 422


class RuleFeature(msgspec.Struct, frozen=True):
    """A feature of a rule: its direction, and how far it may be from the expected value."""

    feature: str
    direction: Direction
    size: float


class DismissalRule(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents like `incident` are held back until `until` (Unix seconds; None: for good).

    entity: whose rows it is for; None: everybody's; features: at least one
    by, reason: who dismissed, and why
    """

    id: str
    incident: str
    features: tuple[RuleFeature, ...]
    entity: str | None = None
    until: float | None = None
    by: str = ""
    reason: str = ""

    def is_active(self, at: float) -> bool:
        return self.until is None or at < self.until

    def matches(
        self,
        entity: str,
        features: Sequence[FeatureDeviation],
    ) -> bool:
        """Whether a row of this entity, with these deviations, is what was dismissed."""
        if not features or self.entity not in (None, entity):
            return False
        limits = {limit.feature: limit for limit in self.features}
        leading = features[0].feature in limits
        return leading and all(_is_within(limits, feature) for feature in features)

    @property
    def sentence(self) -> str:
        """What it holds back, for people."""
        features = ", ".join(
            f"{limit.feature} {limit.direction} by at most {limit.size:g}"
            for limit in self.features
        )
        of = "every entity" if self.entity is None else self.entity
        return f"{features} of {of}, as dismissed in incident {self.incident}"


def _is_within(limits: dict[str, RuleFeature], deviation: FeatureDeviation) -> bool:
    """Whether a feature is not one of the rule's, or deviates as the rule allows."""
    limit = limits.get(deviation.feature)
    if limit is None:
        return True
    is_small = abs(deviation.observed - deviation.expected) <= limit.size
    return is_small and deviation.direction == limit.direction


def rule_features(
    incident: Incident,
    names: Iterable[str] = (),
    margin: float = SIZE_MARGIN,
) -> tuple[RuleFeature, ...]:
    """Return the features of a rule that holds back incidents like this one.

    names: of which features; none: the leading ones. They may deviate `margin` times as far as in
    this incident. Raises RuleRefused when it has no such features.
    """
    wanted = set(names)
    features = [feature for feature in incident.features if feature.feature in wanted]
    if not wanted:
        features = list(incident.features[:MAX_RULE_FEATURES])
    if not features:
        known = ", ".join(feature.feature for feature in incident.features) or "none"
        raise RuleRefused(f"the incident has no such features to make a rule of; it has {known}")
    return tuple(
        RuleFeature(
            feature.feature,
            feature.direction,
            margin * abs(feature.observed - feature.expected),
        )
        for feature in features
    )


class Rules:
    """The dismissal rules, as the verdicts on incidents have made them."""

    def __init__(self) -> None:
        self._rules: dict[str, DismissalRule] = {}

    def follow(self, rules: Iterable[DismissalRule]) -> None:
        """Take these rules in place of those before."""
        self._rules = {rule.id: rule for rule in rules}

    def get(self, id: str) -> DismissalRule | None:
        return self._rules.get(id)

    def listed(self) -> list[DismissalRule]:
        """Return all rules, the latest last."""
        return list(self._rules.values())

    def match(
        self,
        entity: str,
        at: float,
        features: Sequence[FeatureDeviation],
    ) -> str | None:
        """Return the id of the first rule that holds such a row at `at` back, None without one."""
        for rule in self._rules.values():
            if rule.is_active(at) and rule.matches(entity, features):
                return rule.id
        return None

    def is_active(
        self,
        id: str,
        at: float = -math.inf,
    ) -> bool:
        """Whether there is such a rule, and it holds at `at`."""
        rule = self._rules.get(id)
        return rule is not None and rule.is_active(at)

    def to_json(self) -> list[Any]:
        return msgspec.to_builtins(self.listed())

    def load(self, stored: Any) -> None:
        """Take over what was stored. Raises msgspec.ValidationError."""
        self.follow(msgspec.convert(stored, list[DismissalRule]))
