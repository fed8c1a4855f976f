"""The cost model: current, and moving the right way."""

from __future__ import annotations

from typing import Any

import pytest

from infra.bill import monthly_bill
from infra.cost import cost_page
from infra.growth import BREAKS, Capacity
from infra.stack_settings import read_files
from tests.infra.recorded import ROOT, changed


def total(stack: str, **changes: Any) -> float:
    return sum(item.usd for item in monthly_bill(changed(stack, **changes)))


def test_the_document_is_current() -> None:
    expected = cost_page({name: read_files(name) for name in ("dev", "prod")})
    assert (ROOT / "docs" / "cost.md").read_text() == expected, "run `python -m infra.cost`"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_an_environment_at_rest_stays_within_its_budget(stack: str) -> None:
    assert total(stack) < read_files(stack).budget_usd


@pytest.mark.parametrize(
    "more",
    [
        {"nat_per_zone": True},
        {"min_workers": 4, "serve": {"min_replicas": 8}},
        {"spot_serving": False},
        {"database_multi_az": True},
    ],
)
def test_more_costs_more(more: dict[str, Any]) -> None:
    assert total("dev", **more) > total("dev")


def test_ten_times_the_load_takes_about_ten_times_the_replicas() -> None:
    loads = [Capacity(rate) for rate in BREAKS]
    assert [m.replicas for m in loads] == [2, 2, 2, 4, 36, 351]
    assert [m.shards for m in loads] == [1, 1, 1, 10, 100, 1000]
    assert loads[-1].polls == pytest.approx(351 / 30 + 0.5)
    assert all(m.nodes * 15 >= m.replicas for m in loads)
    prices = [m.usd_per_million for m in loads]
    assert prices == sorted(prices, reverse=True)
