"""What Karpenter's controller may do: only on what carries its cluster's tag. After Karpenter's own template (v1)."""

from __future__ import annotations

from infra.grants import Document, Statement, allow, policy_document

_CREATE_ACTIONS = ("ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:RunInstances")
_CREATED_KINDS = (
    "fleet",
    "instance",
    "launch-template",
    "network-interface",
    "spot-instances-request",
    "volume",
)
_DESCRIBE_ACTIONS = (
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
)


def karpenter_controller(
    account: str, region: str, cluster: str, node_role: str, profile: str, queue: str
) -> Document:
    """The policy of the controller of `cluster`; `node_role`, `profile` and `queue` are ARNs."""
    owned = f"kubernetes.io/cluster/{cluster}"
    pool = "karpenter.sh/nodepool"
    asked = {f"aws:RequestTag/{owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster}
    has = {f"aws:ResourceTag/{owned}": "owned"}

    def ec2(*kinds: str) -> list[str]:
        return [f"arn:aws:ec2:{region}:*:{kind}/*" for kind in kinds]

    tag: Statement = allow(
        "TagWhatItMakes",
        ("ec2:CreateTags",),
        ec2(*_CREATED_KINDS),
        StringLike={f"aws:RequestTag/{pool}": "*"},
        StringEquals={
            **asked,
            "ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"],
        },
    )
    parts = [f"arn:aws:ec2:{region}::{kind}/*" for kind in ("image", "snapshot")]
    return policy_document(
        [
            allow(
                "UseParts",
                _CREATE_ACTIONS[::2],
                [*parts, *ec2("capacity-reservation", "security-group", "subnet")],
            ),
            allow(
                "UseTemplates",
                _CREATE_ACTIONS[::2],
                ec2("launch-template"),
                StringEquals=has,
                StringLike={f"aws:ResourceTag/{pool}": "*"},
            ),
            allow(
                "Make",
                _CREATE_ACTIONS,
                ec2(*_CREATED_KINDS),
                StringEquals=asked,
                StringLike={f"aws:RequestTag/{pool}": "*"},
            ),
            tag,
            allow(
                "TagNodes",
                ("ec2:CreateTags",),
                ec2("instance"),
                StringEquals=has,
                StringLike={f"aws:ResourceTag/{pool}": "*"},
                **{
                    "ForAllValues:StringEquals": {
                        "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                    }
                },
            ),
            allow(
                "Drop",
                ("ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"),
                ec2("instance", "launch-template"),
                StringEquals=has,
                StringLike={f"aws:ResourceTag/{pool}": "*"},
            ),
            allow("Look", _DESCRIBE_ACTIONS, ["*"], StringEquals={"aws:RequestedRegion": region}),
            allow(
                "LookUpImages",
                ("ssm:GetParameter",),
                [f"arn:aws:ssm:{region}::parameter/aws/service/*"],
            ),
            allow("LookUpPrices", ("pricing:GetProducts",), ["*"]),
            allow(
                "HearOfInterruptions",
                ("sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"),
                [queue],
            ),
            allow(
                "GiveNodesTheirRole",
                ("iam:PassRole",),
                [node_role],
                StringEquals={"iam:PassedToService": "ec2.amazonaws.com"},
            ),
            allow("LookUpProfile", ("iam:GetInstanceProfile",), [profile]),
            allow(
                "FindCluster",
                ("eks:DescribeCluster",),
                [f"arn:aws:eks:{region}:{account}:cluster/{cluster}"],
            ),
        ]
    )
