"""What the manifests share: metadata, the restricted pod, network policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from vigil.json_types import Fields

Manifest = dict[str, Any]
Manifests = list[Manifest]

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


def kube_manifest(
    api: str,
    kind: str,
    name: str,
    namespace: str | None,
    **fields: Any,
) -> Manifest:
    """A Kubernetes object with the labels that all of Vigil's carry."""
    metadata = _metadata(name, fields.pop("labels", {}))
    if namespace is not None:
        metadata["namespace"] = namespace
    if annotations := fields.pop("annotations", None):
        metadata["annotations"] = annotations
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": metadata,
        **fields,
    }


def names_of_manifest(manifest: Manifest) -> list[str]:
    """Kind, namespace where it has one, and name: what tells an object from all others."""
    metadata = manifest["metadata"]
    names = (manifest["kind"], metadata.get("namespace"), metadata["name"])
    return list(filter(None, names))


def config_map(
    name: str,
    namespace: str,
    data: Fields,
    **more: Any,
) -> Manifest:
    """A ConfigMap."""
    return kube_manifest(
        "v1",
        "ConfigMap",
        name,
        namespace,
        data=data,
        **more,
    )


def disruption_budget(
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    **bound: int,
) -> Manifest:
    """How far a drain may go; `bound` is minAvailable or maxUnavailable."""
    spec = {**bound, "selector": {"matchLabels": labels}}
    return kube_manifest(
        "policy/v1",
        "PodDisruptionBudget",
        name,
        namespace,
        spec=spec,
    )


def _metadata(name: str, labels: dict[str, str]) -> Manifest:
    common = {"app.kubernetes.io/part-of": "vigil", "app.kubernetes.io/name": name}
    return {"name": name, "labels": common | labels}


def environment_variables(
    values: Mapping[str, str], secrets: Mapping[str, tuple[str, str]] | None = None
) -> Manifests:
    """Environment variables, sorted; `secrets`: variable -> (Secret, key)."""
    variables = [_plain(name, value) for name, value in values.items()]
    for name, where in (secrets or {}).items():
        variables.append(_from_secret(name, *where))
    return sorted(variables, key=itemgetter("name"))


def _plain(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


def _from_secret(
    variable: str,
    secret: str,
    key: str,
) -> Manifest:
    reference = {"name": secret, "key": key}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def container(
    name: str,
    image: str,
    amounts: Manifest,
    **more: Any,
) -> Manifest:
    """A container under the restricted profile; amounts: what `resources` returns."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": amounts,
        "securityContext": CONTAINER_SECURITY,
        **more,
    }


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
    directions = {"Ingress": list(ingress), "Egress": list(egress)}
    used = {direction: rules for direction, rules in directions.items() if rules}
    spec: Manifest = {"podSelector": _selector(pods), "policyTypes": list(used)}
    spec |= {direction.lower(): rules for direction, rules in used.items()}
    return _network_policy(name, namespace, spec)


def _selector(pods: Mapping[str, str]) -> Manifest:
    return {"matchLabels": dict(pods)} if pods else {}


def deny_all(namespace: str) -> Manifest:
    """Nothing in, nothing out."""
    spec: Manifest = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return _network_policy("deny-all", namespace, spec)


def _network_policy(
    name: str,
    namespace: str,
    spec: Manifest,
) -> Manifest:
    return kube_manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        namespace,
        spec=spec,
    )


def traffic_from(peers: Manifests, *ports: int) -> Manifest:
    """A rule that lets these peers in, to these TCP ports."""
    return {"from": peers, "ports": policy_ports(*ports)}


def traffic_to(peers: Manifests, *ports: int) -> Manifest:
    """A rule that lets pods reach these peers, at these TCP ports."""
    return {"to": peers, "ports": policy_ports(*ports)}


def policy_ports(*numbers: int, protocol: str = "TCP") -> Manifests:
    return [{"port": number, "protocol": protocol} for number in numbers]


def password_script() -> str:
    """The program that keeps the password file of a database: pods run it by itself."""
    return Path(__file__).with_name("pgpass.py").read_text()


def in_namespace(name: str, pods: Mapping[str, str] | None = None) -> Manifest:
    """A peer: the pods of another namespace."""
    peer = {"namespaceSelector": _selector({"kubernetes.io/metadata.name": name})}
    if pods:
        peer["podSelector"] = _selector(pods)
    return peer


def in_any_namespace() -> Manifest:
    """A peer: every pod of the cluster. Not every network plugin counts pods as addresses."""
    return {"namespaceSelector": {}}


def any_address(*excluded: str) -> Manifest:
    """A peer: every address but the excluded blocks."""
    block: Manifest = {"cidr": "0.0.0.0/0"}
    if excluded:
        block["except"] = list(excluded)
    return {"ipBlock": block}


def ip_blocks(cidrs: Sequence[str]) -> Manifests:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def allow_dns(namespace: str) -> Manifest:
    """Names resolve, everywhere in the namespace."""
    peer = in_namespace("kube-system", {"k8s-app": "kube-dns"})
    ports = [*policy_ports(53), *policy_ports(53, protocol="UDP")]
    names = {"to": [peer], "ports": ports}
    return network_policy(
        "dns",
        namespace,
        {},
        egress=[names],
    )
