"""What the AWS Load Balancer Controller may do: on load balancers of its own cluster. After the controller's published policy."""

from __future__ import annotations

from infra.grants import Document, allow, policy_document

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


def load_balancer_controller(account: str, region: str, cluster: str, certificate: str) -> Document:
    """The policy of the controller of `cluster`; of certificates it sees `certificate` alone."""
    asked = {"aws:RequestTag/elbv2.k8s.aws/cluster": cluster}
    has = {"aws:ResourceTag/elbv2.k8s.aws/cluster": cluster}
    elb, ec2 = f"arn:aws:elasticloadbalancing:{region}:{account}", f"arn:aws:ec2:{region}:{account}"
    balancers = [f"{elb}:loadbalancer/app/*", f"{elb}:targetgroup/*"]
    listeners = [f"{elb}:listener/app/*", f"{elb}:listener-rule/app/*"]
    return policy_document(
        [
            allow(
                "Look",
                [
                    *(f"ec2:Describe{name}" for name in _EC2_DESCRIBED),
                    *(f"elasticloadbalancing:Describe{name}" for name in _BALANCING_DESCRIBED),
                    "ec2:GetSecurityGroupsForVpc",
                ],
                ["*"],
            ),
            allow("LookAtCertificate", ("acm:DescribeCertificate",), [certificate]),
            allow(
                "Make",
                (
                    "elasticloadbalancing:CreateLoadBalancer",
                    "elasticloadbalancing:CreateTargetGroup",
                ),
                balancers,
                StringEquals=asked,
            ),
            allow(
                "Change",
                [f"elasticloadbalancing:{name}" for name in _BALANCER_CHANGES],
                balancers,
                StringEquals=has,
            ),
            allow(
                "Listen",
                [f"elasticloadbalancing:{name}" for name in _LISTENER_CHANGES],
                [*balancers, *listeners],
            ),
            allow(
                "Route",
                ("elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"),
                [f"{elb}:targetgroup/*"],
            ),
            allow(
                "Tag",
                ("elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"),
                [*balancers, *listeners],
            ),
            allow(
                "MakeGroups",
                ("ec2:CreateSecurityGroup",),
                [f"{ec2}:security-group/*", f"{ec2}:vpc/*"],
            ),
            allow(
                "TagGroups",
                ("ec2:CreateTags",),
                [f"{ec2}:security-group/*"],
                StringEquals={"ec2:CreateAction": "CreateSecurityGroup", **asked},
            ),
            # Rules also go into the cluster's own group, which carries another tag.
            allow(
                "OpenGroups",
                ("ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"),
                [f"{ec2}:security-group/*"],
            ),
            allow(
                "DropGroups",
                ("ec2:DeleteSecurityGroup",),
                [f"{ec2}:security-group/*"],
                StringEquals=has,
            ),
        ]
    )
