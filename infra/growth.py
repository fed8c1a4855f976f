"""What it takes to carry a rate of requests, on paper. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra.prices import price

# Assumptions that are not settings; the table in docs/cost.md states them.
REPLICA_RPS = 5700.0  # one-row requests a second of one replica: measured, docs/benchmarks.md
# Requests a second that one HAProxy (2 threads, one per serving node) is planned for; not measured
# here.
HAPROXY_RPS = 30_000.0
POLLS_PER_S = 1 / 30  # a replica asks MLflow for the champion every 30 s
MONITOR_POLLS_PER_S = 0.5  # and the monitor every 2 s
# Alias look-ups a second that one MLflow server is planned for: a database query each; not measured
# here.
MLFLOW_POLLS = 100.0
SHARD_RPS = 1000.0
SHARD_MB = 1.0  # what Kinesis takes per shard and second
RECORD_KB = 0.5  # a row of 30 features as JSON
NODE_CPUS = 16  # of the nodes that Karpenter buys at scale
BUSY_SHARE = 0.5  # replicas are planned to be half busy: autoscaling needs time
_REPLICAS_A_NODE = NODE_CPUS - 1  # a CPU of each node is the system's
BREAKS = {
    10: "nothing: two replicas are for availability",
    100: "nothing",
    1_000: "nothing",
    10_000: "nothing; four replicas are within `serve.maxReplicas` of dev (8)",
    100_000: (
        "Ray's head, as each replica that comes or goes reloads every HAProxy; the drift monitor, "
        "unless rows are sampled"
    ),
    1_000_000: (
        "one Ray cluster: several RayServices behind one load balancer, and many rows a request"
    ),
}


@dataclass(frozen=True)
class Capacity:
    """What a rate of one-row requests a second takes."""

    rps: int

    @property
    def replicas(self) -> int:
        """Replicas, half busy; two at least, for availability."""
        return max(2, math.ceil(self.rps / REPLICA_RPS / BUSY_SHARE))

    @property
    def nodes(self) -> int:
        """Nodes that hold the replicas."""
        return max(2, math.ceil(self.replicas / _REPLICAS_A_NODE))

    @property
    def haproxies(self) -> int:
        """Proxies: one on each node, or more where they give way first."""
        return max(self.nodes, math.ceil(self.rps / HAPROXY_RPS))

    @property
    def polls(self) -> float:
        """Requests a second to MLflow for the champion."""
        return self.replicas * POLLS_PER_S + MONITOR_POLLS_PER_S

    @property
    def mlflow(self) -> int:
        """Servers of MLflow."""
        return max(2, math.ceil(self.polls / MLFLOW_POLLS))

    @property
    def shards(self) -> int:
        """Shards of Kinesis, by records and by megabytes."""
        megabytes = self.rps * RECORD_KB / 1024
        shards = max(self.rps / SHARD_RPS, megabytes / SHARD_MB)
        return max(1, math.ceil(shards))

    @property
    def usd_per_million(self) -> float:
        """What a million predictions cost in serving CPUs, half of them spot."""
        cpus = self.replicas / _REPLICAS_A_NODE * NODE_CPUS
        hourly = cpus * price("m6i vCPU") * (1 + price("spot share")) / 2
        return hourly / (self.rps * 3600) * 1e6

    @property
    def breaks(self) -> str:
        """What gives way first on the way to tenfold."""
        return BREAKS[self.rps]
