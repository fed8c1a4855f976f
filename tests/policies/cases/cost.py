"""Cases of the rules of policies/cost.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

MACHINE = (
    "{} is not in the list of machine types: choose one that is, or extend the parameter `allowed`"
)
NAT_S3 = "traffic to S3 is paid for at the NAT gateway: add a gateway VpcEndpoint for S3"
GP2 = "{} is gp2: use gp3, which is cheaper and faster"

COST_CASES = [
    Case(
        "machine-type-allowed",
        ("nodes", "instanceTypes"),
        [
            Break(
                "nodes",
                "instanceTypes",
                ["m7g.large", "p5.48xlarge"],
                MACHINE.replace("{}", "p5.48xlarge"),
            ),
            Break(
                "database",
                "instanceClass",
                "db.r7g.16xlarge",
                MACHINE.replace("{}", "db.r7g.16xlarge"),
            ),
            Break(
                "template", "instanceType", "u-6tb1.metal", MACHINE.replace("{}", "u-6tb1.metal")
            ),
        ],
    ),
    Case(
        "node-group-bounded",
        ("nodes", "scalingConfig.maxSize"),
        [
            Break(
                "nodes",
                "scalingConfig.maxSize",
                100.0,
                "the group may grow to 100 nodes: lower scalingConfig.maxSize",
            )
        ],
    ),
    Case(
        "node-pool-bounded",
        ("ray-serve", "spec.limits.cpu"),
        [
            Break(
                "ray-serve",
                "spec.limits.cpu",
                "2000",
                "the pool may grow to 2000 CPUs: lower spec.limits.cpu",
            )
        ],
    ),
    Case(
        "s3-traffic-stays-inside",
        ("s3-endpoint", "serviceName"),
        [
            Break("s3-endpoint", "", REMOVED, NAT_S3, "vpc"),
            Break("s3-endpoint", "serviceName", "com.amazonaws.eu-west-1.ecr.api", NAT_S3, "vpc"),
            Break("s3-endpoint", "vpcEndpointType", "Interface", NAT_S3, "vpc"),
        ],
    ),
    Case(
        "volumes-gp3",
        ("volume", "type"),
        [
            Break("volume", "type", "gp2", GP2.replace("{}", "the volume")),
            Break("database", "storageType", "gp2", GP2.replace("{}", "the storage")),
            Break(
                "template",
                "blockDeviceMappings.0.ebs.volumeType",
                "gp2",
                GP2.replace("{}", "device /dev/xvda"),
            ),
        ],
    ),
]
