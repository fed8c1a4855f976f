"""Ports of a platform: a taken one is refused with its holder, two platforms share none."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain

import pytest

from serve.local import ports
from serve.local.ports import REPLICA_PORTS, Ports
from vigil.errors import PlatformError


@contextlib.contextmanager
def listening(*numbers: int) -> Iterator[list[int]]:
    """Listeners on these ports of the local address."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", number))) for number in numbers
        ]
        yield [s.getsockname()[1] for s in sockets]


def free() -> int:
    with listening(0) as (port,):
        return port


def every(found: Ports) -> list[int]:
    """All ports, those of the two ranges included."""
    single = [port for name, port in asdict(found).items() if name not in ("replicas", "grpc")]
    return [
        *single,
        *chain.from_iterable(
            range(first, first + REPLICA_PORTS) for first in (found.replicas, found.grpc)
        ),
    ]


def test_a_port_in_use_is_refused_and_its_holder_named() -> None:
    with listening(0) as (port,), pytest.raises(PlatformError) as caught:
        ports.choose_ports(port, "127.0.0.1")
    assert f"port {port} is in use by pid {os.getpid()} (" in caught.value.message
    assert "--port" in caught.value.message


def test_the_wanted_port_is_given() -> None:
    port = free()
    assert ports.choose_ports(port, "127.0.0.1").http == port


def test_what_a_first_platform_listens_on_is_not_given_to_a_second() -> None:
    first = ports.choose_ports(free(), "127.0.0.1")
    with listening(*set(every(first))):
        second = ports.choose_ports(free(), "127.0.0.1")
    assert not set(every(first)) & set(every(second))


def test_well_known_ports_are_kept_where_they_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_free", lambda port, host="": port != 5000)
    found = ports.choose_ports(8000, "127.0.0.1")
    assert found.dashboard == 8265
    assert found.tracking != 5000


def test_no_free_range_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_free", lambda port, host="": not 20_000 <= port < 32_000)
    with pytest.raises(PlatformError, match="no 64 free ports in a row"):
        ports.choose_ports(8000, "127.0.0.1")


def test_a_well_known_port_as_http_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_free", lambda *_: True)
    assert ports._one(set(), 5000) == 5000
    assert ports._one({5000}, 5000) != 5000


def test_the_two_ranges_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    first = iter([20_000, 20_000, 20_064])
    monkeypatch.setattr(ports, "_free", lambda *_: True)
    monkeypatch.setattr(ports.random, "randrange", lambda *_: next(first))
    taken: set[int] = set()
    assert ports._range(taken) != ports._range(taken)
