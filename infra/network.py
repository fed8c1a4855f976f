"""The VPC: public, private and intra subnets over two or three zones, ways out, and private ways to AWS."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import cidr, grants
from infra.tags import Tags


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """`zones` are full names (eu-west-1a); `cluster` is the name that Karpenter and load balancers find subnets by."""

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


class Network(pulumi.ComponentResource):
    """`private` subnets are for nodes (out through NAT), `intra` for databases (no way out), `public` for load balancers."""

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Network", name, {}, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        blocks = cidr.split_vpc(args.cidr, len(args.zones))
        self.vpc = aws.ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=args.tags.of(name),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        # Nobody uses the default group; without rules nobody can.
        aws.ec2.DefaultSecurityGroup(
            f"{name}-default",
            vpc_id=self.vpc.id,
            ingress=[],
            egress=[],
            tags=args.tags.of(f"{name}-default-closed"),
            opts=self._child,
        )
        self.public = self._subnets(
            "public", [b.public for b in blocks], {"kubernetes.io/role/elb": "1"}
        )
        self.private = self._subnets(
            "private",
            [b.private for b in blocks],
            {"kubernetes.io/role/internal-elb": "1", "karpenter.sh/discovery": args.cluster},
        )
        self.intra = self._subnets("intra", [b.intra for b in blocks], {})
        tables = self._routes()
        self._endpoints(tables)
        self._flow_logs()
        self.register_outputs(
            {
                "vpc_id": self.vpc.id,
                "private": [s.id for s in self.private],
                "intra": [s.id for s in self.intra],
                "public": [s.id for s in self.public],
            }
        )

    def _subnets(self, kind: str, blocks: list[str], tags: dict[str, str]) -> list[aws.ec2.Subnet]:
        return [
            aws.ec2.Subnet(
                f"{self._name}-{kind}-{zone[-1]}",
                vpc_id=self.vpc.id,
                cidr_block=block,
                availability_zone=zone,
                map_public_ip_on_launch=False,
                tags=self._args.tags.of(f"{self._name}-{kind}-{zone[-1]}", Tier=kind, **tags),
                opts=pulumi.ResourceOptions(parent=self, protect=self._args.protect),
            )
            for zone, block in zip(self._args.zones, blocks, strict=True)
        ]

    def _table(
        self, name: str, subnets: list[aws.ec2.Subnet], **way_out: pulumi.Input[str]
    ) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            name, vpc_id=self.vpc.id, tags=self._args.tags.of(name), opts=self._child
        )
        if way_out:
            aws.ec2.Route(
                name,
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                opts=self._child,
                **way_out,
            )
        for subnet in subnets:
            aws.ec2.RouteTableAssociation(
                subnet._name, subnet_id=subnet.id, route_table_id=table.id, opts=self._child
            )
        return table

    def _routes(self) -> list[aws.ec2.RouteTable]:
        """Public subnets go out through the internet gateway, private ones through NAT, intra ones not at all."""
        name, tags = self._name, self._args.tags
        gateway = aws.ec2.InternetGateway(
            name, vpc_id=self.vpc.id, tags=tags.of(name), opts=self._child
        )
        self._table(f"{name}-public", self.public, gateway_id=gateway.id)
        nats: list[aws.ec2.NatGateway] = []
        for zone, subnet in zip(
            self._args.zones, self.public[: None if self._args.nat_per_zone else 1], strict=False
        ):
            label = f"{name}-nat-{zone[-1]}"
            address = aws.ec2.Eip(label, domain="vpc", tags=tags.of(label), opts=self._child)
            nats.append(
                aws.ec2.NatGateway(
                    label,
                    subnet_id=subnet.id,
                    allocation_id=address.id,
                    tags=tags.of(label),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[gateway]),
                )
            )
        private = [
            self._table(
                f"{name}-private-{zone[-1]}",
                [subnet],
                nat_gateway_id=nats[i if self._args.nat_per_zone else 0].id,
            )
            for i, (zone, subnet) in enumerate(zip(self._args.zones, self.private, strict=True))
        ]
        return [*private, self._table(f"{name}-intra", self.intra)]

    def _endpoints(self, tables: list[aws.ec2.RouteTable]) -> None:
        """S3 costs nothing this way; the others keep image pulls and token exchanges off the NAT."""
        name, args = self._name, self._args
        service = f"com.amazonaws.{args.region}"
        aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=self.vpc.id,
            service_name=f"{service}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=args.tags.of(f"{name}-s3"),
            opts=self._child,
        )
        if not args.interface_endpoints:
            return
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            description="HTTPS from the VPC to AWS",
            vpc_id=self.vpc.id,
            opts=self._child,
            ingress=[
                {
                    "description": "HTTPS from the VPC",
                    "protocol": "tcp",
                    "from_port": 443,
                    "to_port": 443,
                    "cidr_blocks": [args.cidr],
                }
            ],
            egress=[],
            tags=args.tags.of(f"{name}-endpoints"),
        )
        for endpoint in args.interface_endpoints:
            label = f"{name}-{endpoint.replace('.', '-')}"
            aws.ec2.VpcEndpoint(
                label,
                vpc_id=self.vpc.id,
                service_name=f"{service}.{endpoint}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=[s.id for s in self.intra],
                security_group_ids=[group.id],
                tags=args.tags.of(label),
                opts=self._child,
            )

    def _flow_logs(self) -> None:
        name, args = self._name, self._args
        logs = aws.cloudwatch.LogGroup(
            f"{name}-flow",
            name=f"/vigil/{name}/flow",
            retention_in_days=args.log_days,
            kms_key_id=args.log_key,
            tags=args.tags.of(f"{name}-flow"),
            opts=self._child,
        )
        trust = json.dumps(
            grants.trust_service("vpc-flow-logs.amazonaws.com", account=args.account)
        )
        role = aws.iam.Role(
            f"{name}-flow",
            assume_role_policy=trust,
            tags=args.tags.of(f"{name}-flow"),
            opts=self._child,
        )
        write = ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
        policy = logs.arn.apply(
            lambda arn: json.dumps(
                grants.policy_document([grants.allow("Write", write, [arn, f"{arn}:*"])])
            )
        )
        rights = aws.iam.RolePolicy(f"{name}-flow", role=role.name, policy=policy, opts=self._child)
        aws.ec2.FlowLog(
            name,
            vpc_id=self.vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=logs.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags=args.tags.of(name),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights]),
        )
