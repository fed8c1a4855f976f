"""What stands for missing values of rows that are sent, and how many of their words are unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prometheus_client import Counter

from train.table.categories import CategoryCodec
from train.table.impute import Imputation, missing_counts
from vigil.arrays import Floats
from vigil.errors import InvalidFeatures


def fill_missing(
    X: Floats,
    imputation: Imputation | None,
    entities: Sequence[str] | None,
    *,
    counter: Counter,
) -> Floats:
    """Return raw rows [n, d] without missing values; `counter` counts them by feature.

    Raises InvalidFeatures for a value that may not be missing, and for a row with too many.
    """
    if imputation is None or not np.isnan(X).any():
        return X
    flaw = imputation.first_flaw(X)
    if flaw is not None:
        name = imputation.names[flaw.column]
        message = f"row {flaw.row}, feature {name!r}: {flaw.reason}"
        raise InvalidFeatures(message, field=name, row=flaw.row)
    count_missing(X, imputation, counter)
    return imputation.fill(X, entities)


def count_missing(
    X: Floats,
    imputation: Imputation,
    counter: Counter,
) -> None:
    """Count the missing values of the rows [n, d] by feature."""
    for name, count in zip(imputation.names, missing_counts(X).tolist(), strict=True):
        if count:
            counter.labels(name).inc(count)


def count_unknown(
    X: Floats,
    categories: CategoryCodec | None,
    counter: Counter,
) -> None:
    """Count the numeric rows [n, D] with a word that training has not seen, by category."""
    if categories is None:
        return
    for name, count in categories.unknown_counts(X).items():
        if count:
            counter.labels(name).inc(count)
