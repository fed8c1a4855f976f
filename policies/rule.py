"""A rule: one pure function that judges a subject, and one message that says what to change.

A value that is unknown at preview raises `UnknownValueError` when it is read: the SDK's proxies see
to that, and `Unseen` where a resource has no properties at all. The subject is then skipped and
reported as such; the other subjects are still judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any, Literal, NoReturn

from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UnknownValueError

Props = Mapping[str, Any]
Severity = Literal["low", "medium", "high", "critical"]
Found = bool | str | None
Subjects = Iterator[tuple[str, Any]]


@cache
def matches(patterns: tuple[str, ...], type_: str) -> bool:
    """Whether a resource type is one of the patterns (`kubernetes:*:Service`)."""
    return any(fnmatchcase(type_, pattern) for pattern in patterns)


class NoPropertiesYet(UnknownValueError):
    """A resource was looked into that has no properties at all."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN_OBJECT_VALUE, [])
        self.message = "it has no properties before its provider can be asked"


class Unseen(Mapping[str, Any]):
    """Properties that nobody knows: whatever is asked of them raises NoPropertiesYet.

    While a provider's own configuration is unknown (the kubeconfig of a cluster that does not exist
    yet), Pulumi's engine hands over its resources without a single property. What is absent there
    is neither there nor missing.
    """

    def __getitem__(self, key: str) -> NoReturn:
        raise NoPropertiesYet

    def __iter__(self) -> NoReturn:
        raise NoPropertiesYet

    def __len__(self) -> NoReturn:
        raise NoPropertiesYet


@dataclass(frozen=True)
class Resource:
    """A resource as a rule sees it. `links` are the URNs that each property was computed from; no
    properties at all become `Unseen`."""

    type: str
    name: str
    urn: str
    props: Props
    protect: bool = False
    links: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def __post_init__(self) -> None:
        if not isinstance(self.props, Unseen) and not self.props:
            object.__setattr__(self, "props", Unseen())

    @property
    def kind(self) -> str:
        """The last part of the type: `Instance`, `RayService`."""
        return self.type.rsplit(":", 1)[-1]

    @cached_property
    def identities(self) -> set[str]:
        """Every known value by which another resource may refer to this one."""
        found = {self.name}
        for key in ("id", "arn", "name", "bucket", "bucketName"):
            try:
                value = self.props.get(key)
            except UnknownValueError:
                continue
            if isinstance(value, str) and value:
                found.add(value)
        return found

    def refers(self, key: str, target: Resource) -> bool:
        """Whether the property `key` names the target. Raises UnknownValueError where neither link nor value is known."""
        if links := self.links.get(key):
            return target.urn in links
        return self.props.get(key) in target.identities


@dataclass(frozen=True)
class Stack:
    """All resources of a stack."""

    resources: tuple[Resource, ...]

    def of(self, *patterns: str) -> list[Resource]:
        """The resources of these types."""
        return [resource for resource in self.resources if matches(patterns, resource.type)]

    def referring(self, key: str, target: Resource, *patterns: str) -> list[Resource]:
        """The resources of these types whose property `key` names the target."""
        return [resource for resource in self.of(*patterns) if resource.refers(key, target)]


@dataclass(frozen=True)
class Context:
    """What a check may ask beside its subject. `stack` is empty in rules that did not ask for it."""

    resource: Resource
    params: Props
    stack: Stack = Stack(())


@dataclass(frozen=True)
class Judgement:
    """Messages of what is wrong with one resource, and the first value that was needed and unknown."""

    violations: tuple[str, ...]
    unknown: UnknownValueError | None


def whole(resource: Resource) -> Subjects:
    """The resource itself as the only subject."""
    yield "", resource.props


@dataclass(frozen=True)
class Rule:
    """What is judged, by what, and what to say. `check` answers False or None where all is well, True where it is not, or the
    text of what it found, which takes the place of `{}` in the message. `each` cuts a resource into (place, subject) pairs.
    """

    name: str
    description: str
    types: tuple[str, ...]
    check: Callable[[Any, Context], Found]
    message: str
    fix: str
    severity: Severity
    standard: tuple[str, ...] = ()
    each: Callable[[Resource], Iterable[tuple[str, Any]]] = whole
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    stack: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters as they are when nothing is configured."""
        return {name: schema["default"] for name, schema in self.params.items()}

    def applies(self, resource: Resource) -> bool:
        """Whether the resource is of a type that the rule judges."""
        return matches(self.types, resource.type)

    def judge(self, resource: Resource, config: Props, stack: Stack | None = None) -> Judgement:
        """Judge one resource of a type that applies."""
        context = Context(resource, {**self.defaults, **config}, stack or Stack(()))
        violations: list[str] = []
        unknown: UnknownValueError | None = None
        try:
            for place, subject in self.each(resource):
                try:
                    found = self.check(subject, context)
                except UnknownValueError as error:
                    unknown = unknown or error
                    continue
                if found:
                    message = (
                        self.message.replace("{}", found)
                        if isinstance(found, str)
                        else self.message
                    )
                    violations.append(f"{place}: {message}" if place else message)
        except UnknownValueError as error:
            unknown = unknown or error
        return Judgement(tuple(violations), unknown)


def rule(
    *types: str,
    message: str,
    fix: str,
    severity: Severity,
    standard: str | tuple[str, ...] = (),
    each: Callable[[Resource], Iterable[tuple[str, Any]]] = whole,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    stack: bool = False,
) -> Callable[[Callable[[Any, Context], Found]], Rule]:
    """Make a rule of a function: `s3_tls_only` is named `s3-tls-only`, and its docstring is the description."""

    def made(check: Callable[[Any, Context], Found]) -> Rule:
        assert check.__doc__, check.__name__
        return Rule(
            name=check.__name__.replace("_", "-"),
            description=check.__doc__,
            types=types,
            check=check,
            message=message,
            fix=fix,
            severity=severity,
            standard=(standard,) if isinstance(standard, str) else standard,
            each=each,
            params=params or {},
            stack=stack,
        )

    return made
