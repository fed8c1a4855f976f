"""What people should know of a table that was read: words, missing values and the order of rows."""

from __future__ import annotations

from collections.abc import Iterator

from train.table.roles import TableRoles
from train.table.split_scan import ScanPlan, ScanResult


def remarks_on_words(result: ScanResult, plan: ScanPlan) -> Iterator[str]:
    """How many words each category has, and how many rows have one that is not among them."""
    if plan.categories is None:
        return
    for category in plan.categories.categories:
        remark = f"{category.name!r} is a category of {len(category.words)} words"
        count = result.unknown.get(category.name, 0)
        if count:
            remark += f"; {count} of {result.rows} rows have a word that is unknown to it"
        yield remark


def remarks_on_missing(result: ScanResult, plan: ScanPlan) -> Iterator[str]:
    """What stands for how many values of which features."""
    if plan.imputation is None:
        return
    of_feature = zip(
        result.raw_names,
        plan.imputation.policies,
        result.missing.tolist(),
        strict=True,
    )
    for name, policy, count in of_feature:
        if count:
            share = f"{count} of {result.rows} values of {name!r}"
            yield f"{share} are missing: {policy} stands for them"


def remarks_on_order(result: ScanResult, roles: TableRoles) -> Iterator[str]:
    disorder = result.time_order.disorder
    if disorder is not None:
        yield (
            f"warning: {disorder}: rows are taken in the order of the file, and the last are held "
            f"out; sort the table, or say --time '{roles.columns.time}' to be told of every one"
        )
