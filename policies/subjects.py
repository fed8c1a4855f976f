"""Resources as rules see them: their properties, what they were computed from, their stack.

A value that is unknown at preview raises `UnknownValueError` when it is read: the SDK's proxies see
to that, and `UnknownProps` where a resource has no properties at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any, NoReturn

from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UnknownValueError

Props = Mapping[str, Any]
Subjects = Iterator[tuple[str, Any]]

# Properties by whose value another resource may refer to one.
_IDENTIFYING_KEYS = ("id", "arn", "name", "bucket", "bucketName")


@cache
def matches(patterns: tuple[str, ...], type_: str) -> bool:
    """Return whether a resource type is one of the patterns (`kubernetes:*:Service`)."""
    return any(fnmatchcase(type_, pattern) for pattern in patterns)


def value_at(props: Props, path: str) -> Any:
    """Return the value at a dotted path of nested properties; None where a part is missing."""
    *parents, last = path.split(".")
    for key in parents:
        props = props.get(key) or {}
    return props.get(last)


def props_at(props: Props, path: str) -> Props:
    """Return the properties at a dotted path; none where a part is missing."""
    return value_at(props, path) or {}


def list_at(props: Props, path: str) -> Sequence[Any]:
    """Return the list at a dotted path; an empty one where a part is missing."""
    return value_at(props, path) or ()


def is_default(
    props: Props,
    key: str,
    default: str,
) -> bool:
    """Return whether a property has its default, which it also has where nothing is said."""
    return (props.get(key) or default) == default


class NoPropertiesYet(UnknownValueError):
    """A resource was looked into that has no properties at all."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN_OBJECT_VALUE, [])
        self.message = "it has no properties before its provider can be asked"


class UnknownProps(Mapping[str, Any]):
    """Properties that nobody knows: every access to them raises NoPropertiesYet.

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
    """A resource of a stack.

    `links`: URNs that each property was computed from. No properties at all become `UnknownProps`.
    """

    type: str
    name: str
    urn: str
    props: Props
    protect: bool = False
    links: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def __post_init__(self) -> None:
        if not isinstance(self.props, UnknownProps) and not self.props:
            object.__setattr__(self, "props", UnknownProps())

    @property
    def kind(self) -> str:
        """Last part of the type: `Instance`, `RayService`."""
        return self.type.rsplit(":", 1)[-1]

    def value(self, path: str) -> Any:
        """Return the property at a dotted path; None where it is missing."""
        return value_at(self.props, path)

    def sets(self, key: str) -> bool:
        """Return whether the property is set, be it by a resource that does not exist yet."""
        return bool(self.links.get(key) or self.props.get(key))

    @cached_property
    def identities(self) -> set[str]:
        """Every known value by which another resource may refer to this one."""
        values = map(self._known_value, _IDENTIFYING_KEYS)
        return {self.name, *(value for value in values if isinstance(value, str) and value)}

    def _known_value(self, key: str) -> Any:
        try:
            return self.props.get(key)
        except UnknownValueError:
            return None

    def refers(self, key: str, target: Resource) -> bool:
        """Return whether the property `key` names the target.

        Raises UnknownValueError where neither link nor value is known.
        """
        if links := self.links.get(key):
            return target.urn in links
        return self.props.get(key) in target.identities


@dataclass(frozen=True)
class Stack:
    """All resources of a stack."""

    resources: tuple[Resource, ...]

    def of(self, *patterns: str) -> list[Resource]:
        """Return the resources of these types."""
        return [resource for resource in self.resources if matches(patterns, resource.type)]

    def referring(
        self,
        key: str,
        target: Resource,
        *patterns: str,
    ) -> list[Resource]:
        """Return the resources of these types whose property `key` names the target."""
        return [resource for resource in self.of(*patterns) if resource.refers(key, target)]


@dataclass(frozen=True)
class Context:
    """What a check reads beside its subject; `stack` is empty where the rule asks for none."""

    resource: Resource
    params: Props
    stack: Stack = Stack(())


def whole_resource(resource: Resource) -> Subjects:
    """Yield the resource itself as the only subject."""
    yield "", resource.props
