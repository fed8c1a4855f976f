"""What a stack without a fault makes in AWS."""

from __future__ import annotations

from tests.policies.harness import Given
from tests.policies.parts import (
    ACCOUNT,
    KEY_ARN,
    TAGS,
    TLS_ONLY,
    allow,
    document,
    github,
    node_pool,
    of_bucket,
    trust,
)

AWS = [
    Given("aws:s3/bucket:Bucket", "models", {"bucket": "vigil-models", "tags": TAGS}),
    of_bucket(
        "BucketPublicAccessBlock",
        blockPublicAcls=True,
        blockPublicPolicy=True,
        ignorePublicAcls=True,
        restrictPublicBuckets=True,
    ),
    of_bucket("BucketPolicy", policy=document(TLS_ONLY)),
    of_bucket("BucketVersioning", versioningConfiguration={"status": "Enabled"}),
    of_bucket("BucketLifecycleConfiguration", rules=[{"status": "Enabled"}]),
    of_bucket(
        "BucketServerSideEncryptionConfiguration",
        rules=[
            {
                "applyServerSideEncryptionByDefault": {
                    "sseAlgorithm": "aws:kms",
                    "kmsMasterKeyId": KEY_ARN,
                }
            }
        ],
    ),
    of_bucket("BucketOwnershipControls", rule={"objectOwnership": "BucketOwnerEnforced"}),
    of_bucket("BucketLogging", targetBucket="vigil-logs"),
    Given("aws:ebs/volume:Volume", "volume", {"encrypted": True, "type": "gp3", "tags": TAGS}),
    Given(
        "aws:ec2/launchTemplate:LaunchTemplate",
        "template",
        {
            "blockDeviceMappings": [
                {"deviceName": "/dev/xvda", "ebs": {"encrypted": "true", "volumeType": "gp3"}}
            ],
            "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1.0},
            "tags": TAGS,
        },
    ),
    Given("aws:efs/fileSystem:FileSystem", "files", {"encrypted": True, "tags": TAGS}),
    Given(
        "aws:eks/cluster:Cluster",
        "cluster",
        {
            "name": "vigil",
            "version": "1.35",
            "vpcConfig": {"endpointPublicAccess": False, "endpointPrivateAccess": True},
            "upgradePolicy": {"supportType": "STANDARD"},
            "encryptionConfig": {"resources": ["secrets"], "provider": {"keyArn": KEY_ARN}},
            "enabledClusterLogTypes": ["api", "audit", "authenticator"],
            "accessConfig": {
                "authenticationMode": "API",
                "bootstrapClusterCreatorAdminPermissions": False,
            },
            "deletionProtection": True,
            "tags": TAGS,
        },
    ),
    Given(
        "aws:ec2/subnet:Subnet",
        "private",
        {"id": "subnet-1", "mapPublicIpOnLaunch": False, "tags": TAGS},
    ),
    Given(
        "aws:eks/nodeGroup:NodeGroup",
        "nodes",
        {
            "subnetIds": ["subnet-1"],
            "instanceTypes": ["m7g.large"],
            "scalingConfig": {"maxSize": 3.0},
            "capacityType": "ON_DEMAND",
            "labels": {"role": "system"},
            "tags": TAGS,
        },
    ),
    Given(
        "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
        "node-class",
        {
            "metadata": {"name": "ray"},
            "spec": {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1.0}},
        },
    ),
    node_pool("ray-head", ["on-demand"], "16"),
    node_pool("ray-serve", ["on-demand", "spot"], "64"),
    Given("aws:guardduty/detector:Detector", "detector", {"id": "d-1", "enable": True}),
    *(
        Given(
            "aws:guardduty/detectorFeature:DetectorFeature",
            name,
            {"detectorId": "d-1", "name": name, "status": "ENABLED"},
        )
        for name in ("EKS_AUDIT_LOGS", "RUNTIME_MONITORING")
    ),
    Given(
        "aws:rds/instance:Instance",
        "database",
        {
            "identifier": "mlflow",
            "engine": "postgres",
            "instanceClass": "db.t4g.medium",
            "publiclyAccessible": False,
            "storageEncrypted": True,
            "storageType": "gp3",
            "multiAz": True,
            "deletionProtection": True,
            "skipFinalSnapshot": False,
            "backupRetentionPeriod": 14.0,
            "autoMinorVersionUpgrade": True,
            "iamDatabaseAuthenticationEnabled": True,
            "enabledCloudwatchLogsExports": ["postgresql"],
            "parameterGroupName": "mlflow",
            "manageMasterUserPassword": True,
            "tags": TAGS,
        },
    ),
    Given(
        "aws:rds/parameterGroup:ParameterGroup",
        "parameters",
        {
            "family": "postgres17",
            "parameters": [{"name": "rds.force_ssl", "value": "1"}],
            "tags": TAGS,
        },
    ),
    Given(
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "redis",
        {
            "atRestEncryptionEnabled": True,
            "transitEncryptionEnabled": True,
            "authToken": "generated",
            "nodeType": "cache.t4g.small",
            "tags": TAGS,
        },
    ),
    Given(
        "aws:kinesis/stream:Stream",
        "stream",
        {"encryptionType": "KMS", "retentionPeriod": 168.0, "tags": TAGS},
    ),
    Given("aws:sqs/queue:Queue", "queue", {"sqsManagedSseEnabled": True, "tags": TAGS}),
    *(
        Given(
            "aws:cloudwatch/logGroup:LogGroup",
            name,
            {"name": path, "retentionInDays": 365.0, "kmsKeyId": KEY_ARN, "tags": TAGS},
        )
        for name, path in (
            ("logs", "/aws/eks/vigil/cluster"),
            ("database-logs", "/aws/rds/instance/mlflow/postgresql"),
        )
    ),
    Given("aws:ec2/vpc:Vpc", "vpc", {"id": "vpc-1", "tags": TAGS}),
    Given(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        "default-sg",
        {"vpcId": "vpc-1"},
        {"vpcId": ["vpc"]},
    ),
    Given(
        "aws:ec2/flowLog:FlowLog",
        "flow-log",
        {"vpcId": "vpc-1", "trafficType": "ALL"},
        {"vpcId": ["vpc"]},
    ),
    Given(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "s3-endpoint",
        {
            "vpcId": "vpc-1",
            "serviceName": "com.amazonaws.eu-west-1.s3",
            "vpcEndpointType": "Gateway",
            "tags": TAGS,
        },
        {"vpcId": ["vpc"]},
    ),
    Given(
        "aws:ec2/securityGroup:SecurityGroup",
        "sg",
        {
            "ingress": [
                {"protocol": "tcp", "fromPort": 443.0, "toPort": 443.0, "cidrBlocks": ["0.0.0.0/0"]}
            ],
            "tags": TAGS,
        },
    ),
    Given(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        "sg-rule",
        {"ipProtocol": "tcp", "fromPort": 5432.0, "toPort": 5432.0, "cidrIpv4": "10.0.0.0/16"},
    ),
    Given(
        "aws:iam/policy:Policy",
        "policy",
        {
            "policy": document(
                allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::vigil-models/*"),
                allow("kms:Decrypt", KEY_ARN),
                allow(["ec2:DescribeInstances"], "*"),
                allow(
                    "cloudwatch:PutMetricData",
                    "*",
                    Condition={"StringEquals": {"cloudwatch:namespace": "vigil"}},
                ),
            ),
            "tags": TAGS,
        },
    ),
    Given(
        "aws:iam/role:Role",
        "serve-role",
        {
            "arn": f"arn:aws:iam::{ACCOUNT}:role/serve",
            "assumeRolePolicy": document(trust(Service="pods.eks.amazonaws.com")),
            "inlinePolicies": [
                {
                    "name": "read",
                    "policy": document(allow("s3:GetObject", "arn:aws:s3:::vigil-models/*")),
                }
            ],
            "tags": TAGS,
        },
    ),
    Given("aws:iam/role:Role", "apply-role", {"assumeRolePolicy": github(), "tags": TAGS}),
    Given(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "attachment",
        {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"},
    ),
    Given(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "serve-identity",
        {
            "namespace": "vigil",
            "serviceAccount": "serve",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/serve",
        },
    ),
    Given(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "train-identity",
        {
            "namespace": "vigil",
            "serviceAccount": "train",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/train",
        },
    ),
    Given(
        "aws:kms/key:Key",
        "key",
        {
            "enableKeyRotation": True,
            "deletionWindowInDays": 30.0,
            "policy": document(
                allow("kms:*", "*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
            ),
            "tags": TAGS,
        },
    ),
    Given(
        "aws:secretsmanager/secret:Secret", "secret", {"recoveryWindowInDays": 30.0, "tags": TAGS}
    ),
    Given(
        "aws:ecr/repository:Repository",
        "repository",
        {
            "imageScanningConfiguration": {"scanOnPush": True},
            "imageTagMutability": "IMMUTABLE",
            "encryptionConfigurations": [{"encryptionType": "KMS"}],
            "tags": TAGS,
        },
    ),
    Given(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "ecr-lifecycle",
        {"repository": "repository"},
        {"repository": ["repository"]},
    ),
    Given("aws:budgets/budget:Budget", "budget", {"notifications": [{"threshold": 80.0}]}),
]
