"""The fields of where an environment is: its account, network, cluster and nodes. Pure."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infra.arns import AwsPlace
from infra.field_types import Blocks, ClosedBlocks, InstanceTypes, RetentionDays, Zones
from infra.tags import Tags

PROJECT = "vigil"


class PlaceFields(BaseModel):
    """Where an environment is, and the names that follow from it.

    Keys in Pulumi's configuration are the camelCase of these names.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )

    environment: str = Field(pattern=r"^[a-z][a-z0-9-]{1,15}$", description="name of the stack")
    target: Literal["aws", "kubernetes"] = Field(
        default="aws",
        description="aws: all from nothing; kubernetes: the cluster of the kubeconfig",
    )
    owner: str = Field(
        default="",
        description="tag Owner: who answers for the platform (required on aws)",
    )
    cost_center: str = Field(default="", description="tag CostCenter: who pays (required on aws)")
    protect: bool = Field(
        default=False,
        description="refuse to delete or replace what holds data; deletion protection",
    )
    chart_repository: str = Field(
        default="",
        pattern=r"^((https?|oci)://\S+)?$",
        description=(
            "repository (https:// or oci://) that has all Helm charts; empty: each from its"
            " project's own"
        ),
    )
    image_registry: str = Field(
        default="",
        pattern=r"^([a-z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?)?$",
        description=(
            "registry that mirrors the images of the charts, such as mirror.example.com/hub;"
            " empty: their own"
        ),
    )
    delete_crds: bool = Field(
        default=False,
        description=(
            "target kubernetes: KubeRay's kinds go with the stack, and all Ray objects of the"
            " cluster with them"
        ),
    )
    ready_timeout_s: int = Field(
        default=900,
        ge=0,
        description=(
            "seconds in which an update waits until the service answers; 0: it does not wait"
        ),
    )

    account_id: str = Field(
        default="",
        pattern=r"^(\d{12})?$",
        description="AWS account; the provider refuses any other (required on aws)",
    )
    region: str = Field(
        default="eu-west-1",
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        description="AWS region",
    )
    zones: Zones = Field(
        default=("a", "b"),
        description="letters of two or three availability zones",
    )
    vpc_cidr: str = Field(default="10.20.0.0/16", description="addresses of the VPC, /16 to /20")
    service_cidr: str = Field(
        default="172.20.0.0/16",
        description="addresses of Kubernetes services",
    )
    peer_cidrs: Blocks = Field(
        default=(),
        description="blocks that the VPC will be connected to; must not overlap it",
    )
    nat_per_zone: bool = Field(default=False, description="a NAT gateway per zone instead of one")
    interface_endpoints: tuple[str, ...] = Field(
        default=("ecr.api", "ecr.dkr", "sts", "logs"),
        description="AWS services that are reached inside the VPC (S3 always is)",
    )
    log_retention_days: RetentionDays = Field(
        default=30,
        description="days that flow logs and control-plane logs are kept",
    )

    kubernetes_version: str = Field(
        default="1.35",
        pattern=r"^1\.\d+$",
        description="version of the EKS control plane",
    )
    public_access_cidrs: ClosedBlocks = Field(
        default=(),
        description="who may reach the cluster's API from outside; none: private only",
    )
    admin_principals: tuple[str, ...] = Field(
        default=(),
        description="ARNs of IAM roles that administer the cluster, "
        "that of whoever runs `pulumi up` included "
        "(required on aws without githubRepository)",
    )
    viewer_principals: tuple[str, ...] = Field(
        default=(),
        description="ARNs of IAM roles that may look into the cluster",
    )
    nodes: Literal["karpenter", "auto", "static"] = Field(
        default="karpenter",
        description="who adds nodes: Karpenter, EKS Auto Mode, nobody",
    )
    system_instance_types: InstanceTypes = Field(
        default=("m6i.large",),
        description="instance types of the system node group",
    )
    ray_instance_types: InstanceTypes = Field(
        default=("m6i.2xlarge",),
        description="instance types of the static Ray node groups",
    )
    ray_node_cpu_limit: int = Field(
        default=64,
        ge=4,
        description="most CPUs that Karpenter buys per node pool",
    )
    spot_serving: bool = Field(
        default=True,
        description="serving replicas may run on spot capacity beside on-demand capacity",
    )

    bucket_purposes: ClassVar[tuple[str, ...]] = ("models", "data", "captured", "charts", "logs")

    @property
    def name(self) -> str:
        """Prefix of every name: `vigil-dev`."""
        return f"{PROJECT}-{self.environment}"

    @property
    def on_aws(self) -> bool:
        return self.target == "aws"

    @property
    def place(self) -> AwsPlace:
        """The account and region of everything on AWS."""
        return AwsPlace(self.account_id, self.region)

    @property
    def tags(self) -> Tags:
        return Tags(self.environment, self.owner, self.cost_center)

    @property
    def lease_table(self) -> str:
        """Name of the DynamoDB table by which consumers share the shards of a stream."""
        return f"{self.name}-leases"

    def bucket(self, purpose: str) -> str:
        """Name of a bucket: known before it exists, and unique by the account."""
        return f"{self.name}-{purpose}-{self.account_id}-{self.region}"
