"""A stack without a fault: every rule finds something to judge in it, and passes.

Tests break one property of it at a time.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.policies.harness import Given

ACCOUNT = "123456789012"
KEY_ARN = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234"
TAGS = {"Project": "vigil", "Environment": "prod", "Owner": "ml-platform", "CostCenter": "42"}
DIGEST = "sha256:" + "0" * 64
IMAGE = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/vigil@{DIGEST}"
LABELS = {"app.kubernetes.io/name": "vigil", "app.kubernetes.io/part-of": "vigil"}


def document(*statements: dict[str, Any]) -> str:
    """A policy document as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: str | list[str], resources: str | list[str], **more: Any) -> dict[str, Any]:
    """A statement that allows."""
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


TLS_ONLY = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": "*",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def trust(**principal: str) -> dict[str, Any]:
    """A statement of a trust policy."""
    return {
        "Effect": "Allow",
        "Principal": principal,
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }


def github(
    subject: str | list[str] = "repo:acme/vigil:environment:prod",
    audience: str = "sts.amazonaws.com",
    operator: str = "StringEquals",
) -> str:
    """The trust policy of a role for GitHub Actions."""
    issuer = "token.actions.githubusercontent.com"
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"
    statement = {**trust(Federated=provider), "Action": "sts:AssumeRoleWithWebIdentity"}
    return document(
        {
            **statement,
            "Condition": {operator: {f"{issuer}:aud": audience, f"{issuer}:sub": subject}},
        }
    )


def metadata(name: str, **more: Any) -> dict[str, Any]:
    """Object metadata."""
    return {"name": name, "namespace": "vigil", "labels": LABELS, **more}


