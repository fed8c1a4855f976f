"""All policies, by topic; a rule is listed by being in its topic's module."""

from __future__ import annotations

from types import ModuleType

from policies import (
    alerting,
    capacity,
    cluster,
    cost,
    database,
    delivery,
    identity,
    images,
    network,
    ray_cluster,
    ray_serving,
    serve_config,
    static_keys,
    storage,
    stream,
    tagging,
    tracking,
    workload,
)
from policies.pack import as_policy
from policies.rule import Rule

_MODULES = (
    storage,
    cluster,
    database,
    network,
    identity,
    images,
    stream,
    workload,
    static_keys,
    ray_cluster,
    ray_serving,
    capacity,
    serve_config,
    delivery,
    tracking,
    alerting,
    tagging,
    cost,
)


def _rules_of(module: ModuleType) -> list[Rule]:
    """Return the rules of a module, those that are mandatory first."""
    rules = [value for value in vars(module).values() if isinstance(value, Rule)]
    return sorted(rules, key=lambda rule: rule.level == "advisory")


TOPICS = {module.__name__.rsplit(".", 1)[-1]: _rules_of(module) for module in _MODULES}
RULES = {rule.name: rule for rules in TOPICS.values() for rule in rules}
POLICIES = [as_policy(rule) for rule in RULES.values()]
