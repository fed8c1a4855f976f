"""What an environment costs a month at rest: nothing scaled out, no traffic to speak of. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.prices import HOURS_PER_MONTH, price
from infra.settings import PlatformSettings

STORED_GB = {"dev": 50.0, "prod": 500.0}  # in all buckets
LOGS_GB = {"dev": 10.0, "prod": 60.0}
_FOLDER_GB = 10
_DISK_GB = 50  # of a node, and of MLflow's stores
_SMALL_SIZES = ("medium", "large")


@dataclass(frozen=True)
class BillItem:
    """One line of the bill, in dollars a month."""

    what: str
    how: str
    usd: float


def monthly_bill(settings: PlatformSettings) -> list[BillItem]:
    """The bill of an environment at rest."""
    return [
        *_machines(settings),
        *_ways_out(settings),
        *_stores(settings),
        BillItem("Keys", "2", 2 * price("kms key")),
        *_chosen(settings),
    ]


def monthly_price(name: str, count: float) -> float:
    """The price of what is paid by the hour, all month."""
    return price(name) * count * HOURS_PER_MONTH


# --- machines ---


def _machines(settings: PlatformSettings) -> Iterator[BillItem]:
    system = _system_cpus(settings)
    heads = 2 * settings.head_cpu
    cluster = monthly_price("eks cluster", 1)
    yield BillItem("EKS control plane", "1 cluster, standard support", cluster)
    yield BillItem("System nodes", f"{system} vCPU on demand", monthly_price("m6i vCPU", system))
    yield BillItem("Ray heads", f"{heads} vCPU on demand", monthly_price("m6i vCPU", heads))
    yield _serving(settings)


def _serving(settings: PlatformSettings) -> BillItem:
    cpus = _serving_cpus(settings)
    share = (1 + price("spot share")) / 2 if settings.spot_serving else 1.0
    usd = monthly_price("m6i vCPU", cpus) * share
    return BillItem("Serving and monitor", f"{cpus} vCPU, {share:.0%} of on demand", usd)


def _serving_cpus(settings: PlatformSettings) -> float:
    """CPUs of workers, of the monitor, and of the consumers of a stream."""
    workers = settings.min_workers * settings.worker_cpu
    return workers + 1 + _consumers(settings) / 2


def _consumers(settings: PlatformSettings) -> int:
    return settings.serve.stream_consumers if settings.serve.stream_source else 0


def _system_cpus(settings: PlatformSettings) -> int:
    return 2 * _vcpus(settings.system_instance_types[0])


def _vcpus(instance_type: str) -> int:
    size = instance_type.split(".")[1]
    if size in _SMALL_SIZES:
        return 2
    return 4 * int(size.removesuffix("xlarge") or 1)


# --- network ---


def _ways_out(settings: PlatformSettings) -> Iterator[BillItem]:
    zones = len(settings.zones)
    yield _nat(zones if settings.nat_per_zone else 1)
    endpoints = len(settings.interface_endpoints) * zones
    usd = monthly_price("interface endpoint", endpoints)
    yield BillItem("Interface endpoints", f"{endpoints} zone-endpoints", usd)


def _nat(gateways: int) -> BillItem:
    usd = monthly_price("nat gateway", gateways) + monthly_price("public ipv4", gateways)
    return BillItem("NAT", f"{gateways} gateways and addresses", usd)


# --- stores ---


def _stores(settings: PlatformSettings) -> Iterator[BillItem]:
    size = "prod" if settings.protect else "dev"
    yield _database(settings)
    yield _stream(settings)
    yield _storage(STORED_GB[size], _system_cpus(settings))
    yield BillItem("Logs", f"{LOGS_GB[size]:.0f} GB", price("logs") * LOGS_GB[size])


def _database(settings: PlatformSettings) -> BillItem:
    copies = 2 if settings.database_multi_az else 1
    disk = price("rds storage") * settings.database_gib
    usd = (monthly_price(settings.database_class, 1) + disk) * copies
    how = f"{copies} x {settings.database_class}, {settings.database_gib} GB"
    return BillItem("RDS PostgreSQL", how, usd)


def _stream(settings: PlatformSettings) -> BillItem:
    how = settings.stream_mode.lower().replace("_", " ")
    return BillItem("Kinesis", how, _stream_usd(settings))


def _stream_usd(settings: PlatformSettings) -> float:
    if settings.stream_mode == "PROVISIONED":
        return monthly_price("kinesis shard", settings.stream_shards)
    return monthly_price("kinesis stream", 1)


def _storage(stored_gb: float, system_cpus: int) -> BillItem:
    how = f"{stored_gb:.0f} GB in S3, disks, 10 GB shared folder"
    disks = price("ebs gp3") * _disks_gb(system_cpus)
    folder = price("efs") * _FOLDER_GB
    objects = price("s3") * stored_gb
    return BillItem("Storage", how, objects + disks + folder)


def _disks_gb(system_cpus: int) -> int:
    nodes = max(2, system_cpus // 4)
    return _DISK_GB * nodes + _DISK_GB


# --- what a stack may have ---


def _chosen(settings: PlatformSettings) -> Iterator[BillItem]:
    if settings.ingress == "alb":
        yield _load_balancer()
    if settings.gcs_fault_tolerance == "redis":
        yield _redis(settings.redis_node_type)


def _load_balancer() -> BillItem:
    usd = monthly_price("load balancer", 1) + monthly_price("load balancer unit", 1)
    return BillItem("Load balancer", "1, with one unit", usd)


def _redis(node: str) -> BillItem:
    return BillItem("Redis", f"2 x {node}", monthly_price(node, 2))
