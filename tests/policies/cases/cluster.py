"""Cases of the rules of policies/cluster.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

NO_PROTECTION = "deletionProtection is off: set it to true"
OPEN_API = (
    "the API endpoint is open to {}: set endpointPublicAccess to false, or list networks in"
    " publicAccessCidrs"
)
NOT_PRIVATE = (
    "the private endpoint is off, so nodes reach the API over the internet: set"
    " endpointPrivateAccess to true"
)
VERSION = "Kubernetes {} is not in the list of supported versions: set version to one that is"
EXTENDED = (
    "the cluster would slide into paid extended support: set upgradePolicy.supportType to STANDARD"
)
PLAIN_SECRETS = (
    "Kubernetes secrets are not encrypted with a KMS key: set encryptionConfig for secrets"
)
CONFIG_MAP = (
    "access is kept in the aws-auth ConfigMap: set authenticationMode to API and use access entries"
)
IMDS = (
    "the metadata service hands out credentials too freely: set metadataOptions.httpTokens to"
    " required and httpPutResponseHopLimit to 1"
)
HIDDEN = (
    "whoever creates the cluster stays its administrator: set"
    " bootstrapClusterCreatorAdminPermissions to false"
)
PUBLIC_NODES = (
    "subnet private gives its machines public addresses: put the nodes into private subnets"
)

CLUSTER_CASES = [
    Case(
        "eks-endpoint-not-open",
        ("cluster", "vpcConfig.endpointPublicAccess"),
        [
            Break(
                "cluster",
                "vpcConfig.endpointPublicAccess",
                True,
                OPEN_API.replace("{}", "0.0.0.0/0"),
            ),
            Break(
                "cluster",
                "vpcConfig.endpointPublicAccess",
                REMOVED,
                OPEN_API.replace("{}", "0.0.0.0/0"),
            ),
            Break("cluster", "vpcConfig", REMOVED, OPEN_API.replace("{}", "0.0.0.0/0")),
            Break(
                "cluster",
                "vpcConfig",
                {"publicAccessCidrs": ["10.0.0.0/8", "::/0"]},
                OPEN_API.replace("{}", "::/0"),
            ),
        ],
    ),
    Case(
        "eks-endpoint-private",
        ("cluster", "vpcConfig.endpointPrivateAccess"),
        [
            Break("cluster", "vpcConfig.endpointPrivateAccess", False, NOT_PRIVATE),
            Break("cluster", "vpcConfig.endpointPrivateAccess", REMOVED, NOT_PRIVATE),
        ],
    ),
    Case(
        "eks-version-supported",
        ("cluster", "version"),
        [
            Break("cluster", "version", "1.29", VERSION.replace("{}", "1.29")),
            Break("cluster", "version", REMOVED, VERSION.replace("{}", "(the provider's choice)")),
        ],
    ),
    Case(
        "eks-standard-support",
        ("cluster", "upgradePolicy.supportType"),
        [
            Break("cluster", "upgradePolicy.supportType", "EXTENDED", EXTENDED),
            Break("cluster", "upgradePolicy", REMOVED, EXTENDED),
        ],
    ),
    Case(
        "eks-secrets-encrypted",
        ("cluster", "encryptionConfig"),
        [
            Break("cluster", "encryptionConfig.resources", [], PLAIN_SECRETS),
            Break("cluster", "encryptionConfig", REMOVED, PLAIN_SECRETS),
        ],
    ),
    Case(
        "eks-control-plane-logged",
        ("cluster", "enabledClusterLogTypes"),
        [
            Break(
                "cluster",
                "enabledClusterLogTypes",
                ["api"],
                "control-plane logs audit, authenticator are off: add them to"
                " enabledClusterLogTypes",
            ),
            Break(
                "cluster",
                "enabledClusterLogTypes",
                REMOVED,
                "control-plane logs api, audit, authenticator are off: add them to"
                " enabledClusterLogTypes",
            ),
        ],
    ),
    Case(
        "eks-access-by-api",
        ("cluster", "accessConfig.authenticationMode"),
        [
            Break("cluster", "accessConfig.authenticationMode", "API_AND_CONFIG_MAP", CONFIG_MAP),
            Break("cluster", "accessConfig.authenticationMode", REMOVED, CONFIG_MAP),
        ],
    ),
    Case(
        "eks-no-hidden-admin",
        ("cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions"),
        [
            Break("cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions", True, HIDDEN),
            Break(
                "cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions", REMOVED, HIDDEN
            ),
        ],
    ),
    Case(
        "eks-deletion-protected",
        ("cluster", "deletionProtection"),
        [
            Break("cluster", "deletionProtection", False, NO_PROTECTION),
            Break("cluster", "deletionProtection", REMOVED, NO_PROTECTION),
        ],
    ),
    Case(
        "eks-nodes-private",
        ("nodes", "subnetIds"),
        [Break("private", "mapPublicIpOnLaunch", True, PUBLIC_NODES, "nodes")],
    ),
    Case(
        "eks-no-ssh",
        ("nodes", "remoteAccess"),
        [
            Break(
                "nodes",
                "remoteAccess",
                {"ec2SshKey": "me"},
                "remoteAccess opens SSH to the nodes: remove it and use Session Manager",
            )
        ],
    ),
    Case(
        "imds-v2-only",
        ("template", "metadataOptions.httpTokens"),
        [
            Break("template", "metadataOptions.httpTokens", "optional", IMDS),
            Break("template", "metadataOptions.httpPutResponseHopLimit", 2.0, IMDS),
            Break("template", "metadataOptions", REMOVED, IMDS),
        ],
    ),
    Case(
        "karpenter-imds-v2-only",
        ("node-class", "spec.metadataOptions.httpTokens"),
        [
            Break("node-class", "spec.metadataOptions.httpTokens", "optional", IMDS),
            Break("node-class", "spec.metadataOptions.httpPutResponseHopLimit", 2.0, IMDS),
        ],
    ),
    Case(
        "node-pool-limited",
        ("ray-head", "spec.limits.cpu"),
        [
            Break(
                "ray-head",
                path,
                REMOVED,
                "the pool may grow without end: set spec.limits.cpu and spec.limits.memory",
            )
            for path in ("spec.limits", "spec.limits.cpu", "spec.limits.memory")
        ],
    ),
    Case(
        "guardduty-watches",
        ("RUNTIME_MONITORING", "status"),
        [
            Break("detector", "enable", False, "the detector is off: turn it on"),
            Break(
                "EKS_AUDIT_LOGS",
                "status",
                "DISABLED",
                "EKS_AUDIT_LOGS is off: turn it on",
                "detector",
            ),
            Break(
                "RUNTIME_MONITORING",
                "",
                REMOVED,
                "RUNTIME_MONITORING is off: turn it on",
                "detector",
            ),
        ],
    ),
]
