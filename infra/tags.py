"""The tags that everything taggable carries, as a type: a resource cannot be built without them."""

from __future__ import annotations

from dataclasses import dataclass

REQUIRED_TAGS = ("Project", "Environment", "Owner", "CostCenter")


@dataclass(frozen=True)
class Tags:
    """Who owns a resource and who pays for it. `name` is added per resource."""

    environment: str
    owner: str
    cost_center: str
    project: str = "vigil"

    def common(self) -> dict[str, str]:
        """The required tags, also the provider's defaults: remote components' children get them."""
        values = (self.project, self.environment, self.owner, self.cost_center)
        return {**dict(zip(REQUIRED_TAGS, values, strict=True)), "ManagedBy": "pulumi"}

    def of(self, name: str, **more: str) -> dict[str, str]:
        """The tags of one resource: `Name`, the required ones, and `more`."""
        return {"Name": name, **self.common(), **more}
