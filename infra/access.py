"""Who may enter the cluster: an EKS access entry for each principal.

So each can be taken away alone. They are resources of our own, not arguments of
`pulumi_eks.Cluster`: the component hands its protection down to its children, and an entry that is
protected can never be removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.component import Resources
from infra.tags import Tags

_POLICIES = "arn:aws:eks::aws:cluster-access-policy"
_ADMIN_POLICY = f"{_POLICIES}/AmazonEKSClusterAdminPolicy"
_VIEW_POLICY = f"{_POLICIES}/AmazonEKSAdminViewPolicy"


@dataclass(frozen=True)
class Principal:
    """A role that enters the cluster, under a label of its own, with a policy of EKS."""

    label: str
    role_arn: pulumi.Input[str]
    policy: str


@dataclass(frozen=True, kw_only=True)
class AccessArgs:
    """`admins`, `viewers`: label -> role ARN; `nodes`: role of nodes that join by themselves."""

    cluster: str
    admins: Mapping[str, pulumi.Input[str]]
    viewers: Mapping[str, pulumi.Input[str]]
    nodes: pulumi.Input[str] | None
    tags: Tags

    def people(self) -> Iterator[Principal]:
        """Whoever enters with a policy."""
        yield from _principals(self.admins, _ADMIN_POLICY)
        yield from _principals(self.viewers, _VIEW_POLICY)


def label_principals(arns: tuple[str, ...]) -> dict[str, pulumi.Input[str]]:
    """Label principals by their ARN, `111122223333-role.admin`.

    Not by their place in the list, as whoever is taken out of it would move those who follow.
    """
    return {_label(arn): arn for arn in arns}


def _label(arn: str) -> str:
    path = arn.split(":", 4)[-1].replace("/", ".")
    return re.sub(r"[^\w.-]+", "-", path)


def grant_access(
    name: str,
    args: AccessArgs,
    opts: pulumi.ResourceOptions,
) -> Resources:
    """The entries and their policies. A principal keeps its entry when its policy changes."""
    resources: Resources = []
    for principal in args.people():
        entry = _entry(
            f"{name}-{principal.label}",
            args,
            principal.role_arn,
            opts=opts,
        )
        resources += [
            entry,
            _association(
                name,
                args,
                principal,
                entry,
                opts=opts,
            ),
        ]
    if args.nodes is not None:
        resources.append(
            _entry(
                f"{name}-nodes",
                args,
                args.nodes,
                "EC2_LINUX",
                opts=opts,
            )
        )
    return resources


def _entry(
    name: str,
    args: AccessArgs,
    role_arn: pulumi.Input[str],
    kind: str = "STANDARD",
    *,
    opts: pulumi.ResourceOptions,
) -> aws.eks.AccessEntry:
    return aws.eks.AccessEntry(
        name,
        cluster_name=args.cluster,
        principal_arn=role_arn,
        type=kind,
        tags=args.tags.of(name),
        opts=opts,
    )


def _association(
    name: str,
    args: AccessArgs,
    principal: Principal,
    entry: aws.eks.AccessEntry,
    *,
    opts: pulumi.ResourceOptions,
) -> aws.eks.AccessPolicyAssociation:
    after_entry = pulumi.ResourceOptions(depends_on=[entry])
    return aws.eks.AccessPolicyAssociation(
        f"{name}-{principal.label}",
        cluster_name=args.cluster,
        principal_arn=principal.role_arn,
        policy_arn=principal.policy,
        access_scope={"type": "cluster"},
        opts=pulumi.ResourceOptions.merge(opts, after_entry),
    )


def _principals(roles: Mapping[str, pulumi.Input[str]], policy: str) -> Iterator[Principal]:
    """Those that enter with a policy, by label and role ARN."""
    for label, role_arn in roles.items():
        yield Principal(label, role_arn, policy)
