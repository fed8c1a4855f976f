"""How a VPC's addresses are divided. Pure: zone i gets the same blocks, however many zones."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from vigil.errors import VigilError

_MIN_PREFIX = 16
_MAX_PREFIX = 20  # the prefixes for which pods, load balancers and databases all have room


class BadNetwork(VigilError):
    """A CIDR block that is malformed, too small or in the way of another one."""


@dataclass(frozen=True)
class ZoneBlocks:
    """The blocks of one availability zone.

    public (NAT, load balancer), private (nodes and pods), intra (no way out).
    """

    public: str
    private: str
    intra: str


def parse_block(cidr: str, key: str) -> ipaddress.IPv4Network:
    """`cidr` as a network; raises BadNetwork naming the setting `key`."""
    try:
        return ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise BadNetwork(
            f"{key}: {cidr!r} is no IPv4 block such as 10.20.0.0/16: {error}"
        ) from error


def split_vpc(cidr: str, zones: int) -> tuple[ZoneBlocks, ...]:
    """Three quarters of the block are private subnets of up to three zones.

    The last quarter holds the small ones. For a /16: private /18, public and intra /22.
    Raises BadNetwork when it does not fit.
    """
    network = parse_block(cidr, "vpcCidr")
    if not _MIN_PREFIX <= network.prefixlen <= _MAX_PREFIX:
        raise BadNetwork(f"vpcCidr: {cidr} must be between /{_MIN_PREFIX} and /{_MAX_PREFIX}")
    if not 2 <= zones <= 3:
        raise BadNetwork(f"zones: {zones} given; 2 or 3 are possible")
    return tuple(_zones_of(network))[:zones]


def _zones_of(network: ipaddress.IPv4Network) -> Iterator[ZoneBlocks]:
    """Blocks of three zones."""
    *private, rest = map(str, network.subnets(prefixlen_diff=2))
    small = list(map(str, parse_block(rest, "").subnets(prefixlen_diff=4)))
    for public, large, intra in zip(
        small,
        private,
        small[4:],
        strict=False,
    ):
        yield ZoneBlocks(public, large, intra)


def require_disjoint(blocks: dict[str, str]) -> None:
    """Raise BadNetwork when two of the named blocks overlap."""
    networks = {key: parse_block(cidr, key) for key, cidr in blocks.items()}
    for one, other in combinations(networks, 2):
        if networks[one].overlaps(networks[other]):
            raise BadNetwork(f"{one}: {networks[one]} overlaps {other}: {networks[other]}")
