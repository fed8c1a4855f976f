"""Where Ray's nodes come from: what Karpenter needs of AWS, or fixed node groups."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import grants, karpenter_grants
from infra.cluster import launch_template, node_group
from infra.identity import PodRole, PodRoleArgs, node_role
from infra.tags import Tags

# What EC2 tells before it takes a node away: rule -> (source, detail type).
_INTERRUPTION_EVENTS = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
}


@dataclass(frozen=True, kw_only=True)
class KarpenterArgs:
    """`cluster` is the name of the EKS cluster and the value of the discovery tag; `role` the role of the nodes it makes."""

    cluster: str
    account: str
    region: str
    role: aws.iam.Role
    tags: Tags


class Karpenter(pulumi.ComponentResource):
    """The controller's role, the nodes' profile, and the queue on which interruptions are announced."""

    def __init__(
        self, name: str, args: KarpenterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Karpenter", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        profile = aws.iam.InstanceProfile(
            name, name=name, role=args.role.name, tags=args.tags.of(name), opts=child
        )
        queue = self._queue(name, args, child)
        document = pulumi.Output.all(args.role.arn, profile.arn, queue.arn).apply(
            lambda arns: karpenter_grants.karpenter_controller(
                args.account, args.region, args.cluster, arns[0], arns[1], arns[2]
            )
        )
        self.controller = PodRole(
            f"{name}-controller",
            PodRoleArgs(
                account=args.account,
                region=args.region,
                cluster=args.cluster,
                namespace="kube-system",
                service_account="karpenter",
                tags=args.tags,
                document=document,
            ),
            child,
        )
        self.register_outputs({"queue": queue.name, "profile": profile.name})

    def _queue(
        self, name: str, args: KarpenterArgs, child: pulumi.ResourceOptions
    ) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            name,
            name=name,
            message_retention_seconds=300,
            sqs_managed_sse_enabled=True,
            tags=args.tags.of(name),
            opts=child,
        )
        rules = []
        for event, (source, kind) in _INTERRUPTION_EVENTS.items():
            pattern = json.dumps({"source": [source], "detail-type": [kind]})
            rule = aws.cloudwatch.EventRule(
                f"{name}-{event}",
                event_pattern=pattern,
                tags=args.tags.of(f"{name}-{event}"),
                opts=child,
            )
            aws.cloudwatch.EventTarget(f"{name}-{event}", rule=rule.name, arn=queue.arn, opts=child)
            rules.append(rule.arn)
        policy = pulumi.Output.all(queue.arn, *rules).apply(
            lambda arns: json.dumps(grants.queue_policy(arns[0], arns[1:]))
        )
        aws.sqs.QueuePolicy(name, queue_url=queue.url, policy=policy, opts=child)
        return queue


@dataclass(frozen=True, kw_only=True)
class StaticNodesArgs:
    """`pools`: name -> (least, wanted, most)."""

    cluster: str
    subnets: list[pulumi.Output[str]]
    instance_types: tuple[str, ...]
    pools: dict[str, tuple[int, int, int]]
    tags: Tags


class StaticNodes(pulumi.ComponentResource):
    """One managed node group per pool. Nobody changes their sizes but this program."""

    def __init__(
        self, name: str, args: StaticNodesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:StaticNodes", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        nodes = node_role(name, args.tags, child)
        template = launch_template(name, args.tags, child)
        ready = pulumi.ResourceOptions(parent=self, depends_on=nodes.attached)
        groups = [
            node_group(
                f"{name}-{pool}",
                args.cluster,
                nodes.role.arn,
                args.subnets,
                args.instance_types,
                template,
                sizes,
                {"vigil/pool": pool},
                args.tags,
                ready,
                taint=pool,
            )
            for pool, sizes in args.pools.items()
        ]
        self.register_outputs({"groups": [group.arn for group in groups]})
