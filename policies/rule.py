"""A rule: one pure function that judges a subject, and one message that says what to change.

A subject that needs a value which is unknown at preview is skipped and reported as such; the other
subjects are still judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Required, TypedDict, Unpack

from pulumi_policy.proxy import UnknownValueError

from policies.cel import Cel, property_equals
from policies.params import ParamSchema
from policies.subjects import Context, Props, Resource, Stack, matches, value_at, whole_resource
from vigil.json_types import JsonObject

Severity = Literal["low", "medium", "high", "critical"]
Level = Literal["mandatory", "advisory", "disabled"]
Violation = bool | str | None
CheckSubject = Callable[[Any, Context], Violation]
Each = Callable[[Resource], Iterable[tuple[str, Any]]]


@dataclass(frozen=True)
class Judgement:
    """Messages of what is wrong with one resource, and the first value that was needed and unknown.

    Both may be there: other parts of the resource were judged.
    """

    violations: tuple[str, ...]
    unknown: UnknownValueError | None


@dataclass(frozen=True)
class Rule:
    """What is judged, by what, and what to say.

    `check` returns False or None where all is well, True where it is not, or the text that takes
    the place of `{}` in the message. `each` cuts a resource into (place, subject) pairs. `level` is
    that of a stack that people depend on; `policies/environments/` says what others relax. `cel` is
    the same check for the API server, and `without_cel` why a rule of Kubernetes objects has none.
    """

    name: str
    description: str
    types: tuple[str, ...]
    check: CheckSubject
    message: str
    fix: str
    severity: Severity
    standard: str | tuple[str, ...] = ()
    each: Each = whole_resource
    params: Mapping[str, ParamSchema] = field(default_factory=dict[str, ParamSchema])
    stack: bool = False
    level: Level = "mandatory"
    cel: Cel | None = None
    without_cel: str = ""

    @property
    def standards(self) -> tuple[str, ...]:
        """Controls of published standards that the rule implements."""
        return _as_tuple(self.standard)

    @property
    def defaults(self) -> JsonObject:
        """Parameters as they are when nothing is configured."""
        return {name: schema["default"] for name, schema in self.params.items()}

    def applies(self, resource: Resource) -> bool:
        """Return whether the resource is of a type that the rule judges."""
        return matches(self.types, resource.type)

    def judge(
        self,
        resource: Resource,
        config: Props,
        stack: Stack | None = None,
    ) -> Judgement:
        """Judge one resource of a type that applies."""
        params = {**self.defaults, **config}
        context = Context(resource, params, stack or Stack(()))
        violations: list[str] = []
        unknown: UnknownValueError | None = None
        for outcome in self._outcomes(context):
            if isinstance(outcome, str):
                violations.append(outcome)
            elif outcome is not None:
                unknown = unknown or outcome
        return Judgement(tuple(violations), unknown)

    def _outcomes(self, context: Context) -> Iterator[str | UnknownValueError | None]:
        """Yield a message for each violation, and each error of an unknown value."""
        try:
            for place, subject in self.each(context.resource):
                yield self._outcome(place, subject, context)
        except UnknownValueError as error:
            yield error

    def _outcome(
        self,
        place: str,
        subject: Any,
        context: Context,
    ) -> str | UnknownValueError | None:
        try:
            violation = self.check(subject, context)
        except UnknownValueError as error:
            return error
        return self._message(place, violation) if violation else None

    def _message(self, place: str, violation: str | bool) -> str:
        message = self.message
        if isinstance(violation, str):
            message = message.replace("{}", violation)
        return f"{place}: {message}" if place else message


class SharedDetails(TypedDict, total=False):
    """Fields of any rule beside its name, description, types, check and CEL; see `Rule`."""

    message: Required[str]
    fix: Required[str]
    severity: Required[Severity]
    standard: str | tuple[str, ...]
    each: Each
    params: Mapping[str, ParamSchema]
    stack: bool
    level: Level


class RuleDetails(SharedDetails, total=False):
    """Fields of a rule that is a function."""

    cel: Cel
    without_cel: str


class NamedRuleDetails(SharedDetails):
    """Fields of a rule that is declared without a function, whose CEL follows from it."""

    name: Required[str]
    description: Required[str]


def rule(*types: str, **details: Unpack[RuleDetails]) -> Callable[[CheckSubject], Rule]:
    """Make a rule of a function.

    `s3_tls_only` is named `s3-tls-only`, and its docstring is the description.
    """

    def declare(check: CheckSubject) -> Rule:
        assert check.__doc__, check.__name__
        name = check.__name__.replace("_", "-")
        description = " ".join(check.__doc__.split())
        return Rule(
            name,
            description,
            types,
            check=check,
            **details,
        )

    return declare


@dataclass(frozen=True)
class Property:
    """One property of a subject, and the value that it has to have or must not have."""

    path: str
    value: bool | str

    def is_set(self, subject: Props, _: Context) -> bool:
        """Return whether the property has the value; `true` is the boolean alone."""
        value = value_at(subject, self.path)
        if isinstance(self.value, bool):
            return value is self.value
        return value == self.value

    @property
    def cel(self) -> str:
        """The condition that it is set, as the API server judges it."""
        return property_equals(self.path, self.value)

    def is_not_set(self, subject: Props, context: Context) -> bool:
        """Return whether the property has another value, or none."""
        return not self.is_set(subject, context)


Types = str | tuple[str, ...]


def requires(
    types: Types,
    path: str,
    value: bool | str,
    **details: Unpack[NamedRuleDetails],
) -> Rule:
    """Declare a rule: the property at a dotted path has this value."""
    wanted = Property(path, value)
    return _of_property(types, wanted.is_not_set, f"!({wanted.cel})", details)


def forbids(
    types: Types,
    path: str,
    value: bool | str,
    **details: Unpack[NamedRuleDetails],
) -> Rule:
    """Declare a rule: the property at a dotted path does not have this value."""
    unwanted = Property(path, value)
    return _of_property(types, unwanted.is_set, unwanted.cel, details)


def _of_property(
    types: Types,
    check: CheckSubject,
    condition: str,
    details: NamedRuleDetails,
) -> Rule:
    """The rule that `check` tells a violation of; `condition` does in CEL."""
    return Rule(
        types=_as_tuple(types),
        check=check,
        cel=Cel(condition),
        **details,
    )


def _as_tuple(types: Types) -> tuple[str, ...]:
    return (types,) if isinstance(types, str) else types
