"""Who acts: one IAM role per workload through EKS Pod Identity, and the roles of the delivery workflows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import grants
from infra.tags import Tags


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """A role for the pods of `service_account` in `namespace`; `document` is its only policy, `managed` AWS' own ones by ARN."""

    account: str
    region: str
    cluster: str
    namespace: str
    service_account: str
    tags: Tags
    document: pulumi.Input[grants.Document] | None = None
    managed: Sequence[str] = ()
    associate: bool = True  # EKS add-ons associate by themselves


class PodRole(pulumi.ComponentResource):
    """A role, its policy, and its tie to one service account: no key anywhere, and no other pod can take it."""

    def __init__(
        self, name: str, args: PodRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:PodRole", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        cluster_arn = f"arn:aws:eks:{args.region}:{args.account}:cluster/{args.cluster}"
        trust = grants.trust_pods(args.account, cluster_arn, args.namespace, args.service_account)
        self.role = aws.iam.Role(
            name, assume_role_policy=json.dumps(trust), tags=args.tags.of(name), opts=child
        )
        ready: list[pulumi.Resource] = [
            _attach(name, self.role, arn, child) for arn in args.managed
        ]
        if args.document is not None:
            policy = pulumi.Output.from_input(args.document).apply(json.dumps)
            ready.append(aws.iam.RolePolicy(name, role=self.role.name, policy=policy, opts=child))
        if args.associate:
            aws.eks.PodIdentityAssociation(
                name,
                cluster_name=args.cluster,
                namespace=args.namespace,
                service_account=args.service_account,
                role_arn=self.role.arn,
                tags=args.tags.of(name),
                opts=pulumi.ResourceOptions(parent=self, depends_on=ready),
            )
        # What an add-on is told, to associate by itself.
        self.association = {
            "role_arn": self.role.arn,
            "service_account": args.service_account,
        }
        self.register_outputs({"arn": self.role.arn})


@dataclass(frozen=True, kw_only=True)
class GitHubArgs:
    """`repository` is OWNER/NAME; `environment` the GitHub environment whose protection rules guard `up`."""

    name: str
    account: str
    region: str
    repository: str
    environment: str
    state_bucket: str
    tags: Tags


class GitHub(pulumi.ComponentResource):
    """A plan role that looks (pull requests), an apply role that changes (one environment of one repository)."""

    def __init__(
        self, name: str, args: GitHubArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:GitHub", name, {}, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        provider = aws.iam.OpenIdConnectProvider(
            name,
            url=f"https://{grants.GITHUB_ISSUER}",
            client_id_lists=["sts.amazonaws.com"],
            tags=args.tags.of(name),
            opts=self._child,
        )
        where = (args.state_bucket, args.account, args.region)
        self.plan = self._role(
            provider,
            "plan",
            "pull_request",
            grants.lock_state(*where),
            ("job-function/ViewOnlyAccess", "SecurityAudit"),
        )
        self.apply = self._role(
            provider,
            "apply",
            f"environment:{args.environment}",
            [*grants.use_state(*where), *grants.manage_roles(args.account, f"{args.name}-")],
            ("PowerUserAccess",),
            aws.iam.Policy(
                f"{args.name}-apply-boundary",
                description="The most that a deployment may do, whatever else is attached to it",
                policy=json.dumps(
                    grants.policy_document(
                        grants.boundary(
                            args.account, args.region, f"{args.name}-", args.state_bucket
                        )
                    )
                ),
                tags=args.tags.of(f"{args.name}-apply-boundary"),
                opts=self._child,
            ).arn,
        )
        self.register_outputs({"plan": self.plan.arn, "apply": self.apply.arn})

    def _role(
        self,
        provider: aws.iam.OpenIdConnectProvider,
        verb: str,
        subject: str,
        statements: list[grants.Statement],
        managed: tuple[str, ...],
        boundary: pulumi.Input[str] | None = None,
    ) -> aws.iam.Role:
        args, name = self._args, f"{self._args.name}-{verb}"
        trust = provider.arn.apply(
            lambda arn: json.dumps(grants.trust_github(arn, f"repo:{args.repository}:{subject}"))
        )
        role = aws.iam.Role(
            name,
            name=name,
            assume_role_policy=trust,
            max_session_duration=3600,
            permissions_boundary=boundary,
            tags=args.tags.of(name),
            opts=self._child,
        )
        for policy in managed:
            _attach(name, role, f"arn:aws:iam::aws:policy/{policy}", self._child)
        aws.iam.RolePolicy(
            name,
            role=role.name,
            policy=json.dumps(grants.policy_document(statements)),
            opts=self._child,
        )
        return role


def _attach(
    name: str, role: aws.iam.Role, policy_arn: str, opts: pulumi.ResourceOptions
) -> aws.iam.RolePolicyAttachment:
    label = f"{name}-{policy_arn.split('/')[-1]}"
    return aws.iam.RolePolicyAttachment(label, role=role.name, policy_arn=policy_arn, opts=opts)


@dataclass(frozen=True)
class NodeRole:
    """The role of nodes, and what is attached to it: nodes need both from their first minute on."""

    role: aws.iam.Role
    attached: list[pulumi.Resource]


def node_role(name: str, tags: Tags, opts: pulumi.ResourceOptions) -> NodeRole:
    """The role of a node: join the cluster, wire up pods, pull images. Pods cannot reach it (one hop to the metadata service)."""
    trust = json.dumps(grants.trust_service("ec2.amazonaws.com"))
    role = aws.iam.Role(name, name=name, assume_role_policy=trust, tags=tags.of(name), opts=opts)
    policies = (
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonEC2ContainerRegistryPullOnly",
    )
    arns = [f"arn:aws:iam::aws:policy/{policy}" for policy in policies]
    return NodeRole(role, [_attach(name, role, arn, opts) for arn in arns])
