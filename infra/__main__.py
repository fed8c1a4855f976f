"""The Pulumi program: reads the settings, makes AWS (or takes the cluster of the kubeconfig), applies the Kubernetes part."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from infra.apply import Platform, PlatformArgs
from infra.manifests.bindings import RAY, Bindings
from infra.settings import PlatformSettings, read_config, read_secrets
from train.errors import VigilError


def main() -> None:
    """Register every resource of the stack; raises BadSettings before the first one is."""
    settings = read_config()
    secrets = read_secrets(settings)
    provider, args = _on_aws(settings, secrets) if settings.on_aws else _here(settings, secrets)
    Platform(settings.name, args, pulumi.ResourceOptions(provider=provider))
    pulumi.export("namespace", RAY)
    pulumi.export("image", settings.image_ref)


def _on_aws(settings: PlatformSettings, secrets: dict[str, pulumi.Output[str]]) -> tuple[k8s.Provider, PlatformArgs]:
    from infra.amazon import provision

    amazon = provision(settings, secrets)
    for key, value in amazon.exports.items():
        pulumi.export(key, value)
    args = PlatformArgs(settings, amazon.bindings, secrets, ready=amazon.ready)
    return amazon.provider, args


def _here(settings: PlatformSettings, secrets: dict[str, pulumi.Output[str]]) -> tuple[k8s.Provider, PlatformArgs]:
    """The cluster of the kubeconfig. It is named by its stack: another kubeconfig or context for it updates objects, and
    replaces none."""
    provider = k8s.Provider(settings.name, cluster_identifier=settings.name, enable_server_side_apply=True)
    bindings = Bindings(redis_address=settings.redis_address or None)
    return provider, PlatformArgs(settings, bindings, secrets)


try:
    main()
except VigilError as error:
    # The engine prints this one's message alone; any other exception comes with a traceback.
    raise pulumi.RunError(error.message) from None
