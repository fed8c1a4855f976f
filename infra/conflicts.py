"""What no setting can tell alone: values that contradict each other, or that a target needs. Pure; one line per mistake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infra.cidr import BadNetwork, require_disjoint, split_vpc

if TYPE_CHECKING:
    from infra.settings import PlatformSettings

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]+")
_CRON = re.compile(r"(\S+\s+){4}\S+")


def find_conflicts(settings: PlatformSettings) -> list[str]:
    """Every mistake, each beginning with the key to change."""
    return [
        *_bounds(settings),
        *_needs(settings),
        *(_on_aws(settings) if settings.on_aws else _on_kubernetes(settings)),
    ]


def _needs(settings: PlatformSettings) -> list[str]:
    """What a choice asks for besides itself."""
    found = []
    if settings.train_schedule and not (
        _CRON.fullmatch(settings.train_schedule) and settings.train_data
    ):
        found.append("trainSchedule: five cron fields and a trainData are needed")
    if not settings.shared_folder:
        found += _without_folder(settings)
    if settings.ingress != "none" and not settings.hostname:
        found.append(f"hostname: needed with ingress {settings.ingress}")
    if settings.serve.auth == "off" and settings.ingress != "none":
        found.append(f"serve.auth = 'off': with ingress {settings.ingress} anybody could call")
    names = {
        f"{room.room}.modelName": room.model_name
        for room in (settings.serve, settings.drift, settings.train)
    }
    if len(set(names.values())) > 1:
        found.append(
            "; ".join(f"{key} = {name!r}" for key, name in names.items())
            + ": they must name one model"
        )
    if settings.delivery == "argocd" and not settings.git_url:
        found.append("gitUrl: needed with delivery argocd")
    return found


def _without_folder(settings: PlatformSettings) -> list[str]:
    """What would lie in a folder that ends with its pod."""
    serve, drift = settings.serve, settings.drift
    streams = [
        serve.stream_source,
        *serve.stream_sinks.split(","),
        serve.stream_dead_letters,
        serve.stream_leases,
    ]
    told = {
        "trainData": settings.train_data and not settings.train_data.startswith("s3://"),
        "serve.streamSource (and sinks, dead letters, leases)": any(
            one.startswith(("file:", "parquet:/")) for one in streams
        ),
        "drift.stateUrl": not settings.on_aws and not drift.state_url,
        "drift.capturedUrl": not settings.on_aws and not drift.captured_url,
    }
    return [
        f"{key}: without sharedFolder it must be in S3 or Kinesis"
        for key, wrong in told.items()
        if wrong
    ]


def _bounds(settings: PlatformSettings) -> list[str]:
    serve = settings.serve
    found = [
        f"{low_key}: {low} is more than {high_key}, {high}"
        for low_key, low, high_key, high in (
            ("minWorkers", settings.min_workers, "maxWorkers", settings.max_workers),
            ("serve.minReplicas", serve.min_replicas, "serve.maxReplicas", serve.max_replicas),
        )
        if low > high
    ]
    if serve.cpus_per_replica > settings.worker_cpu:
        found.append(
            f"serve.cpusPerReplica: {serve.cpus_per_replica} does not fit into a worker of workerCpu {settings.worker_cpu}"
        )
    elif serve.max_replicas > (
        room := int(settings.worker_cpu // serve.cpus_per_replica) * settings.max_workers
    ):
        found.append(
            f"serve.maxReplicas: {serve.max_replicas}, but maxWorkers of workerCpu hold only {room}"
        )
    if not found and serve.min_replicas < (
        least := (settings.min_workers - 1) * settings.most_per_worker + 1
    ):
        found.append(
            f"serve.minReplicas: {serve.min_replicas} leave one of minWorkers {settings.min_workers} without a replica,"
            f" where each holds up to {settings.most_per_worker}: {least} are needed, or fewer minWorkers"
        )
    return found


def _on_aws(settings: PlatformSettings) -> list[str]:
    found = [
        f"{key}: required with target aws"
        for key, value in {
            "accountId": settings.account_id,
            "owner": settings.owner,
            "costCenter": settings.cost_center,
            "imageTag (or image)": settings.image or settings.image_tag,
        }.items()
        if not value
    ]
    try:
        split_vpc(settings.vpc_cidr, len(settings.zones))
        require_disjoint(
            {
                "vpcCidr": settings.vpc_cidr,
                "serviceCidr": settings.service_cidr,
                **{f"peerCidrs[{i}]": cidr for i, cidr in enumerate(settings.peer_cidrs)},
            }
        )
    except BadNetwork as error:
        found.append(error.message)
    if settings.serve.stream_source not in ("", f"kinesis:{settings.name}"):
        found.append(
            f"serve.streamSource = {settings.serve.stream_source!r}: on aws consumers may read the stack's own stream,"
            f" kinesis:{settings.name}"
        )
    if settings.delete_crds:
        found.append("deleteCrds: for target kubernetes only; on aws they go with the cluster")
    if settings.mlflow_store == "sqlite":
        found.append("mlflowStore: sqlite is for target kubernetes only")
    if settings.ingress == "alb" and not settings.certificate_arn:
        found.append("certificateArn: needed with ingress alb")
    if settings.github_repository and not settings.state_bucket:
        found.append("stateBucket: needed with githubRepository")
    return [*found, *_access(settings)]


def _access(settings: PlatformSettings) -> list[str]:
    """The cluster lets nobody in who is not named, whoever runs `pulumi up` included."""
    named = [*settings.admin_principals, *settings.viewer_principals]
    if settings.github_repository:
        role = f"arn:aws:iam::{settings.account_id}:role/{settings.name}"
        named += [f"{role}-apply", f"{role}-plan"]
    elif not settings.admin_principals:
        return [
            "adminPrincipals: the ARN of the IAM role that runs `pulumi up` is needed on target aws"
            " (without it the cluster lets nobody in), or githubRepository, whose role runs it then"
        ]
    keys = "adminPrincipals, viewerPrincipals"
    twice = sorted({arn for arn in named if named.count(arn) > 1})
    odd = sorted({arn for arn in named if not _PRINCIPAL.fullmatch(arn)})
    return [
        *(f"{keys}: {arn} may be named once only" for arn in twice),
        *(f"{keys}: {arn} is no arn:aws:iam::ACCOUNT:role/NAME (and no session)" for arn in odd),
    ]


def _on_kubernetes(settings: PlatformSettings) -> list[str]:
    found = [] if settings.image else ["image: required with target kubernetes"]
    if settings.mlflow_store == "postgres":
        found.append("mlflowStore: postgres is made on aws only; set sqlite")
    elif settings.mlflow_replicas != 1:
        found.append("mlflowReplicas: sqlite serves one replica only")
    if settings.gcs_fault_tolerance == "redis" and not re.match(
        r"rediss?://", settings.redis_address
    ):
        found.append("redisAddress: redis://host:port is needed with gcsFaultTolerance redis")
    if settings.ingress == "alb":
        found.append("ingress: alb exists with target aws only")
    return found
