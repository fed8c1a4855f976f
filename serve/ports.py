"""The ports of one platform: the well-known ones where they are free, else others; never shared with a second platform."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass

import psutil

from train.errors import PlatformError

REPLICA_PORTS = 64  # per protocol: a range that HAProxy mode hands out to replicas


@dataclass(frozen=True)
class Ports:
    """`http` is the caller's; the rest is found. `replicas` and `grpc` are the first ports of ranges."""

    http: int
    dashboard: int
    tracking: int
    metrics: int
    fallback: int
    fallback_grpc: int
    haproxy_metrics: int
    haproxy_stats: int
    haproxy_log: int
    replicas: int
    grpc: int


def find(http: int, host: str) -> Ports:
    """Ports for a platform that serves on `http`; raises PlatformError, saying who holds it, when that is taken."""
    if not _free(http, host):
        raise PlatformError(f"port {http} is in use by {holder(http)}: stop it, or choose another with --port")
    single = [_any_free() for _ in range(6)]
    return Ports(
        http, _prefer(8265), _prefer(5000), single[0], single[1], single[2], single[3], single[4], single[5], _range(), _range()
    )


def holder(port: int) -> str:
    """Who listens on `port`, as far as this user may know."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
            process = psutil.Process(connection.pid)
            return f"pid {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    return "another process"


def _free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is free, a listener is not
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _prefer(port: int) -> int:
    return port if _free(port) else _any_free()


def _range() -> int:
    """The first of REPLICA_PORTS free ports below the ephemeral range and above Ray's worker ports."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000 - REPLICA_PORTS, REPLICA_PORTS)
        if all(_free(port) for port in range(first, first + REPLICA_PORTS)):
            return first
    raise PlatformError(f"no {REPLICA_PORTS} free ports in a row between 20000 and 32000")
