"""The fields of an environment's settings: types, defaults, bounds, descriptions. Pure.

Pulumi.yaml declares the same keys, types and defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Literal

from pydantic import Field

from drift.settings import DriftSettings
from infra.field_types import Blocks
from infra.place_fields import PlaceFields
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.room_settings import RoomSettings

ROOM_SETTINGS: Mapping[str, type[RoomSettings]] = {
    "serve": ServeSettings,
    "drift": DriftSettings,
    "train": TrainSettings,
}


class PlatformFields(PlaceFields):
    """Fields of one environment: where it is, what runs there, and what its rooms are told.

    Each is checked by itself; `PlatformSettings` checks them together.
    """

    serve: ServeSettings = Field(
        default_factory=ServeSettings.from_values,
        description="what serving and streams are told",
    )
    drift: DriftSettings = Field(
        default_factory=DriftSettings.from_values,
        description="what drift monitoring is told",
    )
    train: TrainSettings = Field(
        default_factory=TrainSettings.from_values,
        description="what training is told",
    )

    image: str = Field(
        default="",
        description="the Vigil image; empty: the stack's own ECR repository at imageTag",
    )
    image_tag: str = Field(
        default="",
        description="immutable tag in the stack's ECR repository (required on aws without image)",
    )
    head_cpu: int = Field(default=2, ge=1, description="CPUs of a Ray head pod")
    head_memory_gib: int = Field(default=8, ge=2, description="memory of a Ray head pod")
    worker_cpu: int = Field(default=4, ge=1, description="CPUs of a Ray worker pod that serves")
    worker_memory_gib: int = Field(
        default=8,
        ge=2,
        description="memory of a Ray worker pod that serves",
    )
    min_workers: int = Field(default=2, ge=1, description="serving worker pods at rest")
    max_workers: int = Field(default=8, ge=1, description="serving worker pods under load")
    train_cpu: int = Field(default=4, ge=1, description="CPUs of a training worker pod")
    train_memory_gib: int = Field(default=16, ge=2, description="memory of a training worker pod")
    max_train_workers: int = Field(
        default=4,
        ge=1,
        description="training worker pods; none runs at rest",
    )
    replicas_per_worker: int = Field(
        default=0,
        ge=0,
        description="most replicas on one serving worker; 0: its share at rest, "
        "or under load if that is more (another one"
        " restarts replicas in turn)",
    )
    haproxy: bool = Field(
        default=True,
        description="Ray Serve's HAProxy mode; off: its default proxy",
    )
    upgrade_strategy: Literal["NewCluster", "NewClusterWithIncrementalUpgrade"] = Field(
        default="NewCluster",
        description=(
            "how a second Ray cluster takes over: at once, or step by step through a Gateway that"
            " KubeRay makes (needs ingress gateway)"
        ),
    )
    upgrade_step_percent: int = Field(
        default=10,
        ge=1,
        le=100,
        description="share of the requests that moves to the second cluster in a step",
    )
    upgrade_interval_s: int = Field(
        default=30,
        ge=1,
        description="seconds between two steps",
    )
    upgrade_surge_percent: int = Field(
        default=100,
        ge=1,
        le=100,
        description="share of its replicas that the second cluster starts before requests move",
    )
    train_schedule: str = Field(
        default="",
        description="cron schedule of retraining in UTC; empty: on drift and by hand only",
    )
    train_data: str = Field(
        default="",
        description=(
            "table on the shared folder that scheduled retraining reads (required with"
            " trainSchedule)"
        ),
    )
    gcs_fault_tolerance: Literal["none", "redis"] = Field(
        default="none",
        description="where Ray keeps cluster state across a head's death",
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
        description=(
            "a folder that all Ray pods share (aws: EFS): last known good models, tables,"
            " streams; off: each has its own"
        ),
    )
    home_storage_class: str = Field(
        default="standard",
        description="target kubernetes: storage class of the shared folder (aws: EFS)",
    )
    home_access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany",
        description=(
            "access mode of the shared folder; ReadWriteOnce only where all pods share a node"
        ),
    )
    home_size_gib: int = Field(
        default=50,
        ge=1,
        description="size that the shared folder is claimed with",
    )
    mlflow_store: Literal["postgres", "sqlite"] = Field(
        default="postgres",
        description="MLflow's database; sqlite: one replica, files on a volume",
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
    backup_days: int = Field(
        default=7,
        ge=1,
        le=35,
        description="days of RDS backups",
    )
    captured_days: int = Field(
        default=90,
        ge=7,
        description="days that captured rows are kept in S3",
    )

    stream_mode: Literal["ON_DEMAND", "PROVISIONED"] = Field(
        default="ON_DEMAND",
        description="how Kinesis is billed and scaled",
    )
    stream_shards: int = Field(
        default=1,
        ge=1,
        le=500,
        description="shards of a PROVISIONED stream",
    )
    stream_hours: int = Field(
        default=168,
        ge=24,
        le=8760,
        description="hours that the stream keeps records",
    )

    ingress: Literal["none", "alb", "gateway"] = Field(
        default="none",
        description="how port 8000 is reached from outside the cluster",
    )
    hostname: str = Field(
        default="",
        description="host name of the service (required with an ingress)",
    )
    certificate_arn: str = Field(
        default="",
        description="ACM certificate of hostname (required with ingress alb)",
    )
    ingress_cidrs: Blocks = Field(
        default=("10.0.0.0/8",),
        description="who may reach the load balancer",
    )
    gateway_class: str = Field(default="envoy", description="GatewayClass for ingress gateway")
    monitoring: bool = Field(
        default=True,
        description="install kube-prometheus-stack, rules and dashboards",
    )
    alert_receiver: Literal["none", "webhook", "slack", "pagerduty", "msteams"] = Field(
        default="none",
        description="whom Alertmanager tells of alerts and incidents (secret alertReceiverSecret)",
    )
    admission: Literal["off", "audit", "warn", "deny"] = Field(
        default="off",
        description="what the API server does with objects that break a rule of policies/",
    )
    image_admission: Literal["off", "policy-controller", "kyverno"] = Field(
        default="off",
        description=(
            "who refuses images that no workflow of githubRepository has signed; it must be in the"
            " cluster"
        ),
    )
    delivery: Literal["pulumi", "argocd"] = Field(
        default="pulumi",
        description="who applies the workloads: this program, or Argo CD from git",
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
        default="",
        description="bucket of Pulumi's state, which the workflows read and lock",
    )
    budget_usd: int = Field(
        default=1000,
        ge=1,
        description="monthly budget; 80 % spent or 100 % forecast alarms",
    )
    budget_email: str = Field(default="", description="who is alarmed; empty: no budget is made")

    @property
    def needs_balancer_controller(self) -> bool:
        """Whether a controller of ours makes load balancers: Auto Mode brings one."""
        return self.ingress == "alb" and self.nodes != "auto"

    @property
    def max_per_worker(self) -> int:
        """Most replicas that one serving worker holds.

        Its share at rest, or under load if that is more.
        """
        at_rest = ceil(self.serve.min_replicas / self.min_workers)
        under_load = ceil(self.serve.max_replicas / self.max_workers)
        return self.replicas_per_worker or max(at_rest, under_load)
