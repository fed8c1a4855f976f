"""PlatformSettings: the only reader of `pulumi.Config`. Pulumi.yaml declares the same keys, types and defaults."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from drift.settings import DriftSettings
from infra.arns import AwsPlace
from infra.cidr import BadNetwork, parse_block
from infra.conflicts import find_conflicts
from infra.tags import Tags
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.errors import BadSettings
from vigil.room_settings import RoomSettings, fields_from_keys

ROOT = Path(__file__).parent.parent
PROJECT = "vigil"
PLATFORM_SECRETS = (
    "rayToken",
    "apiKeys",
    "mlflowPassword",
    "mlflowSecretKey",
    "redisPassword",
    "grafanaPassword",
    "metricsKey",
)
_INSTANCE_TYPE = re.compile(
    r"[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|xlarge|\d+xlarge|metal)"
)


ROOM_SETTINGS: Mapping[str, type[RoomSettings]] = {
    "serve": ServeSettings,
    "drift": DriftSettings,
    "train": TrainSettings,
}
# Secrets of the rooms, by the key of the stack that holds each.
ROOM_SECRETS: Mapping[str, tuple[type[RoomSettings], str]] = {
    "githubToken": (DriftSettings, "github_token"),
    "streamWebhookSecret": (ServeSettings, "stream_webhook_secret"),
}
SECRET_KEYS = (*PLATFORM_SECRETS, *ROOM_SECRETS)
# What was a key of its own.
MOVED_KEYS = {
    "minReplicas": "serve.minReplicas",
    "maxReplicas": "serve.maxReplicas",
    "cpusPerReplica": "serve.cpusPerReplica",
    "oidcIssuer": "serve.oidcIssuer",
    "oidcAudience": "serve.oidcAudience",
    "consoleLinks": "serve.links",
    "driftMode": "drift.mode",
}


class PlatformSettings(BaseModel):
    """One environment: its infrastructure, and what the rooms in it are told.

    Keys in Pulumi's configuration are the camelCase of these names.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )

    serve: ServeSettings = Field(
        default_factory=ServeSettings.from_values, description="what serving and streams are told"
    )
    drift: DriftSettings = Field(
        default_factory=DriftSettings.from_values, description="what drift monitoring is told"
    )
    train: TrainSettings = Field(
        default_factory=TrainSettings.from_values, description="what training is told"
    )

    environment: str = Field(pattern=r"^[a-z][a-z0-9-]{1,15}$", description="name of the stack")
    target: Literal["aws", "kubernetes"] = Field(
        default="aws",
        description="aws: all from nothing; kubernetes: the cluster of the kubeconfig",
    )
    owner: str = Field(
        default="", description="tag Owner: who answers for the platform (required on aws)"
    )
    cost_center: str = Field(default="", description="tag CostCenter: who pays (required on aws)")
    protect: bool = Field(
        default=False,
        description="refuse to delete or replace what holds data; deletion protection",
    )
    chart_repository: str = Field(
        default="",
        pattern=r"^((https?|oci)://\S+)?$",
        description="repository (https:// or oci://) that has all Helm charts; empty: each from its project's own",
    )
    image_registry: str = Field(
        default="",
        pattern=r"^([a-z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?)?$",
        description="registry that mirrors the images of the charts, such as mirror.example.com/hub; empty: their own",
    )
    delete_crds: bool = Field(
        default=False,
        description="target kubernetes: KubeRay's kinds go with the stack, and all Ray objects of the cluster with them",
    )
    ready_timeout_s: int = Field(
        default=900,
        ge=0,
        description="seconds in which an update waits until the service answers; 0: it does not wait",
    )

    account_id: str = Field(
        default="",
        pattern=r"^(\d{12})?$",
        description="AWS account; the provider refuses any other (required on aws)",
    )
    region: str = Field(
        default="eu-west-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="AWS region"
    )
    zones: tuple[str, ...] = Field(
        default=("a", "b"), description="letters of two or three availability zones"
    )
    vpc_cidr: str = Field(default="10.20.0.0/16", description="addresses of the VPC, /16 to /20")
    service_cidr: str = Field(
        default="172.20.0.0/16", description="addresses of Kubernetes services"
    )
    peer_cidrs: tuple[str, ...] = Field(
        default=(), description="blocks that the VPC will be connected to; must not overlap it"
    )
    nat_per_zone: bool = Field(default=False, description="a NAT gateway per zone instead of one")
    interface_endpoints: tuple[str, ...] = Field(
        default=("ecr.api", "ecr.dkr", "sts", "logs"),
        description="AWS services that are reached inside the VPC (S3 always is)",
    )
    log_retention_days: int = Field(
        default=30, description="days that flow logs and control-plane logs are kept"
    )

    kubernetes_version: str = Field(
        default="1.35", pattern=r"^1\.\d+$", description="version of the EKS control plane"
    )
    public_access_cidrs: tuple[str, ...] = Field(
        default=(), description="who may reach the cluster's API from outside; none: private only"
    )
    admin_principals: tuple[str, ...] = Field(
        default=(),
        description="ARNs of IAM roles that administer the cluster, that of whoever runs `pulumi up` included "
        "(required on aws without githubRepository)",
    )
    viewer_principals: tuple[str, ...] = Field(
        default=(), description="ARNs of IAM roles that may look into the cluster"
    )
    nodes: Literal["karpenter", "auto", "static"] = Field(
        default="karpenter", description="who adds nodes: Karpenter, EKS Auto Mode, nobody"
    )
    system_instance_types: tuple[str, ...] = Field(
        default=("m6i.large",), description="instance types of the system node group"
    )
    ray_instance_types: tuple[str, ...] = Field(
        default=("m6i.2xlarge",), description="instance types of the static Ray node groups"
    )
    ray_node_cpu_limit: int = Field(
        default=64, ge=4, description="most CPUs that Karpenter buys per node pool"
    )
    spot_serving: bool = Field(
        default=True,
        description="serving replicas may run on spot capacity beside on-demand capacity",
    )

    image: str = Field(
        default="", description="the Vigil image; empty: the stack's own ECR repository at imageTag"
    )
    image_tag: str = Field(
        default="",
        description="immutable tag in the stack's ECR repository (required on aws without image)",
    )
    head_cpu: int = Field(default=2, ge=1, description="CPUs of a Ray head pod")
    head_memory_gib: int = Field(default=8, ge=2, description="memory of a Ray head pod")
    worker_cpu: int = Field(default=4, ge=1, description="CPUs of a Ray worker pod that serves")
    worker_memory_gib: int = Field(
        default=8, ge=2, description="memory of a Ray worker pod that serves"
    )
    min_workers: int = Field(default=2, ge=1, description="serving worker pods at rest")
    max_workers: int = Field(default=8, ge=1, description="serving worker pods under load")
    train_cpu: int = Field(default=4, ge=1, description="CPUs of a training worker pod")
    train_memory_gib: int = Field(default=16, ge=2, description="memory of a training worker pod")
    max_train_workers: int = Field(
        default=4, ge=1, description="training worker pods; none runs at rest"
    )
    replicas_per_worker: int = Field(
        default=0,
        ge=0,
        description="most replicas on one serving worker; 0: its share at rest, or under load if that is more (another one"
        " restarts replicas in turn)",
    )
    haproxy: bool = Field(
        default=True, description="Ray Serve's HAProxy mode; off: its default proxy"
    )
    train_schedule: str = Field(
        default="",
        description="cron schedule of retraining in UTC; empty: on drift and by hand only",
    )
    train_data: str = Field(
        default="",
        description="table on the shared folder that scheduled retraining reads (required with trainSchedule)",
    )
    gcs_fault_tolerance: Literal["none", "redis"] = Field(
        default="none", description="where Ray keeps cluster state across a head's death"
    )
    redis_address: str = Field(
        default="",
        description="redis://host:6379 for target kubernetes; on aws ElastiCache is made",
    )
    redis_node_type: str = Field(
        default="cache.t4g.small",
        pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$",
        description="ElastiCache node type",
    )

    shared_folder: bool = Field(
        default=True,
        description="a folder that all Ray pods share (aws: EFS): last known good models, tables, streams; off: each has its own",
    )
    home_storage_class: str = Field(
        default="standard",
        description="target kubernetes: storage class of the shared folder (aws: EFS)",
    )
    home_access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany",
        description="access mode of the shared folder; ReadWriteOnce only where all pods share a node",
    )
    home_size_gib: int = Field(
        default=50, ge=1, description="size that the shared folder is claimed with"
    )
    mlflow_store: Literal["postgres", "sqlite"] = Field(
        default="postgres", description="MLflow's database; sqlite: one replica, files on a volume"
    )
    mlflow_replicas: int = Field(default=2, ge=1, description="MLflow servers")
    database_class: str = Field(
        default="db.t4g.small",
        pattern=r"^db\.[a-z0-9]+\.[a-z0-9]+$",
        description="RDS instance class",
    )
    database_gib: int = Field(
        default=20,
        ge=20,
        le=16_384,
        description="RDS storage; it grows by itself to four times that",
    )
    database_multi_az: bool = Field(default=False, description="a standby in a second zone")
    backup_days: int = Field(default=7, ge=1, le=35, description="days of RDS backups")
    captured_days: int = Field(
        default=90, ge=7, description="days that captured rows are kept in S3"
    )

    stream_mode: Literal["ON_DEMAND", "PROVISIONED"] = Field(
        default="ON_DEMAND", description="how Kinesis is billed and scaled"
    )
    stream_shards: int = Field(
        default=1, ge=1, le=500, description="shards of a PROVISIONED stream"
    )
    stream_hours: int = Field(
        default=168, ge=24, le=8760, description="hours that the stream keeps records"
    )

    ingress: Literal["none", "alb", "gateway"] = Field(
        default="none", description="how port 8000 is reached from outside the cluster"
    )
    hostname: str = Field(
        default="", description="host name of the service (required with an ingress)"
    )
    certificate_arn: str = Field(
        default="", description="ACM certificate of hostname (required with ingress alb)"
    )
    ingress_cidrs: tuple[str, ...] = Field(
        default=("10.0.0.0/8",), description="who may reach the load balancer"
    )
    gateway_class: str = Field(default="envoy", description="GatewayClass for ingress gateway")
    monitoring: bool = Field(
        default=True, description="install kube-prometheus-stack, rules and dashboards"
    )
    delivery: Literal["pulumi", "argocd"] = Field(
        default="pulumi", description="who applies the workloads: this program, or Argo CD from git"
    )
    git_url: str = Field(
        default="",
        description="repository with the rendered manifests (required with delivery argocd)",
    )
    git_revision: str = Field(default="main", description="branch that Argo CD follows")
    github_repository: str = Field(
        default="",
        pattern=r"^([\w.-]+/[\w.-]+)?$",
        description="OWNER/NAME whose workflows may plan and apply; empty: none",
    )
    state_bucket: str = Field(
        default="", description="bucket of Pulumi's state, which the workflows read and lock"
    )
    budget_usd: int = Field(
        default=1000, ge=1, description="monthly budget; 80 % spent or 100 % forecast alarms"
    )
    budget_email: str = Field(default="", description="who is alarmed; empty: no budget is made")

    @property
    def name(self) -> str:
        """Prefix of every name: `vigil-dev`."""
        return f"{PROJECT}-{self.environment}"

    @property
    def on_aws(self) -> bool:
        return self.target == "aws"

    @property
    def tags(self) -> Tags:
        return Tags(self.environment, self.owner, self.cost_center)

    @property
    def zone_names(self) -> tuple[str, ...]:
        return tuple(f"{self.region}{letter}" for letter in self.zones)

    @property
    def image_ref(self) -> str:
        """The image that all pods of Vigil run."""
        registry = f"{self.account_id}.dkr.ecr.{self.region}.amazonaws.com"
        return self.image or f"{registry}/{self.name}/vigil:{self.image_tag}"

    @property
    def lease_table(self) -> str:
        """Name of the DynamoDB table by which consumers share the shards of a stream."""
        return f"{self.name}-leases"

    @property
    def place(self) -> AwsPlace:
        """The account and region of everything on AWS."""
        return AwsPlace(self.account_id, self.region)

    @property
    def needs_balancer_controller(self) -> bool:
        """Whether a controller of ours makes load balancers: Auto Mode brings one."""
        return self.ingress == "alb" and self.nodes != "auto"

    bucket_purposes: ClassVar[tuple[str, ...]] = ("models", "data", "captured", "charts", "logs")

    def bucket(self, purpose: str) -> str:
        """Name of a bucket: known before it exists, and unique by the account."""
        return f"{self.name}-{purpose}-{self.account_id}-{self.region}"

    @field_validator("zones")
    @classmethod
    def _zones(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        if (
            len(set(zones)) != len(zones)
            or not 2 <= len(zones) <= 3
            or any(not re.fullmatch("[a-f]", z) for z in zones)
        ):
            raise ValueError("two or three different letters from a to f are needed")
        return zones

    @field_validator("public_access_cidrs", "ingress_cidrs", "peer_cidrs")
    @classmethod
    def _blocks(cls, cidrs: tuple[str, ...]) -> tuple[str, ...]:
        for cidr in cidrs:
            try:
                parse_block(cidr, "")
            except BadNetwork as error:
                raise ValueError(error.message.removeprefix(": ")) from error
        return cidrs

    @field_validator("public_access_cidrs")
    @classmethod
    def _not_open(cls, cidrs: tuple[str, ...]) -> tuple[str, ...]:
        if "0.0.0.0/0" in cidrs:
            raise ValueError(
                "the cluster's API must not be open to 0.0.0.0/0: name the networks you work from"
            )
        return cidrs

    @field_validator("system_instance_types", "ray_instance_types")
    @classmethod
    def _instance_types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        if odd := [t for t in types if not _INSTANCE_TYPE.fullmatch(t)]:
            raise ValueError(f"{', '.join(odd)}: no instance type such as m6i.large")
        if not types:
            raise ValueError("at least one instance type is needed")
        return types

    @field_validator("log_retention_days")
    @classmethod
    def _retention(cls, days: int) -> int:
        offered = (
            1,
            3,
            5,
            7,
            14,
            30,
            60,
            90,
            120,
            150,
            180,
            365,
            400,
            545,
            731,
            1096,
            1827,
            2192,
            2557,
            2922,
            3288,
            3653,
        )
        if days not in offered:
            raise ValueError(f"CloudWatch offers only {', '.join(map(str, offered))} days")
        return days

    @property
    def most_per_worker(self) -> int:
        """Most replicas that one serving worker holds: its share at rest, or under load if that is more."""
        at_rest = ceil(self.serve.min_replicas / self.min_workers)
        share = max(at_rest, ceil(self.serve.max_replicas / self.max_workers))
        return self.replicas_per_worker or share

    @model_validator(mode="after")
    def _together(self) -> PlatformSettings:
        """What no key can tell alone."""
        if found := find_conflicts(self):
            raise ValueError("; ".join(found))
        return self


def settings_from(environment: str, values: Mapping[str, Any]) -> PlatformSettings:
    """Settings from keys as they are written in a stack file; raises BadSettings with every mistake at once."""
    own = {
        key: value
        for key, value in values.items()
        if key not in ROOM_SETTINGS and key not in MOVED_KEYS
    }
    lines = [f"{key}: is {PROJECT}:{MOVED_KEYS[key]} now" for key in values if key in MOVED_KEYS]
    rooms: dict[str, RoomSettings] = {}
    for name, cls in ROOM_SETTINGS.items():
        try:
            rooms[name] = room_from(cls, values.get(name))
        except BadSettings as error:
            lines.extend(error.mistakes)
    try:
        found = PlatformSettings.model_validate({"environment": environment, **rooms, **own})
    except ValidationError as error:
        lines.extend(_mistake(dict(one)) for one in error.errors())
    else:
        if not lines:
            return found
    raise BadSettings(*lines, about=f"wrong configuration of stack {environment!r}: ")


def room_from(cls: type[RoomSettings], values: Any) -> RoomSettings:
    """The settings of a room from its object in a stack file; raises BadSettings."""
    if values is None:
        return cls.from_values()
    if not isinstance(values, Mapping):
        raise BadSettings(
            f"{cls.room} = {values!r}: it must be an object with keys of docs/settings.md"
        )
    told = fields_from_keys(cls, values)
    held = {field: key for key, (of, field) in ROOM_SECRETS.items() if of is cls}
    lines = []
    for name in [name for name in told if name in cls.model_fields]:
        if cls.is_internal(name):
            lines.append(f"{cls.key(name)}: the stack itself sets it")
        elif cls.is_secret(name):
            lines.append(
                f"{cls.key(name)}: it is a secret: `pulumi config set --secret {PROJECT}:{held[name]} VALUE`"
            )
        else:
            continue
        del told[name]
    try:
        found = cls.from_values(**told)
    except BadSettings as error:
        lines.extend(error.mistakes)
    else:
        if not lines:
            return found
    raise BadSettings(*lines)


def _mistake(one: dict[str, Any]) -> str:
    """A line of one mistake: key, value, what is allowed."""
    message = str(one["msg"]).removeprefix("Value error, ")
    if not one["loc"]:
        return message
    key = ".".join(str(part) for part in one["loc"])
    if one["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, declared_keys(), 1)
        return f"{key}: no such key" + (f"; did you mean {near[0]}?" if near else "")
    return f"{key} = {one['input']!r}: {message}"


def read_config() -> PlatformSettings:
    """The settings of the stack that Pulumi runs."""
    import pulumi

    config, known = pulumi.Config(PROJECT), declared_keys()
    # A key that is misspelt would otherwise be ignored, and its default used.
    odd = {key: config.get(key) for key in _given() if key not in known}
    raw = {key: config.get(key) for key in known if key not in SECRET_KEYS}
    told = {key: _typed(key, value) for key, value in raw.items() if value is not None}
    return settings_from(pulumi.get_stack(), told | odd)


def read_secrets(settings: PlatformSettings) -> dict[str, Any]:
    """The secrets that these settings need, as secret Outputs; raises BadSettings that names all that are not set, and all that
    the stack file holds as plain text.

    A password of Redis is kept as long as it is set: a cluster that kept its state there removes it when it goes.
    """
    import pulumi

    config = pulumi.Config(PROJECT)
    kept = ("redisPassword",) if config.get("redisPassword") else ()
    found = {key: config.get_secret(key) for key in (*needed_secrets(settings), *kept)}
    missing = [key for key in found if not config.get(key)]
    plain = [key for key in SECRET_KEYS if config.get(key) and not _encrypted(key)]
    complaints = {"not set": missing, "stored as plain text": plain}
    if wrong := [
        f"{what}: "
        + "; ".join(f"`pulumi config set --secret {PROJECT}:{key} VALUE`" for key in keys)
        for what, keys in complaints.items()
        if keys
    ]:
        raise BadSettings(". ".join(wrong))
    return found


def needed_secrets(settings: PlatformSettings) -> tuple[str, ...]:
    """Which of SECRETS these settings need."""
    optional = {
        "apiKeys": not settings.serve.oidc_issuer or settings.monitoring,  # Prometheus shows one
        "redisPassword": settings.gcs_fault_tolerance == "redis",
        "grafanaPassword": settings.monitoring,
        "metricsKey": settings.monitoring,
        "githubToken": settings.drift.backend == "github",
        "streamWebhookSecret": "webhook:" in settings.serve.stream_sinks,
    }
    return tuple(key for key in SECRET_KEYS if optional.get(key, True))


def read_files(environment: str, root: Path = ROOT) -> PlatformSettings:
    """The settings of a stack from its files alone: no Pulumi, no secrets."""
    file = root / f"Pulumi.{environment}.yaml"
    if not file.is_file():
        known = sorted(path.suffixes[0][1:] for path in root.glob("Pulumi.*.yaml"))
        raise BadSettings(f"there is no {file.name}; environments here: {', '.join(known)}")
    own = (yaml.safe_load(file.read_text()) or {}).get("config", {})
    short = {
        key.removeprefix(f"{PROJECT}:"): value
        for key, value in own.items()
        if key.startswith(f"{PROJECT}:")
    }
    return settings_from(
        environment, {key: value for key, value in short.items() if key not in SECRET_KEYS}
    )


def declared_keys() -> dict[str, str]:
    """Every key by its camelCase name, with its kind in Pulumi.yaml."""
    kinds: dict[Any, str] = {bool: "boolean", int: "integer"}
    found = {
        to_camel(name): kinds.get(
            field.annotation, "array" if "tuple" in str(field.annotation) else "string"
        )
        for name, field in PlatformSettings.model_fields.items()
        if name != "environment" and name not in ROOM_SETTINGS
    }
    return {
        **found,
        **dict.fromkeys(ROOM_SETTINGS, "object"),
        **dict.fromkeys(SECRET_KEYS, "string"),
    }


def _given() -> list[str]:
    """Every key of this project that the stack sets; `pulumi.Config` itself can only be asked for keys one knows."""
    from pulumi.runtime.config import CONFIG, get_config_env

    return [
        key.removeprefix(f"{PROJECT}:")
        for key in {**get_config_env(), **CONFIG.get()}
        if key.startswith(f"{PROJECT}:")
    ]


def _encrypted(key: str) -> bool:
    from pulumi.runtime.config import get_config_secret_keys_env, is_config_secret

    name = f"{PROJECT}:{key}"
    return is_config_secret(name) or name in get_config_secret_keys_env()


def _typed(key: str, value: str) -> Any:
    """Pulumi hands over every value as text; pydantic turns scalars into their type, lists and objects are YAML."""
    return yaml.safe_load(value) if declared_keys()[key] in ("array", "object") else value
