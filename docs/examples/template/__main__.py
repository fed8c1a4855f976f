"""Vigil on the cluster of the kubeconfig."""

import pulumi
import pulumi_vigil as vigil

config = pulumi.Config()
platform = vigil.Platform(
    "platform",
    environment=pulumi.get_stack(),
    image=config.require("image"),
    home_storage_class=config.require("homeStorageClass"),
    mlflow_store="sqlite",
    mlflow_replicas=1,
    monitoring=False,
    ray_token=config.require_secret("rayToken"),
    api_keys=config.require_secret("apiKeys"),
    mlflow_password=config.require_secret("mlflowPassword"),
    mlflow_secret_key=config.require_secret("mlflowSecretKey"),
)
pulumi.export("namespace", platform.namespace)
