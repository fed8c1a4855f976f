"""A drift reference as the arrays and values of a bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.model.floors import Calibration
from train.model.hours import hours_from_arrays
from train.model.reference import STORED_ARRAYS, STORED_VALUES, Reference
from train.model.traits import traits_from_arrays
from vigil.json_types import Fields, JsonObject


def reference_to_arrays(
    reference: Reference,
) -> tuple[dict[str, NDArray[Any]], JsonObject]:
    """Return the reference as arrays and as plain JSON values, by their stored names."""
    arrays = {
        name: np.ascontiguousarray(getattr(reference, field))
        for name, field in STORED_ARRAYS.items()
    }
    traits = reference.traits.arrays() if reference.traits else {}
    hours = reference.hours.arrays() if reference.hours else {}
    return arrays | traits | hours, _values(reference)


def _values(reference: Reference) -> JsonObject:
    values: JsonObject = {
        name: getattr(reference, field) for name, (field, _) in STORED_VALUES.items()
    }
    values["names"] = list(reference.names)
    values["calibration"] = asdict(reference.calibration)
    return values


def reference_from_arrays(arrays: Mapping[str, NDArray[Any]], values: Fields) -> Reference:
    """Return the inverse of `reference_to_arrays`.

    Raises KeyError or TypeError on a missing part.
    """
    stored_arrays: JsonObject = {field: arrays[name] for name, field in STORED_ARRAYS.items()}
    stored_values: JsonObject = {
        field: kind(values[name]) for name, (field, kind) in STORED_VALUES.items()
    }
    return Reference(
        names=tuple(values["names"]),
        calibration=Calibration(**values["calibration"]),
        traits=traits_from_arrays(arrays),
        hours=hours_from_arrays(arrays),
        **stored_arrays,
        **stored_values,
    )
