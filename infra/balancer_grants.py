"""What the AWS Load Balancer Controller may do: on load balancers of its own cluster. After the controller's published policy."""

from __future__ import annotations

from infra.grants import Document, allow, document

LOOK_EC2 = (
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
LOOK_ELB = (
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
CHANGE = (
    "DeleteLoadBalancer",
    "DeleteTargetGroup",
    "ModifyLoadBalancerAttributes",
    "ModifyTargetGroup",
    "ModifyTargetGroupAttributes",
    "SetIpAddressType",
    "SetSecurityGroups",
    "SetSubnets",
)
LISTEN = (
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


def controller(account: str, region: str, cluster: str, certificate: str) -> Document:
    """The policy of the controller of `cluster`; of certificates it sees `certificate` alone."""
    asked = {"aws:RequestTag/elbv2.k8s.aws/cluster": cluster}
    has = {"aws:ResourceTag/elbv2.k8s.aws/cluster": cluster}
    elb, ec2 = f"arn:aws:elasticloadbalancing:{region}:{account}", f"arn:aws:ec2:{region}:{account}"
    balancers = [f"{elb}:loadbalancer/app/*", f"{elb}:targetgroup/*"]
    listeners = [f"{elb}:listener/app/*", f"{elb}:listener-rule/app/*"]
    return document(
        [
            allow(
                "Look",
                [
                    *(f"ec2:Describe{name}" for name in LOOK_EC2),
                    *(f"elasticloadbalancing:Describe{name}" for name in LOOK_ELB),
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
                [f"elasticloadbalancing:{name}" for name in CHANGE],
                balancers,
                StringEquals=has,
            ),
            allow(
                "Listen",
                [f"elasticloadbalancing:{name}" for name in LISTEN],
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
