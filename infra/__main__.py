"""The Pulumi program: reads the settings, makes AWS, applies the Kubernetes part.

Instead of AWS it may take the cluster of the kubeconfig.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import pulumi
import pulumi_kubernetes as k8s

from infra.apply import KubernetesPlatform, KubernetesPlatformArgs
from infra.manifests import all_objects
from infra.manifests.base import namespace_manifests
from infra.manifests.bindings import RAY_NAMESPACE, Bindings
from infra.manifests.delivery import needed_apis
from infra.preflight import StackNeeds, preflight, totals_by_namespace
from infra.readiness import await_platform, start_watch
from infra.settings import PlatformSettings
from infra.stack_settings import read_config, read_secrets
from vigil.errors import VigilError


def main() -> None:
    """Register every resource of the stack; raises BadSettings before the first one is."""
    settings = read_config()
    secrets = read_secrets(settings)
    provision = _on_aws if settings.on_aws else _here
    _apply(settings, provision(settings, secrets))
    pulumi.export("namespace", RAY_NAMESPACE)
    pulumi.export("image", settings.image_ref)


@dataclass(frozen=True)
class Destination:
    """The cluster that the Kubernetes part goes to; `kubeconfig` None: that of kubectl."""

    provider: k8s.Provider
    args: KubernetesPlatformArgs
    kubeconfig: pulumi.Output[str] | None = None


def _apply(settings: PlatformSettings, cluster: Destination) -> None:
    """Give the cluster its workloads, and wait until they serve."""
    # Argo CD applies them in its own time.
    timeout_s = settings.ready_timeout_s if settings.delivery == "pulumi" else 0
    start_watch(cluster.kubeconfig, timeout_s=timeout_s)
    opts = pulumi.ResourceOptions(provider=cluster.provider)
    platform = KubernetesPlatform(settings.name, cluster.args, opts)
    await_platform(
        platform.applied,
        cluster.kubeconfig,
        timeout_s=timeout_s,
        resource=platform,
    )


def _on_aws(settings: PlatformSettings, secrets: dict[str, pulumi.Output[str]]) -> Destination:
    from infra.amazon import provision

    amazon = provision(settings, secrets)
    for key, value in amazon.exports.items():
        pulumi.export(key, value)
    args = KubernetesPlatformArgs(
        settings,
        amazon.bindings,
        secrets,
        ready=amazon.ready,
    )
    return Destination(amazon.provider, args, amazon.kubeconfig)


def _here(settings: PlatformSettings, secrets: dict[str, pulumi.Output[str]]) -> Destination:
    """The cluster of kubectl.

    It is named by its stack: another kubeconfig or context for it updates objects, and replaces
    none. Its context is kept in the state: a `destroy` goes there, wherever kubectl points by then.
    """
    bindings = Bindings(redis_address=settings.redis_address or None)
    context = preflight(_wanted(settings, bindings))
    provider = k8s.Provider(
        settings.name,
        context=context,
        cluster_identifier=settings.name,
        enable_server_side_apply=True,
    )
    return Destination(provider, KubernetesPlatformArgs(settings, bindings, secrets))


def _wanted(settings: PlatformSettings, bindings: Bindings) -> StackNeeds:
    """What the stack needs of a cluster that exists."""
    groups = all_objects(settings, bindings).values()
    return StackNeeds(
        namespaces=_namespaces(settings),
        storage_class=settings.home_storage_class,
        stack=settings.name,
        rooms=totals_by_namespace([*chain.from_iterable(groups)]),
        apis=needed_apis(settings),
    )


def _namespaces(settings: PlatformSettings) -> tuple[str, ...]:
    return tuple(one["metadata"]["name"] for one in namespace_manifests(settings))


try:
    main()
except VigilError as error:
    # The engine prints this one's message alone; any other exception comes with a traceback.
    raise pulumi.RunError(error.message) from None
