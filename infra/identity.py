"""Who acts: an IAM role per workload (EKS Pod Identity), and roles of the delivery workflows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.arns import AwsPlace, managed_policy
from infra.component import Component, Options, Resources
from infra.delivery_grants import boundary, lock_state, manage_roles, use_state
from infra.grants import Document, Statement, policy_document
from infra.tags import Tags
from infra.trust import GITHUB_ISSUER, trust_github, trust_pods, trust_service

_NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
)


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """A role for the pods of `service_account` in `namespace`.

    `document` is its only policy, `managed` AWS' own ones by ARN.
    """

    place: AwsPlace
    cluster: str
    namespace: str
    service_account: str
    tags: Tags
    document: pulumi.Input[Document] | None = None
    managed: Sequence[str] = ()
    associate: bool = True  # EKS add-ons associate by themselves


class PodRole(Component):
    """A role, its policy, and its association with one service account.

    No key anywhere, and no other pod can take it.
    """

    def __init__(
        self,
        name: str,
        args: PodRoleArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:PodRole", name, {}, opts)
        self._args = args
        self.role = self._role(name)
        rights = self._rights(name)
        if args.associate:
            self._associate(name, rights)
        # What an add-on is told, to associate by itself.
        self.association = {
            "role_arn": self.role.arn,
            "service_account": args.service_account,
        }
        self.register_outputs({"arn": self.role.arn})

    def _role(self, name: str) -> aws.iam.Role:
        args = self._args
        trust = trust_pods(
            args.place,
            args.cluster,
            args.namespace,
            service_account=args.service_account,
        )
        return aws.iam.Role(
            name,
            assume_role_policy=json.dumps(trust),
            tags=args.tags.of(name),
            opts=self.child,
        )

    def _rights(self, name: str) -> Resources:
        args = self._args
        rights: Resources = [
            attach_policy(
                name,
                self.role,
                arn,
                opts=self.child,
            )
            for arn in args.managed
        ]
        if args.document is not None:
            policy = pulumi.Output.from_input(args.document).apply(json.dumps)
            rights.append(
                aws.iam.RolePolicy(
                    name,
                    role=self.role.name,
                    policy=policy,
                    opts=self.child,
                )
            )
        return rights

    def _associate(self, name: str, rights: Resources) -> None:
        args = self._args
        aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=self.role.arn,
            tags=args.tags.of(name),
            opts=self.after(*rights),
        )


@dataclass(frozen=True, kw_only=True)
class GitHubArgs:
    """`repository` is OWNER/NAME.

    `environment` is the GitHub environment whose protection rules guard `up`.
    """

    name: str
    place: AwsPlace
    repository: str
    environment: str
    state_bucket: str
    tags: Tags

    @property
    def prefix(self) -> str:
        """What the names of the stack's resources begin with."""
        return f"{self.name}-"


@dataclass(frozen=True, kw_only=True)
class WorkflowRole:
    """What a workflow of GitHub may do; `subject` is the claim that its token must have."""

    verb: str
    subject: str
    statements: Sequence[Statement]
    managed: Sequence[str]
    boundary: pulumi.Input[str] | None = None


class GitHub(Component):
    """A plan role that looks (pull requests), an apply role that changes (one environment)."""

    def __init__(
        self,
        name: str,
        args: GitHubArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:GitHub", name, {}, opts)
        self._args = args
        self._issuer = aws.iam.OpenIdConnectProvider(
            name,
            url=f"https://{GITHUB_ISSUER}",
            client_id_lists=["sts.amazonaws.com"],
            tags=args.tags.of(name),
            opts=self.child,
        )
        self.plan = self._role(self._planner())
        self.apply = self._role(self._applier())
        self.register_outputs({"plan": self.plan.arn, "apply": self.apply.arn})

    def _planner(self) -> WorkflowRole:
        args = self._args
        return WorkflowRole(
            verb="plan",
            subject="pull_request",
            statements=lock_state(args.state_bucket, args.place),
            managed=("job-function/ViewOnlyAccess", "SecurityAudit"),
        )

    def _applier(self) -> WorkflowRole:
        args = self._args
        state = use_state(args.state_bucket, args.place)
        return WorkflowRole(
            verb="apply",
            subject=f"environment:{args.environment}",
            statements=[*state, *manage_roles(args.place, args.prefix)],
            managed=("PowerUserAccess",),
            boundary=self._boundary().arn,
        )

    def _boundary(self) -> aws.iam.Policy:
        args = self._args
        name = f"{args.name}-apply-boundary"
        limit = policy_document(boundary(args.place, args.prefix, args.state_bucket))
        return aws.iam.Policy(
            name,
            description="The most that a deployment may do, whatever else is attached to it",
            policy=json.dumps(limit),
            tags=args.tags.of(name),
            opts=self.child,
        )

    def _role(self, workflow: WorkflowRole) -> aws.iam.Role:
        name = f"{self._args.name}-{workflow.verb}"
        role = aws.iam.Role(
            name,
            name=name,
            assume_role_policy=self._trust(workflow.subject),
            max_session_duration=3600,
            permissions_boundary=workflow.boundary,
            tags=self._args.tags.of(name),
            opts=self.child,
        )
        for policy in workflow.managed:
            attach_policy(
                name,
                role,
                managed_policy(policy),
                opts=self.child,
            )
        rights = json.dumps(policy_document(workflow.statements))
        aws.iam.RolePolicy(
            name,
            role=role.name,
            policy=rights,
            opts=self.child,
        )
        return role

    def _trust(self, subject: str) -> pulumi.Output[str]:
        claim = f"repo:{self._args.repository}:{subject}"
        return self._issuer.arn.apply(lambda arn: json.dumps(trust_github(arn, claim)))


def attach_policy(
    name: str,
    role: aws.iam.Role,
    policy_arn: str,
    *,
    opts: pulumi.ResourceOptions,
) -> aws.iam.RolePolicyAttachment:
    """Attach a policy of AWS' own to a role."""
    label = f"{name}-{policy_arn.split('/')[-1]}"
    return aws.iam.RolePolicyAttachment(
        label,
        role=role.name,
        policy_arn=policy_arn,
        opts=opts,
    )


@dataclass(frozen=True)
class NodeRole:
    """The role of nodes, and what is attached to it: nodes need both from their first minute on."""

    role: aws.iam.Role
    attached: Resources


def node_role(
    name: str,
    tags: Tags,
    opts: pulumi.ResourceOptions,
) -> NodeRole:
    """The role of a node: join the cluster, wire up pods, pull images.

    Pods cannot reach it (one hop to the metadata service).
    """
    trust = json.dumps(trust_service("ec2.amazonaws.com"))
    role = aws.iam.Role(
        name,
        name=name,
        assume_role_policy=trust,
        tags=tags.of(name),
        opts=opts,
    )
    arns = [managed_policy(policy) for policy in _NODE_POLICIES]
    return NodeRole(
        role,
        [
            attach_policy(
                name,
                role,
                arn,
                opts=opts,
            )
            for arn in arns
        ],
    )
