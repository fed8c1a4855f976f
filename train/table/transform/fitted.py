"""What the steps of a transform have learnt in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from train.table.transform.grammar import POOLED_KINDS, ZONED_KINDS, Step
from train.table.transform.local_time import WEEK_HOURS
from vigil.arrays import Floats
from vigil.errors import DataError
from vigil.naming import name_differing

_Arrays = Mapping[str, Floats]
_POSITIVE = ("baseline.spread", "baseline.floor", "top.spread")


@dataclass(frozen=True, eq=False)
class FittedSteps:
    """Arrays of the steps that learn, by name; a transform without such steps has none.

    baseline.level, baseline.spread, baseline.floor [d]: of an entity that is new, and the least
    spread; calendar.level or season.level [168, d]: of each hour of the week; residual.centre and
    rotate.centre [d], residual.weights [d, d], rotate.weights [d, k]: see linear.py; top.centre and
    top.spread [d for the features and each kind of them]: see pooling.py
    """

    arrays: _Arrays = field(default_factory=dict)

    def __getitem__(self, name: str) -> Floats:
        return self.arrays[name]

    def __or__(self, others: _Arrays) -> FittedSteps:
        return FittedSteps({**self.arrays, **others})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FittedSteps) or self.arrays.keys() != other.arrays.keys():
            return False
        return all(np.array_equal(array, other[name]) for name, array in self.arrays.items())

    def __hash__(self) -> int:
        return hash(frozenset(self.arrays))

    def check(self, steps: Iterable[Step], features: int) -> None:
        """Raise DataError unless there is what `steps` need, of d features, and nothing else."""
        shapes = fitted_shapes(steps, features)
        if shapes.keys() != self.arrays.keys():
            differing = name_differing(shapes, self.arrays)
            raise DataError(f"what the transform has learnt does not fit its steps: {differing}")
        for name, shape in shapes.items():
            _check_array(name, self.arrays[name], shape)


def fitted_shapes(steps: Iterable[Step], features: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that `steps` learn of d features, by name."""
    steps = tuple(steps)
    pooled = sum(step.kind in POOLED_KINDS for step in steps)
    shapes: dict[str, tuple[int, ...]] = {}
    for step in steps:
        if step.kind == "top":
            columns = features * (1 + pooled)
            shapes |= dict.fromkeys(("top.centre", "top.spread"), (columns,))
        shapes |= {
            f"{step.kind}.{name}": shape for name, shape in _shapes_of(step, features).items()
        }
    return shapes


def _shapes_of(step: Step, features: int) -> dict[str, tuple[int, ...]]:
    each = (features,)
    if step.kind == "baseline":
        return dict.fromkeys(("level", "spread", "floor"), each)
    if step.kind in ZONED_KINDS:
        return {"level": (WEEK_HOURS, features)}
    if step.kind == "residual":
        return {"centre": each, "weights": (features, features)}
    if step.kind == "rotate":
        return {"centre": each, "weights": (features, directions(step, features))}
    return {}


def directions(step: Step, features: int) -> int:
    """Return the directions of a `rotate` step: by default as many as there are features."""
    return step.rows or features


def _check_array(
    name: str,
    array: Floats,
    shape: tuple[int, ...],
) -> None:
    if array.dtype != np.float64 or array.shape != shape:
        raise DataError(f"{name} of the transform has type {array.dtype} and shape {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} of the transform has a value that is not finite")
    if name in _POSITIVE and not (array > 0).all():
        raise DataError(f"{name} of the transform has a value that is not above 0")
