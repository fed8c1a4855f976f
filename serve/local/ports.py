"""The ports of one platform: the well-known ones where they are free, else others; never shared with a second platform."""

from __future__ import annotations

import errno
import random
import socket
from contextlib import suppress
from dataclasses import dataclass

import psutil

from vigil.errors import PlatformError

REPLICA_PORTS = 64  # per protocol: a range that HAProxy mode hands out to replicas


@dataclass(frozen=True)
class Ports:
    """`http` is the caller's; the rest is found. `replicas` and `grpc` are the first ports of ranges."""

    http: int
    dashboard: int
    agent: int
    tracking: int
    metrics: int
    fallback: int
    fallback_grpc: int
    haproxy_metrics: int
    haproxy_stats: int
    haproxy_log: int
    replicas: int
    grpc: int


def choose_ports(http: int, host: str) -> Ports:
    """Ports for a platform that serves on `http`; raises PlatformError, saying who holds it, when that is taken."""
    try:
        _bind(http, host)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise PlatformError(
                f"cannot listen on {host}:{http}: {error.strerror or error}"
            ) from error
        raise PlatformError(
            f"port {http} is in use by {holder(http)}: stop it, or choose another with --port"
        ) from error
    taken = {http}
    replicas, grpc = _range(taken), _range(taken)
    single = [_one(taken, wanted) for wanted in (8265, 0, 5000, 0, 0, 0, 0, 0, 0)]
    return Ports(http, *single, replicas=replicas, grpc=grpc)


def holder(port: int) -> str:
    """Who listens on `port`, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                process = psutil.Process(connection.pid)
                return f"pid {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    return "another process"


def _bind(port: int, host: str = "127.0.0.1") -> int:
    """Bind and let go; the port that it was (0 asks for any)."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # TIME_WAIT is free, a listener is not
        probe.bind((host, port))
        return probe.getsockname()[1]


def _free(port: int) -> bool:
    try:
        return bool(_bind(port))
    except OSError:
        return False


def _one(taken: set[int], wanted: int) -> int:
    """`wanted` where it is free, else any port; noted in `taken`."""
    port = wanted if wanted and wanted not in taken and _free(wanted) else _bind(0)
    while port in taken:
        port = _bind(0)
    taken.add(port)
    return port


def _range(taken: set[int]) -> int:
    """The first of REPLICA_PORTS free ports below the ephemeral range and above Ray's worker ports; noted in `taken`."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000 - REPLICA_PORTS, REPLICA_PORTS)
        ports = range(first, first + REPLICA_PORTS)
        if taken.isdisjoint(ports) and all(_free(port) for port in ports):
            taken.update(ports)
            return first
    raise PlatformError(f"no {REPLICA_PORTS} free ports in a row between 20000 and 32000")
