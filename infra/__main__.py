"""The Pulumi program: reads the settings, makes AWS (or takes the cluster of the kubeconfig), applies the Kubernetes part."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from infra.apply import Platform, PlatformArgs
from infra.manifests.bindings import RAY, Bindings
from infra.settings import read_config, read_secrets

settings = read_config()
secrets = read_secrets(settings)
if settings.on_aws:
    from infra.amazon import provision

    amazon = provision(settings, secrets)
    provider, args = amazon.provider, PlatformArgs(settings, amazon.bindings, secrets, amazon.ready)
    for key, value in amazon.exports.items():
        pulumi.export(key, value)
else:
    # The cluster is named by its stack: another kubeconfig or context for it updates objects, and replaces none.
    provider = k8s.Provider(settings.name, cluster_identifier=settings.name, enable_server_side_apply=True)
    args = PlatformArgs(settings, Bindings(redis_address=settings.redis_address or None), secrets)
Platform(settings.name, args, pulumi.ResourceOptions(provider=provider))
pulumi.export("namespace", RAY)
pulumi.export("image", settings.image_ref)
