"""Who may enter the cluster: one EKS access entry for each principal, so that each can be taken away alone.

They are resources of our own, not arguments of `pulumi_eks.Cluster`: the component hands its
protection down to its children, and an entry that is protected can never be removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.tags import Tags

_CLUSTER_POLICY = "arn:aws:eks::aws:cluster-access-policy"
_ADMIN_POLICY, _VIEW_POLICY = (
    f"{_CLUSTER_POLICY}/AmazonEKSClusterAdminPolicy",
    f"{_CLUSTER_POLICY}/AmazonEKSAdminViewPolicy",
)


@dataclass(frozen=True, kw_only=True)
class AccessArgs:
    """`admins`, `viewers`: label -> role ARN; `nodes`: the role of nodes that join by themselves."""

    cluster: str
    admins: Mapping[str, pulumi.Input[str]]
    viewers: Mapping[str, pulumi.Input[str]]
    nodes: pulumi.Input[str] | None
    tags: Tags


def label_principals(arns: tuple[str, ...]) -> dict[str, pulumi.Input[str]]:
    """Principals by what their ARN says of them, `111122223333-role.admin`: not by their place in the
    list, as whoever is taken out of it would move those who follow."""
    paths = {arn: arn.split(":", 4)[-1].replace("/", ".") for arn in arns}
    return {re.sub(r"[^\w.-]+", "-", path): arn for arn, path in paths.items()}


def grant_access(
    name: str, args: AccessArgs, opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """The entries and their policies. A principal keeps its entry when its policy changes."""
    made: list[pulumi.Resource] = []
    for label, principal, policy in _people(args):
        entry = _entry(f"{name}-{label}", args, principal, "STANDARD", opts=opts)
        association = aws.eks.AccessPolicyAssociation(
            f"{name}-{label}",
            cluster_name=args.cluster,
            principal_arn=principal,
            policy_arn=policy,
            access_scope={"type": "cluster"},
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[entry])),
        )
        made += [entry, association]
    if args.nodes is not None:
        made.append(_entry(f"{name}-nodes", args, args.nodes, "EC2_LINUX", opts=opts))
    return made


def _people(args: AccessArgs) -> Iterator[tuple[str, pulumi.Input[str], str]]:
    for found, policy in ((args.admins, _ADMIN_POLICY), (args.viewers, _VIEW_POLICY)):
        yield from ((label, principal, policy) for label, principal in found.items())


def _entry(
    name: str,
    args: AccessArgs,
    principal: pulumi.Input[str],
    kind: str,
    *,
    opts: pulumi.ResourceOptions,
) -> aws.eks.AccessEntry:
    return aws.eks.AccessEntry(
        name,
        cluster_name=args.cluster,
        principal_arn=principal,
        type=kind,
        tags=args.tags.of(name),
        opts=opts,
    )
