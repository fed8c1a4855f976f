"""IAM documents: read, and asked a few questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policies.rule import Props


def statements(document: Any) -> Iterator[Props]:
    """The statements of a policy document, given as JSON text or as an object."""
    parsed = json.loads(document) if isinstance(document, str) else document or {}
    found = parsed.get("Statement") or ()
    yield from [found] if isinstance(found, Mapping) else found


def listed(value: Any) -> list[Any]:
    """IAM allows one value wherever it allows a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str | Mapping) else list(value)


def any_principal(statement: Props) -> bool:
    """Whether the statement speaks of everyone."""
    principal = statement.get("Principal")
    values = listed(principal.get("AWS")) if isinstance(principal, Mapping) else listed(principal)
    return "*" in values


def condition(statement: Props, operator: str, key: str) -> list[Any]:
    """The values of a condition; operators and keys of conditions are compared without regard to case."""
    for name, tests in (statement.get("Condition") or {}).items():
        if name.lower() == operator.lower():
            for found, values in tests.items():
                if found.lower() == key.lower():
                    return listed(values)
    return []


def denies_plain_http(statement: Props) -> bool:
    """Whether the statement denies everyone everything over plain HTTP."""
    plain = [str(value).lower() for value in condition(statement, "Bool", "aws:SecureTransport")]
    return (
        statement.get("Effect") == "Deny"
        and any_principal(statement)
        and any(action in ("*", "s3:*") for action in listed(statement.get("Action")))
        and plain == ["false"]
    )
