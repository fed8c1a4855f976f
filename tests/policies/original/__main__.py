"""A platform as it is often put together in a hurry.

Every resource here is a mistake that the pack has to refuse.
"""

from __future__ import annotations

import json

import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


def everything(actions: str) -> str:
    """A policy document that allows the actions everywhere."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        }
    )


def pod(name: str, image: str, **container: object) -> dict[str, object]:
    """A pod template without a security context and without limits."""
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": name, "image": image, **container}]},
    }


def deployment(name: str, image: str, **container: object) -> k8s.apps.v1.Deployment:
    """A deployment of one such pod."""
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pod(name, image, **container)}
    return k8s.apps.v1.Deployment(name, metadata={"name": name, "namespace": "mlops"}, spec=spec)  # type: ignore[arg-type]


vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")
public = aws.ec2.Subnet(
    "public", vpc_id=vpc.id, cidr_block="10.0.1.0/24", map_public_ip_on_launch=True
)
aws.ec2.SecurityGroup(
    "open",
    vpc_id=vpc.id,
    ingress=[{"protocol": "tcp", "from_port": 0, "to_port": 65535, "cidr_blocks": ["0.0.0.0/0"]}],
)
aws.s3.Bucket("artifacts", bucket="mlops-artifacts", force_destroy=True)
aws.iam.Policy("access", policy=everything("*"))
aws.iam.Policy("s3-access", policy=everything("s3:*"))
aws.iam.AccessKey("ci-key", user="ci")
aws.ecr.Repository("serving", image_tag_mutability="MUTABLE")
cluster = eks.Cluster("cluster", subnet_ids=[public.id], skip_default_node_group=True)
aws.eks.NodeGroup(
    "nodes",
    cluster_name="cluster",
    node_role_arn="arn:aws:iam::111122223333:role/node",
    subnet_ids=[public.id],
    scaling_config={"desired_size": 1, "max_size": 3, "min_size": 1},
    remote_access={"ec2_ssh_key": "laptop"},
)

k8s.core.v1.Namespace("mlops", metadata={"name": "mlops"})
k8s.core.v1.Secret(
    "aws-credentials", metadata={"name": "aws-credentials", "namespace": "mlops"}, string_data=KEYS
)
deployment(
    "mlflow",
    "ghcr.io/mlflow/mlflow:latest",
    command=["mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db", "--host", "0.0.0.0"],
    env=[
        {"name": key, "valueFrom": {"secretKeyRef": {"name": "aws-credentials", "key": key}}}
        for key in KEYS
    ],
)
k8s.core.v1.Service(
    "mlflow-public",
    metadata={"name": "mlflow", "namespace": "mlops"},
    spec={"type": "LoadBalancer", "selector": {"app": "mlflow"}, "ports": [{"port": 5000}]},
)
k8s.core.v1.Service(
    "ray-dashboard",
    metadata={"name": "ray-dashboard", "namespace": "mlops"},
    spec={
        "type": "LoadBalancer",
        "ports": [{"name": "dashboard", "port": 8265}, {"name": "client", "port": 10001}],
    },
)
k8s.helm.v3.Release("kuberay", chart="kuberay-operator", namespace="mlops")
k8s.apiextensions.CustomResource(
    "ray",
    api_version="ray.io/v1",
    kind="RayService",
    metadata={"name": "ray", "namespace": "mlops"},
    spec={
        "serveConfigV2": json.dumps(
            {
                "applications": [
                    {
                        "name": "app",
                        "import_path": "serve.http.app:build",
                        "args": {"model_uri": "models:/anomaly/3"},
                        "deployments": [
                            {"name": "Detector", "autoscaling_config": {"min_replicas": 1}}
                        ],
                    }
                ]
            }
        ),
        "rayClusterConfig": {
            "rayVersion": "2.9.0",
            "headGroupSpec": {
                "serviceType": "LoadBalancer",
                "template": pod("head", "rayproject/ray:2.9"),
            },
            "workerGroupSpecs": [
                {"groupName": "w", "template": pod("worker", "rayproject/ray:latest")}
            ],
        },
    },
)
