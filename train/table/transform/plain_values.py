"""A transform as plain values, for another process, and the key that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps
from train.table.transform.grammar import Step
from vigil.arrays import to_lists
from vigil.digests import text_digest
from vigil.json_types import JsonObject


def transform_values(transform: FeatureTransform) -> JsonObject:
    """Return a transform, and what its steps have learnt, as plain values."""
    fitted = transform.fitted.arrays
    return {
        "names": list(transform.names),
        "steps": [list(step) for step in transform.steps],
        "fitted": to_lists(fitted),
    }


def transform_from_values(values: Mapping[str, Any]) -> FeatureTransform:
    """Return the transform of plain values; raises DataError for one that is unknown here."""
    steps = tuple(Step(*step) for step in values["steps"])
    arrays = {name: np.array(rows, np.float64) for name, rows in values["fitted"].items()}
    return FeatureTransform(tuple(values["names"]), steps, FittedSteps(arrays))


def transform_key(transform: FeatureTransform | None) -> str:
    """Return what names a transform and all that its steps have learnt; "" for none."""
    return "" if transform is None else values_key(transform_values(transform))


def values_key(values: JsonObject) -> str:
    """Return what names the transform of plain values."""
    text = json.dumps(values, sort_keys=True)
    return text_digest(text)[:16]
