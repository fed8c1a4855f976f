"""What an environment costs, and what it takes to carry more.

Pure; `python -m infra.cost` writes docs/cost.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from infra.prices import HOURS_PER_MONTH, PRICE_DATE, PRICE_SOURCE, PRICES, price
from infra.settings import PlatformSettings
from infra.stack_settings import ROOT, read_files

# Assumptions that are not settings; the table in docs/cost.md states them.
REPLICA_RPS = 1500.0  # one-row requests a second that one replica is planned for
# Requests a second that one HAProxy (2 threads, one per serving node) is planned for; not measured
# here.
HAPROXY_RPS = 30_000.0
POLLS_PER_S = 0.5  # a replica asks MLflow for the champion every 2 s
# Alias look-ups a second that one MLflow server is planned for: a database query each; not measured
# here.
MLFLOW_POLLS = 100.0
SHARD_RPS = 1000.0
SHARD_MB = 1.0  # what Kinesis takes per shard and second
RECORD_KB = 0.5  # a row of 30 features as JSON
NODE_CPUS = 16  # of the nodes that Karpenter buys at scale
STORED_GB = {"dev": 50.0, "prod": 500.0}  # in all buckets
LOGS_GB = {"dev": 10.0, "prod": 60.0}
BUSY_SHARE = 0.5  # replicas are planned to be half busy: autoscaling needs time


@dataclass(frozen=True)
class BillItem:
    """One line of the bill, in dollars a month."""

    what: str
    how: str
    usd: float


def _vcpus(instance_type: str) -> int:
    size = instance_type.split(".")[1]
    return 2 if size in ("medium", "large") else 4 * int(size.removesuffix("xlarge") or 1)


def monthly_bill(settings: PlatformSettings) -> list[BillItem]:
    """The bill of an environment at rest: nothing scaled out, no traffic to speak of."""
    zones = len(settings.zones)
    size = "prod" if settings.protect else "dev"
    nats = zones if settings.nat_per_zone else 1
    system = 2 * _vcpus(settings.system_instance_types[0])
    heads = 2 * settings.head_cpu
    consumers = settings.serve.stream_consumers if settings.serve.stream_source else 0
    serving = (
        settings.min_workers * settings.worker_cpu + 1 + consumers / 2
    )  # and the monitor's, and those of streams
    share = (1 + price("spot share")) / 2 if settings.spot_serving else 1.0
    interface = len(settings.interface_endpoints) * zones

    def hours(name: str, count: float) -> float:
        return price(name) * count * HOURS_PER_MONTH

    found = [
        BillItem("EKS control plane", "1 cluster, standard support", hours("eks cluster", 1)),
        BillItem("System nodes", f"{system} vCPU on demand", hours("m6i vCPU", system)),
        BillItem("Ray heads", f"{heads} vCPU on demand", hours("m6i vCPU", heads)),
        BillItem(
            "Serving and monitor",
            f"{serving} vCPU, {share:.0%} of on demand",
            hours("m6i vCPU", serving) * share,
        ),
        BillItem(
            "NAT",
            f"{nats} gateways and addresses",
            hours("nat gateway", nats) + hours("public ipv4", nats),
        ),
        BillItem(
            "Interface endpoints",
            f"{interface} zone-endpoints",
            hours("interface endpoint", interface),
        ),
        _database(settings),
        BillItem("Kinesis", settings.stream_mode.lower().replace("_", " "), _stream(settings)),
        BillItem(
            "Storage",
            f"{STORED_GB[size]:.0f} GB in S3, disks, 10 GB shared folder",
            _storage(size, system),
        ),
        BillItem("Logs", f"{LOGS_GB[size]:.0f} GB", price("logs") * LOGS_GB[size]),
        BillItem("Keys", "2", 2 * price("kms key")),
    ]
    if settings.ingress == "alb":
        found.append(
            BillItem(
                "Load balancer",
                "1, with one unit",
                hours("load balancer", 1) + hours("load balancer unit", 1),
            )
        )
    if settings.gcs_fault_tolerance == "redis":
        found.append(
            BillItem("Redis", f"2 x {settings.redis_node_type}", hours(settings.redis_node_type, 2))
        )
    return found


def _database(settings: PlatformSettings) -> BillItem:
    copies = 2 if settings.database_multi_az else 1
    usd = (
        price(settings.database_class) * HOURS_PER_MONTH
        + price("rds storage") * settings.database_gib
    ) * copies
    return BillItem(
        "RDS PostgreSQL", f"{copies} x {settings.database_class}, {settings.database_gib} GB", usd
    )


def _stream(settings: PlatformSettings) -> float:
    if settings.stream_mode == "PROVISIONED":
        return price("kinesis shard") * settings.stream_shards * HOURS_PER_MONTH
    return price("kinesis stream") * HOURS_PER_MONTH


def _storage(size: str, nodes: int) -> float:
    return (
        price("s3") * STORED_GB[size]
        + price("ebs gp3") * (50 * max(2, nodes // 4) + 50)
        + price("efs") * 10
    )


@dataclass(frozen=True)
class Capacity:
    """What a rate of one-row requests takes, and what gives way first on the way to tenfold."""

    rps: int
    replicas: int
    nodes: int
    haproxies: int
    polls: float
    mlflow: int
    shards: int
    usd_per_million: float
    breaks: str


BREAKS = {
    10: "nothing: two replicas are for availability",
    100: "nothing",
    1_000: "nothing; a single replica would be at two thirds",
    10_000: "`serve.maxReplicas` of dev (8): raise it, and `maxWorkers`",
    100_000: (
        "Ray's head, as each replica that comes or goes reloads every HAProxy; the drift monitor, "
        "unless rows are sampled"
    ),
    1_000_000: (
        "one Ray cluster: several RayServices behind one load balancer, a longer `poll_s`, "
        "and many rows a request"
    ),
}


def capacity(rps: int) -> Capacity:
    """The capacity model at `rps` one-row requests a second."""
    replicas = max(2, math.ceil(rps / REPLICA_RPS / BUSY_SHARE))
    nodes = max(2, math.ceil(replicas / (NODE_CPUS - 1)))  # a CPU of each node is the system's
    polls = replicas * POLLS_PER_S
    shards = max(1, math.ceil(rps / SHARD_RPS), math.ceil(rps * RECORD_KB / 1024 / SHARD_MB))
    cpus = replicas / (NODE_CPUS - 1) * NODE_CPUS
    hourly = cpus * price("m6i vCPU") * (1 + price("spot share")) / 2
    return Capacity(
        rps,
        replicas,
        nodes,
        max(nodes, math.ceil(rps / HAPROXY_RPS)),
        polls,
        max(2, math.ceil(polls / MLFLOW_POLLS)),
        shards,
        hourly / (rps * 3600) * 1e6,
        BREAKS[rps],
    )


def cost_page(environments: dict[str, PlatformSettings]) -> str:
    """docs/cost.md."""
    lines = [
        "# What it costs, and what it takes to grow",
        "",
        (
            "Generated by `python -m infra.cost` from the stack files and the price table below; "
            "a test keeps it current. On paper:"
        ),
        "no bill has been compared with it.",
        "",
    ]
    for name, settings in environments.items():
        items = monthly_bill(settings)
        lines += [f"## {name}, at rest", "", "| part | how much | USD a month |", "|---|---|---:|"]
        lines += [f"| {item.what} | {item.how} | {item.usd:,.0f} |" for item in items]
        lines += [f"| **all** | | **{sum(item.usd for item in items):,.0f}** |", ""]
    lines += ["## Capacity on paper, one row a request", ""]
    lines += [
        (
            "| requests/s | replicas | nodes | HAProxies | polls/s | MLflow | Kinesis shards | "
            "USD per million | what breaks first |"
        ),
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {m.rps:,} | {m.replicas:,} | {m.nodes:,} | {m.haproxies:,} | {m.polls:,.0f} | "
        f"{m.mlflow} | {m.shards:,} | "
        f"{m.usd_per_million:.4f} | {m.breaks} |"
        for m in map(capacity, BREAKS)
    ]
    lines += [
        "",
        (
            "USD per million predictions counts serving CPUs alone; the fixed cost above comes on "
            "top. Kinesis shards are those of a"
        ),
        (
            "stream that carries the same rows, where rows come that way at all. Many rows in one "
            "request cost far less a row."
        ),
        "",
        "Assumed:",
        "",
    ]
    lines += [text if text.startswith(" ") else f"- {text}" for text in _assumptions()]
    lines += [
        "",
        "## Prices",
        "",
        f"{PRICE_SOURCE}. Date: {PRICE_DATE}. Change them in `infra/prices.py`.",
        "",
        "| what | USD | per |",
        "|---|---:|---|",
    ]
    lines += [f"| {name} | {usd:g} | {unit} |" for name, (usd, unit) in PRICES.items()]
    return "\n".join(lines) + "\n"


def _assumptions() -> list[str]:
    return [
        (
            f"a replica of one CPU carries {REPLICA_RPS:,.0f} requests/s, {BUSY_SHARE:.0%} busy; "
            "a handler that does nothing"
        ),
        (
            "  reached about 5,000/s behind HAProxy on one core of a shared machine, "
            "which leaves room for decoding and scoring"
        ),
        (
            f"one HAProxy with two threads passes {HAPROXY_RPS:,.0f} requests/s (not measured); "
            "one runs on each serving node"
        ),
        (
            f"each replica asks MLflow {POLLS_PER_S:g} times a second; "
            f"a server answers {MLFLOW_POLLS:,.0f} a second (a guess)"
        ),
        (
            f"a row is {RECORD_KB:g} KB; a Kinesis shard takes {SHARD_RPS:,.0f} records "
            f"or {SHARD_MB:g} MB a second"
        ),
        (
            f"nodes have {NODE_CPUS} vCPU, one for the system; half of them are spot, "
            f"at {price('spot share'):.0%} of the price"
        ),
    ]


def write_cost_page(path: Path = ROOT / "docs" / "cost.md") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(cost_page({name: read_files(name) for name in ("dev", "prod")}))


if __name__ == "__main__":
    write_cost_page()
