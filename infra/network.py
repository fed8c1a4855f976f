"""The VPC: public, private and intra subnets over two or three zones.

And the ways out, and private ways to AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import cidr
from infra.component import Component, Options
from infra.grants import allow, policy_document
from infra.tags import Tags
from infra.trust import trust_service

_EVERYWHERE = "0.0.0.0/0"
_FLOW_LOG_WRITE = ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """`zones` are full names (eu-west-1a).

    `cluster` is the name that Karpenter and load balancers find subnets by.
    """

    cidr: str
    zones: tuple[str, ...]
    nat_per_zone: bool
    interface_endpoints: tuple[str, ...]
    region: str
    account: str
    cluster: str
    log_key: pulumi.Input[str]
    log_days: int
    protect: bool
    tags: Tags

    @property
    def nat_zones(self) -> tuple[str, ...]:
        """Zones that get a NAT gateway; the others go out through the first one's."""
        return self.zones if self.nat_per_zone else self.zones[:1]

    def service(self, name: str) -> str:
        """A service of AWS as an endpoint names it."""
        return f"com.amazonaws.{self.region}.{name}"


@dataclass(frozen=True)
class SubnetKind:
    """A tier of subnets, one of `blocks` for each zone."""

    tier: str
    blocks: list[str]
    tags: dict[str, str]


