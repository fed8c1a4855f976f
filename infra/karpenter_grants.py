"""What Karpenter's controller may do: only on what carries its cluster's tag.

After Karpenter's own template (1.14).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.arns import AwsPlace
from infra.grants import Document, Statement, allow, policy_document

_CREATE_ACTIONS = ("ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:RunInstances")
_LAUNCH_ACTIONS = ("ec2:CreateFleet", "ec2:RunInstances")
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
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribePlacementGroups",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
)
_QUEUE_ACTIONS = ("sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage")
_POOL_TAG = "karpenter.sh/nodepool"
_OF_A_POOL = {f"aws:ResourceTag/{_POOL_TAG}": "*"}
_FOR_A_POOL = {f"aws:RequestTag/{_POOL_TAG}": "*"}


@dataclass(frozen=True)
class KarpenterNames:
    """What the controller hands out and listens to, by ARN."""

    node_role: str
    profile: str
    queue: str


@dataclass(frozen=True)
class _Ownership:
    """Tags by which a cluster's nodes are told from those of others."""

    cluster: str

    @property
    def _owned(self) -> str:
        return f"kubernetes.io/cluster/{self.cluster}"

    @property
    def requested(self) -> dict[str, str]:
        """Condition: what is made is given the cluster's tags."""
        return {
            f"aws:RequestTag/{self._owned}": "owned",
            "aws:RequestTag/eks:eks-cluster-name": self.cluster,
        }

    @property
    def present(self) -> dict[str, str]:
        """Condition: it carries the cluster's tag."""
        return {f"aws:ResourceTag/{self._owned}": "owned"}


def karpenter_controller(
    place: AwsPlace,
    cluster: str,
    names: KarpenterNames,
) -> Document:
    """The policy of the controller of `cluster`."""
    ownership = _Ownership(cluster)
    return policy_document(
        [
            *_launch(place.region, ownership),
            *_tag(place.region, ownership),
            _terminate(place.region, ownership),
            *_look(place.region),
            *_use(names),
            _find_cluster(place, cluster),
        ]
    )


def _ec2(region: str, *kinds: str) -> list[str]:
    return [f"arn:aws:ec2:{region}:*:{kind}/*" for kind in kinds]


def _launch(region: str, ownership: _Ownership) -> Iterator[Statement]:
    images = [f"arn:aws:ec2:{region}::{kind}/*" for kind in ("image", "snapshot")]
    parts = _ec2(region, "capacity-reservation", "security-group", "subnet")
    yield allow("UseParts", _LAUNCH_ACTIONS, [*images, *parts])
    yield allow(
        "UseTemplates",
        _LAUNCH_ACTIONS,
        _ec2(region, "launch-template"),
        StringEquals=ownership.present,
        StringLike=_OF_A_POOL,
    )
    yield allow(
        "Make",
        _CREATE_ACTIONS,
        _ec2(region, *_CREATED_KINDS),
        StringEquals=ownership.requested,
        StringLike=_FOR_A_POOL,
    )


def _tag(region: str, ownership: _Ownership) -> Iterator[Statement]:
    creating = {"ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"]}
    yield allow(
        "TagWhatItMakes",
        ("ec2:CreateTags",),
        _ec2(region, *_CREATED_KINDS),
        StringLike=_FOR_A_POOL,
        StringEquals=ownership.requested | creating,
    )
    keys = {"aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]}
    yield allow(
        "TagNodes",
        ("ec2:CreateTags",),
        _ec2(region, "instance"),
        StringEquals=ownership.present,
        StringLike=_OF_A_POOL,
        **{"ForAllValues:StringEquals": keys},
    )


def _terminate(region: str, ownership: _Ownership) -> Statement:
    return allow(
        "Drop",
        ("ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"),
        _ec2(region, "instance", "launch-template"),
        StringEquals=ownership.present,
        StringLike=_OF_A_POOL,
    )


def _look(region: str) -> Iterator[Statement]:
    here = {"aws:RequestedRegion": region}
    images = f"arn:aws:ssm:{region}::parameter/aws/service/*"
    yield allow(
        "Look",
        _DESCRIBE_ACTIONS,
        ["*"],
        StringEquals=here,
    )
    yield allow("LookUpImages", ("ssm:GetParameter",), [images])
    yield allow("LookUpPrices", ("pricing:GetProducts",), ["*"])


def _use(names: KarpenterNames) -> Iterator[Statement]:
    to_machines = {"iam:PassedToService": "ec2.amazonaws.com"}
    yield allow("HearOfInterruptions", _QUEUE_ACTIONS, [names.queue])
    yield allow(
        "GiveNodesTheirRole",
        ("iam:PassRole",),
        [names.node_role],
        StringEquals=to_machines,
    )
    yield allow("LookUpProfile", ("iam:GetInstanceProfile",), [names.profile])
    profiles = f"{names.profile.rpartition('/')[0]}/*"
    yield allow("ListProfiles", ("iam:ListInstanceProfiles",), [profiles])


def _find_cluster(place: AwsPlace, cluster: str) -> Statement:
    arn = place.arn("eks", f"cluster/{cluster}")
    return allow("FindCluster", ("eks:DescribeCluster",), [arn])
