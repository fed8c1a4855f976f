"""Parts of a stack without a fault: documents, containers, pods, groups of Ray."""

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
