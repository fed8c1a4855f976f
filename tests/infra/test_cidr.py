"""How a VPC is divided."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import cidr


@given(st.integers(0, 255), st.integers(16, 20), st.integers(2, 3))
def test_blocks_lie_in_the_vpc_and_apart(second: int, prefix: int, zones: int) -> None:
    vpc = ipaddress.IPv4Network(f"10.{second}.0.0/{prefix}")
    found = [
        ipaddress.IPv4Network(one)
        for zone in cidr.split_vpc(str(vpc), zones)
        for one in (zone.public, zone.private, zone.intra)
    ]
    assert all(one.subnet_of(vpc) for one in found)
    assert not any(a.overlaps(b) for i, a in enumerate(found) for b in found[i + 1 :])
    assert min(one.num_addresses for one in found) >= 64


def test_a_third_zone_leaves_the_first_two_where_they_are() -> None:
    assert cidr.split_vpc("10.0.0.0/16", 3)[:2] == cidr.split_vpc("10.0.0.0/16", 2)


@pytest.mark.parametrize(
    ("block", "zones", "complaint"),
    [
        ("10.0.0.0/24", 2, "between /16 and /20"),
        ("10.0.0.0/8", 2, "between /16 and /20"),
        ("10.0.0.1/16", 2, "is no IPv4 block"),
        ("10.0.0.0/16", 4, "2 or 3"),
    ],
)
def test_what_does_not_fit_is_refused(block: str, zones: int, complaint: str) -> None:
    with pytest.raises(cidr.BadNetwork, match=complaint):
        cidr.split_vpc(block, zones)


def test_overlaps_are_named() -> None:
    with pytest.raises(
        cidr.BadNetwork, match=r"vpcCidr: 10\.0\.0\.0/16 overlaps serviceCidr: 10\.0\.128\.0/20"
    ):
        cidr.require_disjoint({"vpcCidr": "10.0.0.0/16", "serviceCidr": "10.0.128.0/20"})
