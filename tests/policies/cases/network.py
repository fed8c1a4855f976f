"""Cases of the rules of policies/network.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

WORLD = "the whole internet may reach port {}: name the networks or security groups that need it"
NO_DEFAULT_SG = (
    "the default security group is left as AWS makes it: add an aws.ec2.DefaultSecurityGroup"
    " without rules"
)
DENY = (
    "no NetworkPolicy denies by default here: add one with an empty podSelector and policyTypes"
    " Ingress and Egress"
)
BALANCER = (
    "the load balancer faces the internet: use an Ingress with TLS, or annotate the scheme as"
    " internal"
)
CLEAR = (
    "requests travel in the clear: set spec.tls, or the annotation"
    " alb.ingress.kubernetes.io/certificate-arn"
)

NETWORK_CASES = [
    Case(
        "sg-ports-not-open",
        ("sg-rule", "cidrIpv4"),
        [
            Break("sg-rule", "cidrIpv4", "0.0.0.0/0", WORLD.replace("{}", "5432")),
            Break("sg-rule", "cidrIpv6", "::/0", WORLD.replace("{}", "5432")),
            Break("sg", "ingress.0.fromPort", 22.0, f"ingress 0: {WORLD.replace('{}', '22')}"),
            Break(
                "sg",
                "ingress.0",
                {
                    "protocol": "tcp",
                    "fromPort": 8000.0,
                    "toPort": 9000.0,
                    "ipv6CidrBlocks": ["::/0"],
                },
                f"ingress 0: {WORLD.replace('{}', '8265, 8404')}",
            ),
            Break(
                "sg-rule",
                "",
                {"type": "egress", "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"},
                WORLD.replace("{}", "0-65535"),
            ),
            Break(
                "sg",
                "ingress.0",
                {"cidrBlocks": ["0.0.0.0/0"], "toPort": 22.0},
                f"ingress 0: {WORLD.replace('{}', '22')}",
            ),
            Break(
                "sg",
                "ingress.0",
                {"cidrBlocks": ["0.0.0.0/0"], "fromPort": 10001.0},
                f"ingress 0: {WORLD.replace('{}', '10001')}",
            ),
            Break("sg", "ingress.0.protocol", "-1", f"ingress 0: {WORLD.replace('{}', '0-65535')}"),
        ],
    ),
    Case(
        "default-sg-closed",
        ("default-sg", "ingress"),
        [
            Break(
                "default-sg",
                key,
                [{"protocol": "-1"}],
                "the default security group has rules: remove ingress and egress",
            )
            for key in ("ingress", "egress")
        ],
    ),
    Case(
        "vpc-flow-logged",
        None,
        [
            Break(
                "flow-log",
                "",
                REMOVED,
                "traffic is not logged: add an aws.ec2.FlowLog for the VPC",
                "vpc",
            )
        ],
    ),
    Case("vpc-default-sg-managed", None, [Break("default-sg", "", REMOVED, NO_DEFAULT_SG, "vpc")]),
    Case(
        "subnet-no-public-addresses",
        ("private", "mapPublicIpOnLaunch"),
        [
            Break(
                "private",
                "mapPublicIpOnLaunch",
                True,
                "machines get public addresses by themselves: set mapPublicIpOnLaunch to false",
            )
        ],
    ),
    Case(
        "service-not-public",
        ("service", "spec.type"),
        [Break("service", "spec.type", "LoadBalancer", BALANCER)],
    ),
    Case("ingress-tls", ("ingress", "spec.tls"), [Break("ingress", "spec.tls", REMOVED, CLEAR)]),
    Case(
        "namespace-denies-by-default",
        ("default-deny", "spec.policyTypes"),
        [
            Break("default-deny", "", REMOVED, DENY, "namespace"),
            Break("default-deny", "metadata.namespace", "other", DENY, "namespace"),
            Break("default-deny", "spec.policyTypes", ["Ingress"], DENY, "namespace"),
            Break(
                "default-deny", "spec.podSelector", {"matchLabels": {"app": "x"}}, DENY, "namespace"
            ),
            Break(
                "default-deny",
                "spec.podSelector",
                {"matchExpressions": [{"key": "x"}]},
                DENY,
                "namespace",
            ),
            Break("default-deny", "spec.ingress", [{}], DENY, "namespace"),
            Break("default-deny", "spec.egress", [{}], DENY, "namespace"),
        ],
    ),
]
