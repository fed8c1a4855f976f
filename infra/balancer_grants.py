"""What the AWS Load Balancer Controller may do: on load balancers of its own cluster.

After the controller's published policy (3.5.0), without Cognito, Shield and WAF.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.arns import AwsPlace
from infra.grants import Document, Statement, allow, policy_document, service_actions

_EC2_DESCRIBED = (
    "AccountAttributes",
    "Addresses",
    "AvailabilityZones",
    "CoipPools",
    "Instances",
    "InternetGateways",
    "NetworkInterfaces",
    "RouteTables",
    "SecurityGroups",
    "Subnets",
    "Tags",
    "VpcPeeringConnections",
    "Vpcs",
)
_BALANCING_DESCRIBED = (
    "CapacityReservation",
    "ListenerAttributes",
    "ListenerCertificates",
    "Listeners",
    "LoadBalancerAttributes",
    "LoadBalancers",
    "Rules",
    "SSLPolicies",
    "Tags",
    "TargetGroupAttributes",
    "TargetGroups",
    "TargetHealth",
    "TrustStores",
)
_BALANCER_CHANGES = (
    "DeleteLoadBalancer",
    "DeleteTargetGroup",
    "ModifyLoadBalancerAttributes",
    "ModifyTargetGroup",
    "ModifyTargetGroupAttributes",
    "SetIpAddressType",
    "SetSecurityGroups",
    "SetSubnets",
)
_LISTENER_CHANGES = (
    "AddListenerCertificates",
    "CreateListener",
    "CreateRule",
    "DeleteListener",
    "DeleteRule",
    "ModifyListener",
    "ModifyListenerAttributes",
    "ModifyRule",
    "RemoveListenerCertificates",
    "SetRulePriorities",
)


def load_balancer_controller(
    place: AwsPlace,
    cluster: str,
    certificate: str,
) -> Document:
    """The policy of the controller of `cluster`; of certificates it sees `certificate` alone."""
    return policy_document(
        [
            *_look(certificate),
            *_balance(place, cluster),
            *_open_groups(place, cluster),
        ]
    )


def _requested(cluster: str) -> dict[str, str]:
    """Condition: what is made is given the cluster's tag."""
    return {"aws:RequestTag/elbv2.k8s.aws/cluster": cluster}


def _present(cluster: str) -> dict[str, str]:
    """Condition: it carries the cluster's tag."""
    return {"aws:ResourceTag/elbv2.k8s.aws/cluster": cluster}


def _look(certificate: str) -> Iterator[Statement]:
    described = [
        *(f"ec2:Describe{name}" for name in _EC2_DESCRIBED),
        *(f"elasticloadbalancing:Describe{name}" for name in _BALANCING_DESCRIBED),
    ]
    yield allow("Look", [*described, "ec2:GetSecurityGroupsForVpc"], ["*"])
    yield allow("LookAtCertificate", ("acm:DescribeCertificate",), [certificate])


def _balance(place: AwsPlace, cluster: str) -> Iterator[Statement]:
    groups = place.arn("elasticloadbalancing", "targetgroup/*")
    balancers = [place.arn("elasticloadbalancing", "loadbalancer/app/*"), groups]
    listeners = [
        place.arn("elasticloadbalancing", "listener/app/*"),
        place.arn("elasticloadbalancing", "listener-rule/app/*"),
    ]
    yield from _manage_balancers(balancers, cluster)
    yield allow("Listen", _balancing(_LISTENER_CHANGES), [*balancers, *listeners])
    yield allow("Route", _balancing(("DeregisterTargets", "RegisterTargets")), [groups])
    yield allow("Tag", _balancing(("AddTags", "RemoveTags")), [*balancers, *listeners])


def _balancing(names: tuple[str, ...]) -> list[str]:
    return service_actions("elasticloadbalancing", names)


def _manage_balancers(balancers: list[str], cluster: str) -> Iterator[Statement]:
    yield allow(
        "Make",
        _balancing(("CreateLoadBalancer", "CreateTargetGroup")),
        balancers,
        StringEquals=_requested(cluster),
    )
    yield allow(
        "Change",
        _balancing(_BALANCER_CHANGES),
        balancers,
        StringEquals=_present(cluster),
    )


def _open_groups(place: AwsPlace, cluster: str) -> Iterator[Statement]:
    groups = place.arn("ec2", "security-group/*")
    networks = place.arn("ec2", "vpc/*")
    creating = {"ec2:CreateAction": "CreateSecurityGroup"}
    yield allow("MakeGroups", ("ec2:CreateSecurityGroup",), [groups, networks])
    yield allow(
        "TagGroups",
        ("ec2:CreateTags",),
        [groups],
        StringEquals=creating | _requested(cluster),
    )
    # Rules also go into the cluster's own group, which carries another tag.
    rules = ("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress")
    yield allow("OpenGroups", service_actions("ec2", rules), [groups])
    yield allow(
        "DropGroups",
        ("ec2:DeleteSecurityGroup",),
        [groups],
        StringEquals=_present(cluster),
    )
