"""What the stand-in answers for each type: names, ids, what a change replaces, what is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from tests.infra.shapes import ACCOUNT, REGION, state

Props = dict[str, Any]

# How the engine's protocol writes a value that is known only after an update.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

# Where AWS' provider makes up a name, it does so before anything is created: previews show it.
NAMED = {
    "aws:cloudwatch/eventRule:EventRule",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:iam/policy:Policy",
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:rds/parameterGroup:ParameterGroup",
}
# Types whose id is one of their inputs.
ID_IS = {
    "aws:cloudwatch/eventRule:EventRule": "name",
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:ecr/repository:Repository": "name",
    "aws:eks/cluster:Cluster": "name",
    "aws:elasticache/subnetGroup:SubnetGroup": "name",
    "aws:iam/instanceProfile:InstanceProfile": "name",
    "aws:iam/role:Role": "name",
    "aws:rds/parameterGroup:ParameterGroup": "name",
    "aws:rds/subnetGroup:SubnetGroup": "name",
    "aws:s3/bucket:Bucket": "bucket",
}
# A change of these makes a new resource: what a thing is called, and what it lies in ..
PLACE = {
    "addonName",
    "availabilityZone",
    "bucket",
    "cidrBlock",
    "clusterName",
    "fileSystemId",
    "name",
    "principalArn",
    "replicationGroupId",
    "repository",
    "subnetId",
    "vpcId",
}
# .. and what was decided when it was made.
DECIDED = {
    "aws:ec2/securityGroup:SecurityGroup": {"description"},
    "aws:ecr/repository:Repository": {"encryptionConfigurations"},
    "aws:efs/fileSystem:FileSystem": {"encrypted", "kmsKeyId", "performanceMode"},
    "aws:eks/accessEntry:AccessEntry": {"type"},
    "aws:eks/cluster:Cluster": {"roleArn", "kubernetesNetworkConfig", "bootstrapSelfManagedAddons"},
    "aws:eks/nodeGroup:NodeGroup": {
        "amiType",
        "capacityType",
        "instanceTypes",
        "nodeRoleArn",
        "subnetIds",
    },
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": {"namespace", "serviceAccount"},
    "aws:elasticache/replicationGroup:ReplicationGroup": {
        "atRestEncryptionEnabled",
        "kmsKeyId",
        "subnetGroupName",
    },
    "aws:rds/instance:Instance": {"dbName", "engine", "kmsKeyId", "storageEncrypted", "username"},
}
# Types that AWS does not delete while their `deletionProtection` is on.
GUARDED = {"aws:eks/cluster:Cluster", "aws:rds/instance:Instance"}
# What the component of EKS asks AWS. The program itself asks nothing: a preview would depend on it.
INVOKES: dict[str, Props] = {
    "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT},
    "aws:index/getPartition:getPartition": {"partition": "aws", "dnsSuffix": "amazonaws.com"},
    "aws:index/getRegion:getRegion": {"name": REGION, "region": REGION},
}
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?")


def checked(typ: str, name: str, olds: Props, news: Props) -> Props:
    """The inputs with a name that the provider makes up; it stays while the resource lives."""
    if typ in NAMED and "name" not in news:
        suffix = hashlib.sha256(f"{typ} {name}".encode()).hexdigest()[:7]
        return {**news, "name": olds.get("name", f"{name}-{suffix}")}
    return news


def faults(typ: str, news: Props) -> Iterator[tuple[str, str]]:
    """What the API server would refuse of any object, as (property, reason)."""
    _, module, kind = typ.split(":")
    if not typ.startswith("kubernetes:") or module == "helm.sh/v3":
        return
    if news.get("kind", kind) != kind:
        yield "kind", f"{news['kind']!r} is no {kind}"
    api = module.removeprefix("core/")
    if news.get("apiVersion", api) != api:
        yield "apiVersion", f"{news['apiVersion']!r} is not {api}"
    label = (news.get("metadata") or {}).get("name", "made-up-by-the-provider")
    if label != UNKNOWN and not OBJECT_NAME.fullmatch(label):
        yield "metadata.name", f"{label!r} is no name of an object"


def identity(typ: str, name: str, inputs: Props) -> str:
    """The id of a new resource."""
    if typ.startswith("kubernetes:"):
        metadata = inputs.get("metadata") or inputs
        return "/".join(filter(None, [metadata.get("namespace"), metadata.get("name", name)]))
    return str(inputs.get(ID_IS.get(typ, ""), f"{name}-id"))


def made(typ: str, name: str, inputs: Props) -> Props:
    """The properties of a resource after an update."""
    return state(typ, name, inputs)


def planned(typ: str, name: str, inputs: Props, olds: Props) -> Props:
    """The properties as a preview knows them: what AWS adds is unknown, unless it is there."""
    return _added(made(typ, name, inputs), inputs, olds, preview=True)


def updated(typ: str, name: str, inputs: Props, olds: Props) -> Props:
    """The properties after a change in place: what AWS added once stays."""
    return _added(made(typ, name, inputs), inputs, olds, preview=False)


def _added(new: Any, given: Any, old: Any, preview: bool) -> Any:
    """`new`, where what differs from what was `given` is `old`, or unknown in a preview."""
    if isinstance(new, dict) and isinstance(given, dict):
        before = old if isinstance(old, dict) else {}
        found: Props = {}
        for key, value in new.items():
            found[key] = _added(value, given.get(key), before.get(key), preview)
        return found
    if new == given:
        return new
    if old is not None:
        return old
    return UNKNOWN if preview else new


def replacing(typ: str, changed: set[str]) -> set[str]:
    """Which of the changed properties cannot be changed in place."""
    if typ.startswith("kubernetes:"):
        return changed & {"kind", "apiVersion", "metadata.name", "metadata.namespace"}
    return changed & (PLACE | DECIDED.get(typ, set()))


def changes(typ: str, olds: Props, news: Props) -> set[str]:
    """The properties that differ; of an object's metadata, its parts."""
    found = {key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key)}
    if typ.startswith("kubernetes:") and "metadata" in found:
        before, after = olds.get("metadata") or {}, news.get("metadata") or {}
        found |= {f"metadata.{key}" for key in changes("", before, after)}
    return found


def refusal(typ: str, name: str, props: Props) -> str:
    """Why AWS does not delete it; empty where it does."""
    if typ in GUARDED and props.get("deletionProtection"):
        return f"{name}: cannot delete it while deletion protection is on"
    return ""
