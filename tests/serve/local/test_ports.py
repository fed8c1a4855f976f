"""Ports of a platform: a taken one is refused with its holder, two platforms share none."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain

import pytest

from serve.local.ports import REPLICA_PORTS, PortPicker, Ports, choose_ports
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
    ranges = ("replicas", "grpc_replicas")
    single = [port for name, port in asdict(found).items() if name not in ranges]
    return [
        *single,
        *chain.from_iterable(
            range(first, first + REPLICA_PORTS) for first in (found.replicas, found.grpc_replicas)
        ),
    ]


def test_a_port_in_use_is_refused_and_its_holder_named() -> None:
    with listening(0) as (port,), pytest.raises(PlatformError) as caught:
        choose_ports(port, "127.0.0.1")
    assert f"port {port} is in use by pid {os.getpid()} (" in caught.value.message
    assert "--port" in caught.value.message


def test_the_wanted_port_is_given() -> None:
    port = free()
    assert choose_ports(port, "127.0.0.1").http == port


def test_what_a_first_platform_listens_on_is_not_given_to_a_second() -> None:
    first = choose_ports(free(), "127.0.0.1")
    with listening(*set(every(first))):
        second = choose_ports(free(), "127.0.0.1")
    assert not set(every(first)) & set(every(second))


def test_well_known_ports_are_kept_where_they_are_free() -> None:
    found = choose_ports(free(), "127.0.0.1", is_free=lambda port: port != 5000)
    assert found.dashboard == 8265
    assert found.tracking != 5000


def test_no_free_range_is_said() -> None:
    picker = PortPicker(set(), is_free=lambda port: not 20_000 <= port < 32_000)
    with pytest.raises(PlatformError, match="no 64 free ports in a row between 20000 and 32000"):
        picker.range()


def test_a_well_known_port_as_http_is_not_given_twice() -> None:
    def is_free(port: int) -> bool:
        return True

    assert PortPicker(set(), is_free=is_free).port(5000) == 5000
    assert PortPicker({5000}, is_free=is_free).port(5000) != 5000


def test_the_two_ranges_differ() -> None:
    firsts = iter([20_000, 20_000, 20_064])
    picker = PortPicker(set(), is_free=lambda port: True, randrange=lambda *_: next(firsts))
    assert picker.range() != picker.range()
