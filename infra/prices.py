"""List prices that the cost model uses, in US dollars.

To update: change numbers and DATE, run `python -m infra.cost`.
"""

from __future__ import annotations

# AWS' public on-demand list prices for us-east-1, written down from memory as they were in
# mid-2025. Other regions cost some per cent more; discounts, support and taxes are not in them.
PRICE_SOURCE = (
    "AWS list prices, us-east-1, on demand, as of mid-2025 from memory; "
    "not checked against AWS' price list since"
)
PRICE_DATE = "2025-07"
HOURS_PER_MONTH = 730.0  # in a month

PRICES: dict[str, tuple[float, str]] = {
    "eks cluster": (0.10, "hour"),
    "m6i vCPU": (0.048, "hour"),  # m6i.large: 2 vCPU, 8 GiB, 0.096
    "spot share": (0.40, "of the on-demand price, a cautious average"),
    "nat gateway": (0.045, "hour"),
    "nat data": (0.045, "GB"),
    "interface endpoint": (0.01, "hour and zone"),
    "public ipv4": (0.005, "hour"),
    "load balancer": (0.0225, "hour"),
    "load balancer unit": (
        0.008,
        "hour",
    ),  # 25 new connections/s, 3,000 active, 1 GB/h, 1,000 rules/s
    "db.t4g.small": (0.032, "hour"),
    "db.m7g.large": (0.168, "hour"),
    "rds storage": (0.115, "GB-month"),
    "cache.t4g.small": (0.032, "hour"),
    "ebs gp3": (0.08, "GB-month"),
    "efs": (0.30, "GB-month"),
    "s3": (0.023, "GB-month"),
    "kinesis shard": (0.015, "hour"),
    "kinesis stream": (0.04, "hour, on demand"),
    "kinesis data in": (0.08, "GB, on demand"),
    "logs": (0.50, "GB taken in"),
    "kms key": (1.00, "month"),
    "cross-zone data": (0.02, "GB, both directions"),
}


def price(name: str) -> float:
    return PRICES[name][0]
