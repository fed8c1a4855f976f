"""What the components of the package on AWS share: their tags, and what a stack has by default."""

from typing import Any, TypedDict

import pulumi

from infra.settings import PlatformSettings
from infra.tags import Tags

PACKAGE_NAME = "vigil"


class Ownership(TypedDict):
    """The tags that everything carries."""

    environment: str
    """Name of the environment, such as dev or prod"""
    owner: str
    """Who answers for it"""
    cost_center: str
    """Who pays for it"""


class PackageComponent(pulumi.ComponentResource):
    """A component that programs know by the name of its class."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(_token(type(self)), name, None, opts)

    @property
    def own(self) -> pulumi.ResourceOptions:
        """Options of what it is made of."""
        return pulumi.ResourceOptions(parent=self)


def _token(kind: type) -> str:
    return f"{PACKAGE_NAME}:index:{kind.__name__}"


def owner_tags(ownership: Ownership) -> Tags:
    """Return the tags of whatever a component makes."""
    return Tags(
        ownership["environment"],
        ownership["owner"],
        ownership["cost_center"],
    )


def stack_default(field: str) -> Any:
    """Return what a stack has where it does not say, as docs/settings.md lists it."""
    return PlatformSettings.model_fields[field].default
