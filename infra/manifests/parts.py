"""What the manifests share: metadata, the restricted pod, network policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Manifest = dict[str, Any]

VIGIL_USER_ID = 1000  # of the Vigil image
HOME_PATH = "/var/lib/vigil"  # the shared folder
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": VIGIL_USER_ID,
    "runAsGroup": VIGIL_USER_ID,
    "fsGroup": VIGIL_USER_ID,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}


def kube_manifest(api: str, kind: str, name: str, namespace: str | None, **fields: Any) -> Manifest:
    """A Kubernetes object with the labels that all of Vigil's carry."""
    labels = {"app.kubernetes.io/part-of": "vigil", "app.kubernetes.io/name": name} | fields.pop(
        "labels", {}
    )
    metadata: Manifest = {"name": name, "labels": labels}
    if namespace is not None:
        metadata["namespace"] = namespace
    if annotations := fields.pop("annotations", None):
        metadata["annotations"] = annotations
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def environment_variables(
    values: Mapping[str, str], secrets: Mapping[str, tuple[str, str]] | None = None
) -> list[Manifest]:
    """Environment variables, sorted; `secrets`: variable -> (Secret, key)."""
    plain: list[Manifest] = [{"name": key, "value": value} for key, value in values.items()]
    hidden: list[Manifest] = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": entry}}}
        for key, (name, entry) in (secrets or {}).items()
    ]
    return sorted([*plain, *hidden], key=lambda one: one["name"])


def resources(cpu: float | str, memory: str) -> Manifest:
    """Requests, and the same as limits.

    A pod that is promised memory gets it, and is not the first to be evicted.
    """
    amounts = {"cpu": str(cpu), "memory": memory}
    return {"requests": dict(amounts), "limits": amounts}


def network_policy(
    name: str,
    namespace: str,
    pods: Mapping[str, str],
    ingress: Iterable[Manifest] = (),
    egress: Iterable[Manifest] = (),
) -> Manifest:
    """What is allowed besides nothing. Directions without rules stay closed by `deny_all`."""
    spec: Manifest = {"podSelector": {"matchLabels": dict(pods)} if pods else {}, "policyTypes": []}
    for direction, rules in (("Ingress", list(ingress)), ("Egress", list(egress))):
        if rules:
            spec["policyTypes"].append(direction)
            spec[direction.lower()] = rules
    return kube_manifest("networking.k8s.io/v1", "NetworkPolicy", name, namespace, spec=spec)


def deny_all(namespace: str) -> Manifest:
    """Nothing in, nothing out."""
    return kube_manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "deny-all",
        namespace,
        spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    )


def policy_ports(*numbers: int, protocol: str = "TCP") -> list[Manifest]:
    return [{"port": number, "protocol": protocol} for number in numbers]


def in_namespace(name: str, pods: Mapping[str, str] | None = None) -> Manifest:
    """A peer: the pods of another namespace."""
    peer: Manifest = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    return {**peer, "podSelector": {"matchLabels": dict(pods)}} if pods else peer


def any_address(*excluded: str) -> Manifest:
    """A peer: every address but the excluded blocks."""
    return {"ipBlock": {"cidr": "0.0.0.0/0", **({"except": list(excluded)} if excluded else {})}}


def ip_blocks(cidrs: Sequence[str]) -> list[Manifest]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def allow_dns(namespace: str) -> Manifest:
    """Names resolve, everywhere in the namespace."""
    peer = in_namespace("kube-system", {"k8s-app": "kube-dns"})
    return network_policy(
        "dns",
        namespace,
        {},
        egress=[{"to": [peer], "ports": [*policy_ports(53), *policy_ports(53, protocol="UDP")]}],
    )
