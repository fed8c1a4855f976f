"""The ports of one platform: the well-known ones where they are free, else others; never shared
with a second platform."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from vigil.errors import PlatformError

REPLICA_PORTS = 64  # per protocol: a range that HAProxy mode hands out to replicas
# Ranges lie below the ephemeral ports, and above Ray's worker ports.
RANGES_FROM = 20_000
RANGES_TO = 32_000
_MAX_RANGE_TRIES = 100
_DASHBOARD_PORT = 8265
_MLFLOW_PORT = 5000


@dataclass(frozen=True)
class Ports:
    """`http` is the caller's; the rest is found. `replicas` and `grpc_replicas` are the first
    ports of ranges."""

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
    grpc_replicas: int


def is_free(port: int) -> bool:
    """Whether one may listen on `port` of the local address."""
    try:
        return bool(_bind(port))
    except OSError:
        return False


class PortPicker:
    """Hands out free ports, none of them twice; those in `taken` not at all."""

    def __init__(
        self,
        taken: set[int],
        *,
        is_free: Callable[[int], bool] = is_free,
        randrange: Callable[[int, int, int], int] = random.randrange,
    ) -> None:
        self._taken = taken
        self._is_free = is_free
        self._randrange = randrange

    def port(self, preferred: int = 0) -> int:
        """`preferred` where it is free, else any port."""
        port = preferred
        if not preferred or preferred in self._taken or not self._is_free(preferred):
            port = _bind(0)
        while port in self._taken:
            port = _bind(0)
        self._taken.add(port)
        return port

    def range(self) -> int:
        """The first of REPLICA_PORTS free ports in a row; raises PlatformError."""
        for _ in range(_MAX_RANGE_TRIES):
            first = self._randrange(RANGES_FROM, RANGES_TO - REPLICA_PORTS, REPLICA_PORTS)
            ports = range(first, first + REPLICA_PORTS)
            if self._taken.isdisjoint(ports) and all(map(self._is_free, ports)):
                self._taken.update(ports)
                return first
        raise PlatformError(
            f"no {REPLICA_PORTS} free ports in a row between {RANGES_FROM} and {RANGES_TO}"
        )


def choose_ports(
    http: int,
    host: str,
    *,
    grpc: int = 0,
    is_free: Callable[[int], bool] = is_free,
) -> Ports:
    """Ports for a platform that serves on `http` of `host`, and by gRPC on `grpc` unless it is 0.

    Raises PlatformError, saying who holds it, when one of these is taken.
    """
    _require_free(http, host)
    if grpc:
        _require_free(grpc, host)
    picker = PortPicker({http, grpc}, is_free=is_free)
    return Ports(
        http,
        replicas=picker.range(),
        grpc_replicas=picker.range(),
        dashboard=picker.port(_DASHBOARD_PORT),
        agent=picker.port(),
        tracking=picker.port(_MLFLOW_PORT),
        metrics=picker.port(),
        fallback=picker.port(),
        fallback_grpc=picker.port(),
        haproxy_metrics=picker.port(),
        haproxy_stats=picker.port(),
        haproxy_log=picker.port(),
    )


def _require_free(port: int, host: str) -> None:
    try:
        _bind(port, host)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            reason = error.strerror or error
            raise PlatformError(f"cannot listen on {host}:{port}: {reason}") from error
        raise PlatformError(
            f"port {port} is in use by {port_holder(port)}: stop it, or choose another with --port"
        ) from error


def port_holder(port: int) -> str:
    """Who listens on `port`, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status != psutil.CONN_LISTEN or not address or address.port != port:
                continue
            if connection.pid:
                process = psutil.Process(connection.pid)
                command = " ".join(process.cmdline())[:80] or process.name()
                return f"pid {process.pid} ({command})"
    return "another process"


def _bind(port: int, host: str = "127.0.0.1") -> int:
    """Bind and let go; the port that it was (0 asks for any)."""
    with socket.socket() as probe:
        # TIME_WAIT is free, a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return probe.getsockname()[1]
