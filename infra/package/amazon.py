"""Components of the package on AWS: a network, and the stream that telemetry arrives on."""

from typing import NotRequired, TypedDict

import pulumi

from infra.kinesis import Stream, StreamArgs
from infra.network import Network, NetworkArgs
from infra.package.ownership import (
    Ownership,
    PackageComponent,
    owner_tags,
    stack_default,
)


class NetworkInputs(TypedDict):
    """A VPC over two or three zones."""

    ownership: Ownership
    """The tags that everything carries"""
    account: str
    """AWS account"""
    region: str
    """AWS region"""
    zones: list[str]
    """Two or three zones by their full names, such as eu-west-1a"""
    log_key: pulumi.Input[str]
    """ARN of the KMS key that flow logs are encrypted with"""
    cidr: NotRequired[str]
    """Addresses, /16 to /20; default 10.20.0.0/16"""
    log_days: NotRequired[int]
    """Days that flow logs are kept; default that of a stack"""
    nat_per_zone: NotRequired[bool]
    """A NAT gateway per zone instead of one"""
    interface_endpoints: NotRequired[list[str]]
    """AWS services that are reached inside the VPC; default ecr.api, ecr.dkr, sts and logs"""
    protect: NotRequired[bool]
    """Refuse to delete or replace it"""


class PlatformNetwork(PackageComponent):
    """Public, private and intra subnets, the ways out, flow logs, and private ways to AWS."""

    vpc_id: pulumi.Output[str]
    """The VPC"""
    private_subnet_ids: pulumi.Output[list[str]]
    """Subnets for nodes"""
    intra_subnet_ids: pulumi.Output[list[str]]
    """Subnets without a way out, for databases"""
    public_subnet_ids: pulumi.Output[list[str]]
    """Subnets for load balancers"""

    def __init__(
        self,
        name: str,
        args: NetworkInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        network = Network(name, _network_args(name, args), self.own)
        self.vpc_id = network.vpc.id
        self.private_subnet_ids = pulumi.Output.all(*(one.id for one in network.private))
        self.intra_subnet_ids = pulumi.Output.all(*(one.id for one in network.intra))
        self.public_subnet_ids = pulumi.Output.all(*(one.id for one in network.public))
        self.register_outputs({"vpcId": self.vpc_id, "privateSubnetIds": self.private_subnet_ids})


def _network_args(name: str, args: NetworkInputs) -> NetworkArgs:
    endpoints = args.get("interface_endpoints", ["ecr.api", "ecr.dkr", "sts", "logs"])
    return NetworkArgs(
        cidr=args.get("cidr", "10.20.0.0/16"),
        zones=tuple(args["zones"]),
        nat_per_zone=args.get("nat_per_zone", False),
        interface_endpoints=tuple(endpoints),
        region=args["region"],
        account=args["account"],
        cluster=name,
        log_key=args["log_key"],
        log_days=int(args.get("log_days", stack_default("log_retention_days"))),
        protect=args.get("protect", False),
        tags=owner_tags(args["ownership"]),
    )


class StreamInputs(TypedDict):
    """A Kinesis stream."""

    ownership: Ownership
    """The tags that everything carries"""
    key: pulumi.Input[str]
    """ARN of the KMS key that records are encrypted with"""
    mode: NotRequired[str]
    """ON_DEMAND (default) or PROVISIONED"""
    shards: NotRequired[int]
    """Shards of a PROVISIONED stream; default 1"""
    hours: NotRequired[int]
    """Hours that records are kept; default that of a stack"""
    protect: NotRequired[bool]
    """Refuse to delete or replace it"""


class TelemetryStream(PackageComponent):
    """The stream that telemetry arrives on: encrypted, and kept long enough to be replayed."""

    stream_name: pulumi.Output[str]
    """Name of the stream"""
    arn: pulumi.Output[str]
    """ARN of the stream"""

    def __init__(
        self,
        name: str,
        args: StreamInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        made = Stream(name, _stream_args(args), self.own)
        self.stream_name = made.stream.name
        self.arn = made.stream.arn
        self.register_outputs({"streamName": self.stream_name, "arn": self.arn})


def _stream_args(args: StreamInputs) -> StreamArgs:
    return StreamArgs(
        mode=args.get("mode", "ON_DEMAND"),
        shards=int(args.get("shards", 1)),
        hours=int(args.get("hours", stack_default("stream_hours"))),
        key=args["key"],
        protect=args.get("protect", False),
        tags=owner_tags(args["ownership"]),
    )
