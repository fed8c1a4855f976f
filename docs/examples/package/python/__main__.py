"""Vigil's Kubernetes part on the cluster of the kubeconfig, from a program of one's own."""

import pulumi
import pulumi_vigil as vigil

config = pulumi.Config()
platform = vigil.Platform(
    "platform",
    environment="local",
    image=config.get("image") or "vigil:dev",
    home_storage_class="standard",
    home_access_mode="ReadWriteOnce",
    home_size_gib=5,
    mlflow_store="sqlite",
    mlflow_replicas=1,
    monitoring=False,
    head_cpu=1,
    head_memory_gib=2,
    worker_cpu=1,
    worker_memory_gib=2,
    min_workers=1,
    max_workers=2,
    serve={"minReplicas": 1, "maxReplicas": 2, "cpusPerReplica": 0.5},
    ray_token=config.require_secret("rayToken"),
    api_keys=config.require_secret("apiKeys"),
    mlflow_password=config.require_secret("mlflowPassword"),
    mlflow_secret_key=config.require_secret("mlflowSecretKey"),
)
pulumi.export("namespace", platform.namespace)
