"""IAM documents: parsed into statements, which answer a few questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies.subjects import Props


def as_list(value: Any) -> list[Any]:
    """Return the values of a property: IAM allows one value wherever it allows a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str | Mapping) else list(value)


@dataclass(frozen=True)
class PolicyStatement:
    """One statement of a policy document."""

    props: Props

    @property
    def allows(self) -> bool:
        """Whether it allows rather than denies."""
        return self.props["Effect"] == "Allow"

    @property
    def actions(self) -> list[str]:
        """Actions that it names."""
        return as_list(self.props.get("Action"))

    @property
    def resources(self) -> list[str]:
        """Resources that it names."""
        return as_list(self.props.get("Resource"))

    @property
    def has_condition(self) -> bool:
        """Whether it holds under a condition alone."""
        return bool(self.props.get("Condition"))

    @property
    def is_for_everyone(self) -> bool:
        """Whether its principal is everyone."""
        principal = self.props.get("Principal")
        if isinstance(principal, Mapping):
            return "*" in as_list(principal.get("AWS"))
        return "*" in as_list(principal)

    @property
    def allows_everyone(self) -> bool:
        """Whether it allows something to everyone."""
        return self.allows and self.is_for_everyone

    @property
    def is_public(self) -> bool:
        """Whether it allows something to everyone, without a condition."""
        return self.allows_everyone and not self.has_condition

    def condition(self, operator: str, key: str) -> list[Any]:
        """Return the values of a condition; case matters neither in operators nor in keys."""
        for tests in _get_ignoring_case(self.props.get("Condition") or {}, operator):
            for values in _get_ignoring_case(tests, key):
                return as_list(values)
        return []

    @property
    def denies_plain_http(self) -> bool:
        """Whether it denies everyone everything over plain HTTP."""
        secure = self.condition("Bool", "aws:SecureTransport")
        return (
            self.props.get("Effect") == "Deny"
            and self.is_for_everyone
            and not {"*", "s3:*"}.isdisjoint(self.actions)
            and [str(value).lower() for value in secure] == ["false"]
        )


def _get_ignoring_case(props: Props, name: str) -> Iterator[Any]:
    for key, value in props.items():
        if key.lower() == name.lower():
            yield value


def statements(document: Any) -> Iterator[PolicyStatement]:
    """Yield the statements of a policy document, given as JSON text or as an object."""
    parsed = json.loads(document) if isinstance(document, str) else document or {}
    for props in as_list(parsed.get("Statement")):
        yield PolicyStatement(props)
