"""Where Ray's nodes come from: what Karpenter needs of AWS, or fixed node groups."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.arns import AwsPlace
from infra.component import Component, Options
from infra.identity import PodRole, PodRoleArgs, node_role
from infra.karpenter_grants import KarpenterNames, karpenter_controller
from infra.node_groups import NodeGroupArgs, PoolSize, launch_template, node_group
from infra.resource_policies import queue_policy
from infra.tags import Tags


@dataclass(frozen=True)
class InterruptionEvent:
    """What EC2 tells before it takes a node away."""

    rule: str
    source: str
    kind: str

    def pattern(self) -> str:
        """The event as EventBridge matches it."""
        return json.dumps({"source": [self.source], "detail-type": [self.kind]})


_INTERRUPTION_EVENTS = (
    InterruptionEvent("health", "aws.health", "AWS Health Event"),
    InterruptionEvent("spot", "aws.ec2", "EC2 Spot Instance Interruption Warning"),
    InterruptionEvent("rebalance", "aws.ec2", "EC2 Instance Rebalance Recommendation"),
    InterruptionEvent("state", "aws.ec2", "EC2 Instance State-change Notification"),
)


@dataclass(frozen=True, kw_only=True)
class KarpenterArgs:
    """`cluster` is the name of the EKS cluster and the value of the discovery tag.

    `role` is that of the nodes that it makes.
    """

    cluster: str
    place: AwsPlace
    role: aws.iam.Role
    tags: Tags


class Karpenter(Component):
    """The controller's role, the nodes' profile, and the queue that announces interruptions."""

    def __init__(
        self,
        name: str,
        args: KarpenterArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Karpenter", name, {}, opts)
        self._args = args
        profile = self._profile(name)
        queue = self._queue(name)
        self._announce_interruptions(name, queue)
        self.controller = self._controller(name, profile, queue)
        self.register_outputs({"queue": queue.name, "profile": profile.name})

    def _profile(self, name: str) -> aws.iam.InstanceProfile:
        args = self._args
        return aws.iam.InstanceProfile(
            name,
            name=name,
            role=args.role.name,
            tags=args.tags.of(name),
            opts=self.child,
        )

    def _controller(
        self,
        name: str,
        profile: aws.iam.InstanceProfile,
        queue: aws.sqs.Queue,
    ) -> PodRole:
        args = self._args
        document = pulumi.Output.all(args.role.arn, profile.arn, queue.arn).apply(
            lambda arns: karpenter_controller(
                args.place,
                args.cluster,
                KarpenterNames(*map(str, arns)),
            )
        )
        role = PodRoleArgs(
            place=args.place,
            cluster=args.cluster,
            namespace="kube-system",
            service_account="karpenter",
            tags=args.tags,
            document=document,
        )
        return PodRole(f"{name}-controller", role, self.child)

    def _queue(self, name: str) -> aws.sqs.Queue:
        return aws.sqs.Queue(
            name,
            name=name,
            message_retention_seconds=300,
            sqs_managed_sse_enabled=True,
            tags=self._args.tags.of(name),
            opts=self.child,
        )

    def _announce_interruptions(self, name: str, queue: aws.sqs.Queue) -> None:
        rules = [self._rule(name, event, queue).arn for event in _INTERRUPTION_EVENTS]
        policy = pulumi.Output.all(queue.arn, *rules).apply(
            lambda arns: json.dumps(queue_policy(arns[0], arns[1:]))
        )
        aws.sqs.QueuePolicy(
            name,
            queue_url=queue.url,
            policy=policy,
            opts=self.child,
        )

    def _rule(
        self,
        name: str,
        event: InterruptionEvent,
        queue: aws.sqs.Queue,
    ) -> aws.cloudwatch.EventRule:
        label = f"{name}-{event.rule}"
        rule = aws.cloudwatch.EventRule(
            label,
            event_pattern=event.pattern(),
            tags=self._args.tags.of(label),
            opts=self.child,
        )
        aws.cloudwatch.EventTarget(
            label,
            rule=rule.name,
            arn=queue.arn,
            opts=self.child,
        )
        return rule


@dataclass(frozen=True, kw_only=True)
class StaticNodesArgs:
    """`pools`: name -> size."""

    cluster: str
    subnets: list[pulumi.Output[str]]
    instance_types: tuple[str, ...]
    pools: dict[str, PoolSize]
    tags: Tags


class StaticNodes(Component):
    """One managed node group per pool. Nobody changes their sizes but this program."""

    def __init__(
        self,
        name: str,
        args: StaticNodesArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:StaticNodes", name, {}, opts)
        self._args = args
        self._role = node_role(name, args.tags, self.child)
        self._template = launch_template(name, args.tags, self.child)
        groups = [self._group(name, pool, size) for pool, size in args.pools.items()]
        self.register_outputs({"groups": [group.arn for group in groups]})

    def _group(
        self,
        name: str,
        pool: str,
        size: PoolSize,
    ) -> aws.eks.NodeGroup:
        args = self._args
        group = NodeGroupArgs(
            cluster=args.cluster,
            pool=pool,
            role=self._role.role.arn,
            subnets=args.subnets,
            instance_types=args.instance_types,
            template=self._template,
            size=size,
            tags=args.tags,
            tainted=True,
        )
        return node_group(f"{name}-{pool}", group, self.after(*self._role.attached))