class Network(Component):
    """`private` subnets are for nodes (out through NAT), `intra` for databases (no way out).

    `public` subnets are for load balancers.
    """

    def __init__(
        self,
        name: str,
        args: NetworkArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Network", name, {}, opts)
        self._prefix = name
        self._args = args
        self.vpc = self._vpc()
        self._close_default_group()
        public, private, intra = self._kinds()
        self.public = self._subnets(public)
        self.private = self._subnets(private)
        self.intra = self._subnets(intra)
        self._endpoints(self._route_tables())
        self._flow_logs()
        outputs = {
            "vpc_id": self.vpc.id,
            "private": [subnet.id for subnet in self.private],
            "intra": [subnet.id for subnet in self.intra],
            "public": [subnet.id for subnet in self.public],
        }
        self.register_outputs(outputs)

    def _kept(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, protect=self._args.protect)

    def _tags(self, label: str, **more: str) -> dict[str, str]:
        return self._args.tags.of(label, **more)

    def _vpc(self) -> aws.ec2.Vpc:
        return aws.ec2.Vpc(
            self._prefix,
            cidr_block=self._args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags(self._prefix),
            opts=self._kept(),
        )

    def _close_default_group(self) -> None:
        """Nobody uses the default group; without rules nobody can."""
        aws.ec2.DefaultSecurityGroup(
            f"{self._prefix}-default",
            vpc_id=self.vpc.id,
            ingress=[],
            egress=[],
            tags=self._tags(f"{self._prefix}-default-closed"),
            opts=self.child,
        )

    def _kinds(self) -> tuple[SubnetKind, SubnetKind, SubnetKind]:
        blocks = cidr.split_vpc(self._args.cidr, len(self._args.zones))
        for_balancers = {"kubernetes.io/role/elb": "1"}
        for_nodes = {
            "kubernetes.io/role/internal-elb": "1",
            "karpenter.sh/discovery": self._args.cluster,
        }
        return (
            SubnetKind("public", [zone.public for zone in blocks], for_balancers),
            SubnetKind("private", [zone.private for zone in blocks], for_nodes),
            SubnetKind("intra", [zone.intra for zone in blocks], {}),
        )

    def _subnets(self, kind: SubnetKind) -> list[aws.ec2.Subnet]:
        return [
            self._subnet(kind, zone, block)
            for zone, block in zip(self._args.zones, kind.blocks, strict=True)
        ]

    def _subnet(
        self,
        kind: SubnetKind,
        zone: str,
        block: str,
    ) -> aws.ec2.Subnet:
        label = f"{self._prefix}-{kind.tier}-{zone[-1]}"
        return aws.ec2.Subnet(
            label,
            vpc_id=self.vpc.id,
            cidr_block=block,
            availability_zone=zone,
            map_public_ip_on_launch=False,
            tags=self._tags(label, Tier=kind.tier, **kind.tags),
            opts=self._kept(),
        )

    def _route_tables(self) -> list[aws.ec2.RouteTable]:
        """Public subnets go out through the internet gateway, private ones through NAT.

        Intra ones do not go out at all. Returned are the tables of private and intra subnets.
        """
        gateway = aws.ec2.InternetGateway(
            self._prefix,
            vpc_id=self.vpc.id,
            tags=self._tags(self._prefix),
            opts=self.child,
        )
        public = self._table(f"{self._prefix}-public", self.public)
        self._way_out(f"{self._prefix}-public", public, gateway_id=gateway.id)
        private = list(self._private_tables(self._nat_gateways(gateway)))
        return [*private, self._table(f"{self._prefix}-intra", self.intra)]

    def _nat_gateways(self, gateway: aws.ec2.InternetGateway) -> list[aws.ec2.NatGateway]:
        return [
            self._nat_gateway(zone, subnet, gateway)
            for zone, subnet in zip(self._args.nat_zones, self.public, strict=False)
        ]

    def _nat_gateway(
        self,
        zone: str,
        subnet: aws.ec2.Subnet,
        gateway: aws.ec2.InternetGateway,
    ) -> aws.ec2.NatGateway:
        label = f"{self._prefix}-nat-{zone[-1]}"
        tags = self._tags(label)
        address = aws.ec2.Eip(
            label,
            domain="vpc",
            tags=tags,
            opts=self.child,
        )
        return aws.ec2.NatGateway(
            label,
            subnet_id=subnet.id,
            allocation_id=address.id,
            tags=tags,
            opts=self.after(gateway),
        )

    def _private_tables(self, nats: list[aws.ec2.NatGateway]) -> Iterator[aws.ec2.RouteTable]:
        for index, zone in enumerate(self._args.zones):
            label = f"{self._prefix}-private-{zone[-1]}"
            nat = nats[index] if self._args.nat_per_zone else nats[0]
            table = self._table(label, [self.private[index]])
            self._way_out(label, table, nat_gateway_id=nat.id)
            yield table

    def _table(self, label: str, subnets: list[aws.ec2.Subnet]) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            label,
            vpc_id=self.vpc.id,
            tags=self._tags(label),
            opts=self.child,
        )
        for subnet in subnets:
            aws.ec2.RouteTableAssociation(
                subnet._name,
                subnet_id=subnet.id,
                route_table_id=table.id,
                opts=self.child,
            )
        return table

    def _way_out(
        self,
        label: str,
        table: aws.ec2.RouteTable,
        **through: pulumi.Input[str],
    ) -> None:
        aws.ec2.Route(
            label,
            route_table_id=table.id,
            destination_cidr_block=_EVERYWHERE,
            opts=self.child,
            **through,
        )

    def _endpoints(self, tables: list[aws.ec2.RouteTable]) -> None:
        """S3 costs nothing this way; the others keep image pulls and tokens off the NAT."""
        label = f"{self._prefix}-s3"
        aws.ec2.VpcEndpoint(
            label,
            vpc_id=self.vpc.id,
            service_name=self._args.service("s3"),
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=self._tags(label),
            opts=self.child,
        )
        if self._args.interface_endpoints:
            group = self._endpoint_group()
            for endpoint in self._args.interface_endpoints:
                self._interface_endpoint(endpoint, group)

    def _endpoint_group(self) -> aws.ec2.SecurityGroup:
        label = f"{self._prefix}-endpoints"
        https: aws.ec2.SecurityGroupIngressArgsDict = {
            "description": "HTTPS from the VPC",
            "protocol": "tcp",
            "from_port": 443,
            "to_port": 443,
            "cidr_blocks": [self._args.cidr],
        }
        return aws.ec2.SecurityGroup(
            label,
            description="HTTPS from the VPC to AWS",
            vpc_id=self.vpc.id,
            ingress=[https],
            egress=[],
            tags=self._tags(label),
            opts=self.child,
        )

    def _interface_endpoint(self, endpoint: str, group: aws.ec2.SecurityGroup) -> None:
        label = f"{self._prefix}-{endpoint.replace('.', '-')}"
        aws.ec2.VpcEndpoint(
            label,
            vpc_id=self.vpc.id,
            service_name=self._args.service(endpoint),
            vpc_endpoint_type="Interface",
            private_dns_enabled=True,
            subnet_ids=[subnet.id for subnet in self.intra],
            security_group_ids=[group.id],
            tags=self._tags(label),
            opts=self.child,
        )

    def _flow_logs(self) -> None:
        logs = self._flow_log_group()
        role = self._flow_role()
        rights = self._flow_rights(logs, role)
        aws.ec2.FlowLog(
            self._prefix,
            vpc_id=self.vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=logs.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags=self._tags(self._prefix),
            opts=self.after(rights),
        )

    def _flow_log_group(self) -> aws.cloudwatch.LogGroup:
        label = f"{self._prefix}-flow"
        return aws.cloudwatch.LogGroup(
            label,
            name=f"/vigil/{self._prefix}/flow",
            retention_in_days=self._args.log_days,
            kms_key_id=self._args.log_key,
            tags=self._tags(label),
            opts=self.child,
        )

    def _flow_role(self) -> aws.iam.Role:
        label = f"{self._prefix}-flow"
        trust = trust_service("vpc-flow-logs.amazonaws.com", account=self._args.account)
        return aws.iam.Role(
            label,
            assume_role_policy=json.dumps(trust),
            tags=self._tags(label),
            opts=self.child,
        )

    def _flow_rights(self, logs: aws.cloudwatch.LogGroup, role: aws.iam.Role) -> aws.iam.RolePolicy:
        return aws.iam.RolePolicy(
            f"{self._prefix}-flow",
            role=role.name,
            policy=logs.arn.apply(_write_logs),
            opts=self.child,
        )


def _write_logs(group_arn: str) -> str:
    write = allow("Write", _FLOW_LOG_WRITE, [group_arn, f"{group_arn}:*"])
    return json.dumps(policy_document([write]))