def container(name: str, image: str = IMAGE, **more: Any) -> dict[str, Any]:
    """A container that Pod Security `restricted` admits, with resources."""
    return {
        "name": name,
        "image": image,
        "ports": [{"containerPort": 8000.0}],
        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
        "securityContext": {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def pod(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A pod spec that Pod Security `restricted` admits."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000.0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    volumes = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    spec = {"automountServiceAccountToken": False, "securityContext": security, "volumes": volumes}
    return {**spec, "containers": list(containers), **more}


RAY_ENV = [
    {"name": "RAY_SERVE_ENABLE_HA_PROXY", "value": "1"},
    {"name": "RAY_SERVE_THROUGHPUT_OPTIMIZED", "value": "1"},
    {"name": "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "value": "false"},
    {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"},
    {"name": "VIGIL_CONFIG", "value": "/etc/vigil-settings/vigil.yaml"},
]


def ray_group(pool: str, **more: Any) -> dict[str, Any]:
    """A head or worker group."""
    spec = pod(
        container("ray", env=[dict(each) for each in RAY_ENV]),
        nodeSelector={"karpenter.sh/nodepool": pool},
        terminationGracePeriodSeconds=150.0,
    )
    return {
        "rayStartParams": {},
        "template": {"metadata": {"annotations": {}}, "spec": spec},
        **more,
    }


def serve_config(**detector: Any) -> dict[str, Any]:
    """serveConfigV2 before it is written as YAML."""
    args = {"model_name": "vigil", "tracking_uri": "http://mlflow:5000"}
    deployment = {
        "name": "Detector",
        "max_queued_requests": 512,
        "autoscaling_config": {"min_replicas": 2, "max_replicas": 8},
        "user_config": {"poll_s": 2.0},
        **detector,
    }
    return {
        "applications": [
            {
                "name": "vigil",
                "import_path": "serve.http.app:build",
                "args": args,
                "deployments": [deployment],
            },
            {"name": "drift", "import_path": "drift.monitor:build", "args": args},
        ]
    }


def ray_service() -> dict[str, Any]:
    """The props of a RayService."""
    head = ray_group("ray-head")
    head["rayStartParams"] = {"num-cpus": "0"}
    head["template"]["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    ports = [{"name": "serve", "containerPort": 8000.0}]
    head["template"]["spec"]["containers"][0]["ports"] = ports
    worker = ray_group("ray-serve", groupName="serve", minReplicas=2.0, maxReplicas=4.0)
    cluster = {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "gcsFaultToleranceOptions": {"redisAddress": "rediss://redis:6379"},
        "headGroupSpec": head,
        "workerGroupSpecs": [worker],
    }
    spec = {
        "serveConfigV2": yaml.safe_dump(serve_config()),
        "rayClusterConfig": cluster,
        "upgradeStrategy": {"type": "NewCluster"},
    }
    return {"metadata": metadata("serve"), "spec": spec}


def node_pool(name: str, capacity: list[str], cpu: str) -> Given:
    """A Karpenter pool."""
    requirements = [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": capacity}]
    spec = {
        "limits": {"cpu": cpu, "memory": "256Gi"},
        "template": {"spec": {"requirements": requirements}},
    }
    return Given(
        "kubernetes:karpenter.sh/v1:NodePool", name, {"metadata": {"name": name}, "spec": spec}
    )


def of_bucket(kind: str, **props: Any) -> Given:
    """A setting of the bucket `models`."""
    lower = kind[0].lower() + kind[1:]
    return Given(
        f"aws:s3/{lower}:{kind}", kind, {"bucket": "vigil-models", **props}, {"bucket": ["models"]}
    )


MLFLOW = container(
    "mlflow",
    f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/mlflow@{DIGEST}",
    command=["mlflow"],
    args=[
        "server",
        "--app-name",
        "basic-auth",
        "--artifacts-destination",
        "s3://vigil-models/mlflow",
        "--allowed-hosts",
        "mlflow.vigil.svc,mlflow",
    ],
    env=[
        {
            "name": "MLFLOW_BACKEND_STORE_URI",
            "valueFrom": {"secretKeyRef": {"name": "mlflow", "key": "uri"}},
        },
        {"name": "MLFLOW_DISABLE_TELEMETRY", "value": "true"},
        {"name": "LOG_LEVEL", "value": "info"},
    ],
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
            "version": "1.34",
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

KUBERNETES = [
    Given(
        "kubernetes:core/v1:Namespace",
        "namespace",
        {
            "metadata": {
                "name": "vigil",
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            }
        },
    ),
    Given(
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "default-deny",
        {
            "metadata": metadata("default-deny"),
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        },
    ),
    Given(
        "kubernetes:core/v1:ResourceQuota",
        "quota",
        {"metadata": metadata("quota"), "spec": {"hard": {"requests.cpu": "24"}}},
    ),
    Given(
        "kubernetes:core/v1:Service",
        "service",
        {"metadata": metadata("serve"), "spec": {"type": "ClusterIP", "ports": [{"port": 8000.0}]}},
    ),
    Given(
        "kubernetes:networking.k8s.io/v1:Ingress",
        "ingress",
        {
            "metadata": metadata(
                "serve", annotations={"alb.ingress.kubernetes.io/scheme": "internet-facing"}
            ),
            "spec": {
                "tls": [{"hosts": ["vigil.example.org"]}],
                "rules": [
                    {
                        "http": {
                            "paths": [
                                {
                                    "backend": {
                                        "service": {"name": "serve", "port": {"number": 8000.0}}
                                    }
                                }
                            ]
                        }
                    }
                ],
            },
        },
    ),
    Given(
        "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute",
        "route",
        {
            "metadata": metadata("serve"),
            "spec": {"rules": [{"backendRefs": [{"name": "serve", "port": 8000.0}]}]},
        },
    ),
    Given(
        "kubernetes:core/v1:ConfigMap",
        "config",
        {"metadata": metadata("config"), "data": {"level": "info"}},
    ),
    Given(
        "kubernetes:core/v1:ConfigMap",
        "settings",
        {"metadata": metadata("settings"), "data": {"vigil.yaml": "train:\n  alertRate: 0.01\n"}},
    ),
    Given(
        "kubernetes:core/v1:Secret",
        "k8s-secret",
        {"metadata": metadata("secret"), "data": {"token": "Z2VuZXJhdGVk"}},
    ),
    Given(
        "kubernetes:helm.sh/v3:Release",
        "release",
        {
            "chart": "kuberay-operator",
            "version": "1.7.0",
            "atomic": True,
            "values": {"image": {"tag": "v1.7.0"}, "list": ["x"]},
        },
    ),
    Given(
        "kubernetes:argoproj.io/v1alpha1:Application",
        "application",
        {
            "metadata": metadata("vigil"),
            "spec": {
                "source": {"path": "rendered/prod", "targetRevision": "main"},
                "syncPolicy": {
                    "syncOptions": ["ServerSideApply=true", "RespectIgnoreDifferences=true"]
                },
                "ignoreDifferences": [
                    {
                        "group": "ray.io",
                        "kind": "RayService",
                        "jqPathExpressions": [".spec.rayClusterConfig.workerGroupSpecs[].replicas"],
                    }
                ],
            },
        },
    ),
    Given(
        "kubernetes:apps/v1:Deployment",
        "mlflow",
        {
            "metadata": metadata("mlflow"),
            "spec": {
                "template": {
                    "metadata": {"labels": {**LABELS, "app.kubernetes.io/version": "3.17.2"}},
                    "spec": pod(
                        MLFLOW,
                        initContainers=[container("migrate", env=[{"name": "A", "value": "b"}])],
                    ),
                }
            },
        },
    ),
    Given(
        "kubernetes:batch/v1:CronJob",
        "retrain",
        {
            "metadata": metadata("retrain"),
            "spec": {"jobTemplate": {"spec": {"template": {"spec": pod(container("submit"))}}}},
        },
    ),
    Given("kubernetes:ray.io/v1:RayService", "serve", ray_service()),
    Given(
        "kubernetes:policy/v1:PodDisruptionBudget",
        "budget-of-pods",
        {
            "metadata": metadata("serve"),
            "spec": {"minAvailable": 2.0, "selector": {"matchLabels": {"ray.io/group": "serve"}}},
        },
    ),
]

GOOD = [*AWS, *KUBERNETES]
