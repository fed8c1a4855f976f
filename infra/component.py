"""What the components of the stack share: the options of their children."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

Options = pulumi.ResourceOptions
Resources = list[pulumi.Resource]
SubnetIds = pulumi.Input[Sequence[pulumi.Input[str]]]


class Component(pulumi.ComponentResource):
    """A component whose resources are its children."""

    @property
    def child(self) -> pulumi.ResourceOptions:
        """Options of a child."""
        return pulumi.ResourceOptions(parent=self)

    def after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a child that is made after these resources."""
        return pulumi.ResourceOptions(parent=self, depends_on=list(resources))

    def keeping(self, protect: bool) -> pulumi.ResourceOptions:
        """Options of a child that holds data: a protected stack neither deletes nor loses it."""
        return pulumi.ResourceOptions(
            parent=self,
            protect=protect,
            retain_on_delete=protect,
        )
