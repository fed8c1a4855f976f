"""Reasons why a row is an anomaly: the features that say most.

Answers to callers hold them, and the monitor shows them to people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

import msgspec
import numpy as np

from vigil.arrays import Floats

if TYPE_CHECKING:
    from train.model.bundle import ModelBundle


class Reason(TypedDict):
    """What one feature says of a row."""

    feature: str
    share: Annotated[
        float,
        msgspec.Meta(description="share of the path-length deficit that this feature explains"),
    ]
    value: float
    z: Annotated[
        float,
        msgspec.Meta(description="robust z: (value - median) / spread of the training window"),
    ]


def weigh_reasons(gains: Floats, z: Floats) -> Floats:
    """Return how much each feature counts as a reason: its path gain times its robust z, by size.

    The gain says what the model went by, but it is coarse: chance splits on ordinary features
    come first in some rows. z alone misleads on heavy tails and where the model does not use the
    feature (`make bench ARGS=reasons`).
    """
    return np.maximum(gains, 0) * np.abs(z)


def explain_rows(
    bundle: ModelBundle,
    rows: Floats,
    most: int,
) -> list[list[Reason]]:
    """Return for each of the rows [n, d] the `most` features that count most as reasons.

    `share` is the feature's part of the path gains of the row.
    """
    if not len(rows) or not most:
        return [[] for _ in rows]
    gains = np.maximum(bundle.forest.attribute(rows), 0)
    sums = gains.sum(axis=1, keepdims=True)
    shares = gains / np.maximum(sums, 1e-12)
    z = (rows - bundle.reference.median) / bundle.reference.scale
    by_weight = np.argsort(-weigh_reasons(gains, z), axis=1)

    def reasons(i: int) -> list[Reason]:
        first = by_weight[i, :most]
        return [_reason(bundle.names[j], shares[i, j], rows[i, j], z[i, j]) for j in first]

    return list(map(reasons, range(len(rows))))


def _reason(
    feature: str,
    share: float,
    value: float,
    z: float,
) -> Reason:
    return {
        "feature": feature,
        "share": round(float(share), 4),
        "value": float(value),
        "z": round(float(z), 2),
    }
