"""Types of settings that check themselves. Their messages say what is allowed."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from infra.cidr import BadNetwork, parse_block

_INSTANCE_TYPE = re.compile(
    r"[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|xlarge|\d+xlarge|metal)"
)
_ZONES = re.compile("[a-f]{2,3}")
_LOG_RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)


def _check_zones(zones: tuple[str, ...]) -> tuple[str, ...]:
    is_repeated = len(set(zones)) < len(zones)
    if is_repeated or not _ZONES.fullmatch("".join(zones)):
        raise ValueError("two or three different letters from a to f are needed")
    return zones


def _check_blocks(cidrs: tuple[str, ...]) -> tuple[str, ...]:
    for cidr in cidrs:
        try:
            parse_block(cidr, "")
        except BadNetwork as error:
            raise ValueError(error.message.removeprefix(": ")) from error
    return cidrs


def _check_not_open(cidrs: tuple[str, ...]) -> tuple[str, ...]:
    if "0.0.0.0/0" in cidrs:
        raise ValueError(
            "the cluster's API must not be open to 0.0.0.0/0: name the networks you work from"
        )
    return cidrs


def _check_instance_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if not types:
        raise ValueError("at least one instance type is needed")
    if odd := [name for name in types if not _INSTANCE_TYPE.fullmatch(name)]:
        raise ValueError(f"{', '.join(odd)}: no instance type such as m6i.large")
    return types


def _check_retention(days: int) -> int:
    if days not in _LOG_RETENTION_DAYS:
        offered = ", ".join(map(str, _LOG_RETENTION_DAYS))
        raise ValueError(f"CloudWatch offers only {offered} days")
    return days


Blocks = Annotated[tuple[str, ...], AfterValidator(_check_blocks)]
ClosedBlocks = Annotated[Blocks, AfterValidator(_check_not_open)]
InstanceTypes = Annotated[tuple[str, ...], AfterValidator(_check_instance_types)]
Zones = Annotated[tuple[str, ...], AfterValidator(_check_zones)]
RetentionDays = Annotated[int, AfterValidator(_check_retention)]
