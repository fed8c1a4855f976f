"""Dismissal rules: what people have dismissed, and do not want to hear of again.

A rule is made from a dismissed incident. It matches rows of its entity whose leading feature is
one of the rule's, in the same direction, while no feature of the rule deviates further than the
rule allows. An incident of such rows alone is held back, and says by which rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from drift.incidents.deviation import Deviations
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

    def matches(self, entity: str, features: Deviations) -> bool:
        """Whether a row of this entity, with these deviations, is what was dismissed."""
        if self.entity is not None and self.entity != entity:
            return False
        if not features or features[0].feature not in self._limits:
            return False
        return all(map(self._allows, features))

    @property
    def _limits(self) -> dict[str, RuleFeature]:
        return {limit.feature: limit for limit in self.features}

    def _allows(self, deviation: FeatureDeviation) -> bool:
        """Whether a feature is not one of the rule's, or deviates as the rule allows."""
        limit = self._limits.get(deviation.feature)
        if limit is None:
            return True
        is_small = deviation.difference <= limit.size
        return is_small and deviation.direction == limit.direction

    @property
    def sentence(self) -> str:
        """What it holds back, for people."""
        features = ", ".join(
            f"{limit.feature} {limit.direction} by at most {limit.size:g}"
            for limit in self.features
        )
        of = "every entity" if self.entity is None else self.entity
        return f"{features} of {of}, as dismissed in incident {self.incident}"


def rule_features(
    incident: Incident,
    names: Iterable[str] = (),
    margin: float = SIZE_MARGIN,
) -> tuple[RuleFeature, ...]:
    """Return the features of a rule that holds back incidents like this one.

    names: of which features; none: the leading ones. They may deviate `margin` times as far as in
    this incident. Raises RuleRefused when it has no such features.
    """
    features = _features_of(incident, set(names))
    if not features:
        listed = ", ".join(feature.feature for feature in incident.features)
        raise RuleRefused(
            f"the incident has no such features to make a rule of; it has {listed or 'none'}"
        )
    return tuple(
        RuleFeature(
            feature.feature,
            feature.direction,
            margin * feature.difference,
        )
        for feature in features
    )


def _features_of(incident: Incident, wanted: set[str]) -> Deviations:
    if not wanted:
        return incident.features[:MAX_RULE_FEATURES]
    features = incident.features
    return tuple(feature for feature in features if feature.feature in wanted)


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
        features: Deviations,
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
