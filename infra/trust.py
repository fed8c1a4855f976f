"""Who may assume a role: trust policies as pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from infra.arns import AwsPlace
from infra.grants import Document, Statement, policy_document

GITHUB_ISSUER = "token.actions.githubusercontent.com"


def trust_service(
    service: str, actions: Sequence[str] = ("sts:AssumeRole",), account: str | None = None
) -> Document:
    """A role of an AWS service, of this account's resources alone where `account` is given."""
    statement: Statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": list(actions),
    }
    if account is not None:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return policy_document([statement])


def trust_pods(
    place: AwsPlace,
    cluster: str,
    namespace: str,
    service_account: str,
) -> Document:
    """A role for the pods of one service account in one cluster (EKS Pod Identity)."""
    session = {
        "aws:SourceAccount": place.account,
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": service_account,
    }
    cluster_arn = place.arn("eks", f"cluster/{cluster}")
    statement: Statement = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": session,
            "ArnEquals": {"aws:SourceArn": cluster_arn},
        },
    }
    return policy_document([statement])


def trust_github(provider_arn: str, subject: str) -> Document:
    """A role for the workflows of exactly one `sub` claim, never a pattern.

    Such as `repo:OWNER/NAME:environment:prod`.
    """
    claims = {
        f"{GITHUB_ISSUER}:aud": "sts.amazonaws.com",
        f"{GITHUB_ISSUER}:sub": subject,
    }
    statement: Statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": claims},
    }
    return policy_document([statement])
