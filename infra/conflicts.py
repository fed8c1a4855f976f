"""What no setting can tell alone: values that contradict each other, or that a target needs.

Pure. Each check yields a line per mistake, which begins with the key to change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic.alias_generators import to_camel

from infra.cidr import BadNetwork, require_disjoint, split_vpc
from infra.fields import PlatformFields

_Check = Callable[[PlatformFields], Iterator[str]]

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]+")
_CRON = re.compile(r"(\S+\s+){4}\S+")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_REDIS_URL = re.compile(r"rediss?://")
_WORKERS = ("minWorkers", "maxWorkers")
_REPLICAS = ("serve.minReplicas", "serve.maxReplicas")
_NO_ADMIN = (
    "adminPrincipals: the ARN of the IAM role that runs `pulumi up` is needed on target aws"
    " (without it the cluster lets nobody in), or githubRepository, whose role runs it then"
)
_PRINCIPAL_KEYS = "adminPrincipals, viewerPrincipals"


def find_conflicts(settings: PlatformFields) -> list[str]:
    """Every mistake, each beginning with the key to change."""
    target = _ON_AWS if settings.on_aws else _ON_KUBERNETES
    checks = (_sizes, *_ANYWHERE, *target)
    return [line for check in checks for line in check(settings)]


# --- sizes ---


def _sizes(settings: PlatformFields) -> Iterator[str]:
    lines = [*_bounds(settings), *_room_for_replicas(settings)]
    yield from lines or _idle_workers(settings)


def _bounds(settings: PlatformFields) -> Iterator[str]:
    yield from _bound(_WORKERS, settings.min_workers, settings.max_workers)
    yield from _bound(_REPLICAS, settings.serve.min_replicas, settings.serve.max_replicas)


def _bound(
    keys: tuple[str, str],
    low: int,
    high: int,
) -> Iterator[str]:
    """A least that is more than its most, with the keys of both."""
    least, most = keys
    if low > high:
        yield f"{least}: {low} is more than {most}, {high}"


def _room_for_replicas(settings: PlatformFields) -> Iterator[str]:
    serve = settings.serve
    on_a_worker = int(settings.worker_cpu // serve.cpus_per_replica)
    room = on_a_worker * settings.max_workers
    if not on_a_worker:
        worker = f"a worker of workerCpu {settings.worker_cpu}"
        yield f"serve.cpusPerReplica: {serve.cpus_per_replica} does not fit into {worker}"
    elif serve.max_replicas > room:
        limit = f"maxWorkers of workerCpu hold only {room}"
        yield f"serve.maxReplicas: {serve.max_replicas}, but {limit}"


def _idle_workers(settings: PlatformFields) -> Iterator[str]:
    replicas = settings.serve.min_replicas
    needed = (settings.min_workers - 1) * settings.max_per_worker + 1
    if replicas < needed:
        yield f"serve.minReplicas: {replicas} leave one {_idle_worker(settings, needed)}"


def _idle_worker(settings: PlatformFields, needed: int) -> str:
    return (
        f"of minWorkers {settings.min_workers} without a replica, where each holds up to"
        f" {settings.max_per_worker}: {needed} are needed, or fewer minWorkers"
    )


# --- what a choice asks for besides itself ---


def _schedule(settings: PlatformFields) -> Iterator[str]:
    schedule = settings.train_schedule
    if schedule and not (_CRON.fullmatch(schedule) and settings.train_data):
        yield "trainSchedule: five cron fields and a trainData are needed"


@dataclass(frozen=True)
class _Location:
    """Where something is kept, by the key that says so."""

    key: str
    ends_with_pod: bool


def _without_folder(settings: PlatformFields) -> Iterator[str]:
    """What would lie in a folder that ends with its pod."""
    if settings.shared_folder:
        return
    for location in _locations(settings):
        if location.ends_with_pod:
            yield f"{location.key}: without sharedFolder it must be in S3 or Kinesis"


def _locations(settings: PlatformFields) -> Iterator[_Location]:
    yield _Location("trainData", _is_file(settings.train_data))
    yield _Location(
        "serve.streamSource (and sinks, dead letters, leases)", _streams_files(settings)
    )
    if not settings.on_aws:
        yield _Location("drift.stateUrl", not settings.drift.state_url)
        yield _Location("drift.capturedUrl", not settings.drift.captured_url)


def _is_file(data: str) -> bool:
    return bool(data) and not data.startswith("s3://")


def _streams_files(settings: PlatformFields) -> bool:
    """Whether a stream reads or writes files."""
    serve = settings.serve
    ends = [serve.stream_source, serve.stream_dead_letters, serve.stream_leases]
    ends.extend(serve.stream_sinks.split(","))
    return any(map(_is_file_stream, ends))


def _is_file_stream(end: str) -> bool:
    return end.startswith(("file:", "parquet:/"))


def _ingress(settings: PlatformFields) -> Iterator[str]:
    if settings.ingress == "none":
        return
    if not settings.hostname:
        yield f"hostname: needed with ingress {settings.ingress}"
    if settings.serve.auth == "off":
        yield f"serve.auth = 'off': with ingress {settings.ingress} anybody could call"


def _upgrade(settings: PlatformFields) -> Iterator[str]:
    if settings.upgrade_strategy == "NewCluster":
        return
    if settings.ingress != "gateway":
        yield (
            "upgradeStrategy: step by step requests are led by a Gateway alone: set ingress"
            " gateway, or NewCluster"
        )
    step = settings.upgrade_step_percent
    surge = settings.upgrade_surge_percent
    if step > surge:
        yield f"upgradeStepPercent: {step} is more than upgradeSurgePercent, {surge}"


def _signed_images(settings: PlatformFields) -> Iterator[str]:
    if settings.image_admission == "off":
        return
    if not settings.github_repository:
        yield "githubRepository: needed with imageAdmission, whose workflow signs the images"
    if not _DIGEST.search(settings.image):
        yield "image: NAME@sha256:... is needed with imageAdmission, for a signature is of a digest"


def _model_names(settings: PlatformFields) -> Iterator[str]:
    rooms = (settings.serve, settings.drift, settings.train)
    if len({room.model_name for room in rooms}) > 1:
        names = [f"{room.room}.modelName = {room.model_name!r}" for room in rooms]
        yield f"{'; '.join(names)}: they must name one model"


def _receiver(settings: PlatformFields) -> Iterator[str]:
    if settings.alert_receiver != "none" and not settings.monitoring:
        yield "alertReceiver: needs monitoring, which has the Alertmanager"


def _delivery(settings: PlatformFields) -> Iterator[str]:
    if settings.delivery == "argocd" and not settings.git_url:
        yield "gitUrl: needed with delivery argocd"


# --- on AWS ---


def _required_on_aws(settings: PlatformFields) -> Iterator[str]:
    for key in ("account_id", "owner", "cost_center"):
        if not getattr(settings, key):
            yield f"{to_camel(key)}: required with target aws"
    if not (settings.image or settings.image_tag):
        yield "imageTag (or image): required with target aws"


def _network(settings: PlatformFields) -> Iterator[str]:
    try:
        split_vpc(settings.vpc_cidr, len(settings.zones))
        require_disjoint(_blocks(settings))
    except BadNetwork as error:
        yield error.message


def _blocks(settings: PlatformFields) -> dict[str, str]:
    """Blocks of addresses that must not overlap, by the key that names each."""
    peers = {f"peerCidrs[{index}]": peer for index, peer in enumerate(settings.peer_cidrs)}
    return {
        "vpcCidr": settings.vpc_cidr,
        "serviceCidr": settings.service_cidr,
        **peers,
    }


def _stream_of_the_stack(settings: PlatformFields) -> Iterator[str]:
    source = settings.serve.stream_source
    own = f"kinesis:{settings.name}"
    if source not in ("", own):
        may_read = f"on aws consumers may read the stack's own stream, {own}"
        yield f"serve.streamSource = {source!r}: {may_read}"


def _for_kubernetes_only(settings: PlatformFields) -> Iterator[str]:
    if settings.delete_crds:
        yield "deleteCrds: for target kubernetes only; on aws they go with the cluster"
    if settings.mlflow_store == "sqlite":
        yield "mlflowStore: sqlite is for target kubernetes only"


def _needed_on_aws(settings: PlatformFields) -> Iterator[str]:
    if settings.ingress == "alb" and not settings.certificate_arn:
        yield "certificateArn: needed with ingress alb"
    if settings.github_repository and not settings.state_bucket:
        yield "stateBucket: needed with githubRepository"


def _access(settings: PlatformFields) -> Iterator[str]:
    """The cluster lets nobody in who is not named, whoever runs `pulumi up` included."""
    if not (settings.github_repository or settings.admin_principals):
        yield _NO_ADMIN
    counts = Counter(_principals(settings))
    repeated = [arn for arn, count in counts.items() if count > 1]
    wrong = [arn for arn in counts if not _PRINCIPAL.fullmatch(arn)]
    for arn in sorted(repeated):
        yield f"{_PRINCIPAL_KEYS}: {arn} may be named once only"
    for arn in sorted(wrong):
        yield f"{_PRINCIPAL_KEYS}: {arn} is no arn:aws:iam::ACCOUNT:role/NAME (and no session)"


def _principals(settings: PlatformFields) -> Iterator[str]:
    yield from settings.admin_principals
    yield from settings.viewer_principals
    if settings.github_repository:
        yield settings.place.iam_arn(f"role/{settings.name}-apply")
        yield settings.place.iam_arn(f"role/{settings.name}-plan")


# --- on a cluster that exists ---


def _required_on_kubernetes(settings: PlatformFields) -> Iterator[str]:
    if not settings.image:
        yield "image: required with target kubernetes"


def _mlflow_on_kubernetes(settings: PlatformFields) -> Iterator[str]:
    if settings.mlflow_store == "postgres":
        yield "mlflowStore: postgres is made on aws only; set sqlite"
    elif settings.mlflow_replicas != 1:
        yield "mlflowReplicas: sqlite serves one replica only"


def _redis_on_kubernetes(settings: PlatformFields) -> Iterator[str]:
    if settings.gcs_fault_tolerance == "redis" and not _REDIS_URL.match(settings.redis_address):
        yield "redisAddress: redis://host:port is needed with gcsFaultTolerance redis"


def _balancer_on_kubernetes(settings: PlatformFields) -> Iterator[str]:
    if settings.ingress == "alb":
        yield "ingress: alb exists with target aws only"


_ANYWHERE: tuple[_Check, ...] = (
    _schedule,
    _without_folder,
    _ingress,
    _upgrade,
    _signed_images,
    _model_names,
    _receiver,
    _delivery,
)
_ON_AWS: tuple[_Check, ...] = (
    _required_on_aws,
    _network,
    _stream_of_the_stack,
    _for_kubernetes_only,
    _needed_on_aws,
    _access,
)
_ON_KUBERNETES: tuple[_Check, ...] = (
    _required_on_kubernetes,
    _mlflow_on_kubernetes,
    _redis_on_kubernetes,
    _balancer_on_kubernetes,
)
