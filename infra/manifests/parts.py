"""What the manifests share: metadata, the restricted pod, network policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = dict[str, Any]

USER = 1000  # of the Vigil image
HOME = "/var/lib/vigil"  # the shared folder
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}


def object_(api: str, kind: str, name: str, namespace: str | None, **fields: Any) -> Object:
    """A Kubernetes object with the labels that all of Vigil's carry."""
    labels = {"app.kubernetes.io/part-of": "vigil", "app.kubernetes.io/name": name} | fields.pop(
        "labels", {}
    )
    metadata: Object = {"name": name, "labels": labels}
    if namespace is not None:
        metadata["namespace"] = namespace
    if annotations := fields.pop("annotations", None):
        metadata["annotations"] = annotations
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def environment(
    values: Mapping[str, str], secrets: Mapping[str, tuple[str, str]] | None = None
) -> list[Object]:
    """Environment variables, sorted; `secrets`: variable -> (Secret, key)."""
    plain: list[Object] = [{"name": key, "value": value} for key, value in values.items()]
    hidden: list[Object] = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": entry}}}
        for key, (name, entry) in (secrets or {}).items()
    ]
    return sorted([*plain, *hidden], key=lambda one: one["name"])


def resources(cpu: float | str, memory: str, *, limit_cpu: bool = True) -> Object:
    """Requests, and the same as limits: a pod that is promised memory gets it, and is not the first to be evicted."""
    limits: Object = {"memory": memory}
    if limit_cpu:
        limits["cpu"] = str(cpu)
    return {"requests": {"cpu": str(cpu), "memory": memory}, "limits": limits}


def network_policy(
    name: str,
    namespace: str,
    pods: Mapping[str, str],
    ingress: Iterable[Object] = (),
    egress: Iterable[Object] = (),
) -> Object:
    """What is allowed besides nothing. Directions without rules stay closed by `deny_all`."""
    spec: Object = {"podSelector": {"matchLabels": dict(pods)} if pods else {}, "policyTypes": []}
    for direction, rules in (("Ingress", list(ingress)), ("Egress", list(egress))):
        if rules:
            spec["policyTypes"].append(direction)
            spec[direction.lower()] = rules
    return object_("networking.k8s.io/v1", "NetworkPolicy", name, namespace, spec=spec)


def deny_all(namespace: str) -> Object:
    """Nothing in, nothing out."""
    return object_(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "deny-all",
        namespace,
        spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    )


def ports(*numbers: int, protocol: str = "TCP") -> list[Object]:
    return [{"port": number, "protocol": protocol} for number in numbers]


def in_namespace(name: str, pods: Mapping[str, str] | None = None) -> Object:
    """A peer: the pods of another namespace."""
    peer: Object = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    return {**peer, "podSelector": {"matchLabels": dict(pods)}} if pods else peer


def anywhere(*excluded: str) -> Object:
    """A peer: every address but the excluded blocks."""
    return {"ipBlock": {"cidr": "0.0.0.0/0", **({"except": list(excluded)} if excluded else {})}}


def blocks(cidrs: Sequence[str]) -> list[Object]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def dns(namespace: str) -> Object:
    """Names resolve, everywhere in the namespace."""
    peer = in_namespace("kube-system", {"k8s-app": "kube-dns"})
    return network_policy(
        "dns",
        namespace,
        {},
        egress=[{"to": [peer], "ports": [*ports(53), *ports(53, protocol="UDP")]}],
    )
