"""List prices that the cost model uses, in US dollars, each with the day that it is of.

To update: change numbers and days, run `python -m infra.cost`.
"""

from __future__ import annotations

from typing import NamedTuple

HOURS_PER_MONTH = 730.0  # in a month


class PriceSource(NamedTuple):
    """Where a price was read, and which day it is of."""

    name: str
    day: str


class ListPrice(NamedTuple):
    """What AWS asks for `unit` on demand in us-east-1, before discounts, support and taxes."""

    usd: float
    unit: str
    source: PriceSource


# AWS' own list could not be reached: these have read it, or what it says.
_KARPENTER = PriceSource("Karpenter's table, which AWS' price list makes", "2026-07-20")
_INFRACOST = PriceSource("estimates that Infracost records in its tests", "2024-07-01")
_INFRACOST_ENDPOINTS = PriceSource(_INFRACOST.name, "2024-10-18")
_INFRACOST_TRANSFER = PriceSource(_INFRACOST.name, "2024-09-25")
_EKS = PriceSource("a guide to EKS' prices; Infracost says the same", "2026-06-13")
_RDS = PriceSource("a guide to RDS' prices; Infracost says the same", "2026-06-30")
_TABLES = PriceSource("public tables of prices, most of which agree", "2026-11-30")
_VALKEY = PriceSource("a copy of AWS' price list for Valkey nodes", "2026-10-02")
_ASSUMED = PriceSource("assumed", "2025-07-01")

PRICES: dict[str, ListPrice] = {
    "eks cluster": ListPrice(0.10, "hour", _EKS),
    "m6i vCPU": ListPrice(0.048, "hour", _KARPENTER),  # m6i.large: 2 vCPU, 8 GiB, 0.096
    "spot share": ListPrice(0.40, "of the on-demand price, a cautious average", _ASSUMED),
    "nat gateway": ListPrice(0.045, "hour", _INFRACOST),
    "nat data": ListPrice(0.045, "GB", _INFRACOST),
    "interface endpoint": ListPrice(0.01, "hour and zone", _INFRACOST_ENDPOINTS),
    "public ipv4": ListPrice(0.005, "hour", _INFRACOST),
    "load balancer": ListPrice(0.0225, "hour", _INFRACOST),
    # A unit: 25 new connections/s, 3,000 active, 1 GB/h, 1,000 rules/s.
    "load balancer unit": ListPrice(0.008, "hour", _INFRACOST),
    "db.t4g.small": ListPrice(0.032, "hour", _RDS),
    "db.m7g.large": ListPrice(0.168, "hour", _TABLES),
    "rds storage": ListPrice(0.115, "GB-month", _RDS),
    "cache.t4g.small": ListPrice(0.0256, "hour, of Valkey", _VALKEY),
    "ebs gp3": ListPrice(0.08, "GB-month", _INFRACOST),
    "efs": ListPrice(0.30, "GB-month", _INFRACOST),
    "s3": ListPrice(0.023, "GB-month", _INFRACOST),
    "kinesis shard": ListPrice(0.015, "hour", _INFRACOST),
    "kinesis stream": ListPrice(0.04, "hour, on demand", _INFRACOST),
    "kinesis data in": ListPrice(0.08, "GB, on demand", _INFRACOST),
    "logs": ListPrice(0.50, "GB taken in", _INFRACOST),
    "kms key": ListPrice(1.00, "month", _INFRACOST),
    "cross-zone data": ListPrice(0.02, "GB, both directions", _INFRACOST_TRANSFER),
}


def price(name: str) -> float:
    return PRICES[name].usd
