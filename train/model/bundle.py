"""ModelBundle: the folder in which a model travels. Write it, digest it, read it back verified.

It holds no pickle and is safe to read from a hostile source: arrays as safetensors, everything
else as JSON, and nothing is believed before digest, sizes, shapes, bounds and golden scores are
checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from train.model.bundle_files import (
    BUNDLE_FILES,
    DEFAULT_LIMITS,
    FOREST_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_ARRAYS_FILE,
    REFERENCE_FILE,
    THRESHOLD_FILE,
    TRANSFORM_FILE,
    BundleLimits,
    bundle_digest,
    check_digest,
    check_files,
)
from train.model.forest import CompiledForest
from train.model.reference import Reference
from train.model.reference_arrays import reference_from_arrays, reference_to_arrays
from train.model.threshold import Threshold
from train.table.categories import CategoryCodec, read_categories
from train.table.impute import Imputation, imputation_of_model
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps
from train.table.transform.grammar import Step
from vigil.arrays import Floats
from vigil.digests import text_digest
from vigil.errors import BundleError, DataError
from vigil.json_types import JsonObject

BUNDLE_FORMAT = 2  # 2: the drift reference knows correlations and what its floors promise
# Of a model with categories: a Vigil that does not know them must not take rows without them.
CATEGORIES_FORMAT = 3
GOLDEN_TOLERANCE = 1e-9
_TEXT_FILES = tuple(name for name in BUNDLE_FILES if name.endswith(".json"))
_ARRAY_FILES = tuple(name for name in BUNDLE_FILES if name.endswith(".safetensors"))
_FOREST_ARRAYS = {
    "roots": np.int32,
    "feature": np.int32,
    "threshold": np.float32,
    "left": np.int32,
    "length": np.float64,
}
# What the readers of JSON, of safetensors and of the parts raise for a file that is damaged.
_DAMAGE = (
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    OSError,
    RecursionError,
    SafetensorError,
)


@dataclass(frozen=True)
class ModelBundle:
    """A model and all that serving and watching it needs.

    golden: rows [k, d] that must score as they did when the bundle was written
    info: library versions, data fingerprint, training window and the like; for people and audits
    transform: makes the model's rows, whose features are `names`, from what callers have, where
        it looks back in time
    imputation: what stands for values that callers do not have, where some may be missing
    categories: makes numbers of the words that callers send, before all else
    """

    names: tuple[str, ...]
    forest: CompiledForest
    threshold: Threshold
    reference: Reference
    golden: Floats
    info: JsonObject
    transform: FeatureTransform | None = None
    imputation: Imputation | None = None
    categories: CategoryCodec | None = None

    @property
    def format(self) -> int:
        """The oldest format that says all of it."""
        return BUNDLE_FORMAT if self.categories is None else CATEGORIES_FORMAT

    @property
    def raw_names(self) -> tuple[str, ...]:
        """Features of the numeric rows that the transform, if there is one, is given."""
        return self.names if self.transform is None else self.transform.names

    @cached_property
    def unused_columns(self) -> frozenset[str]:
        """Columns of the table that it was trained on that are no features, such as labels."""
        names = self.info.get("unused_columns")
        return frozenset(map(str, names)) if isinstance(names, list | tuple) else frozenset()

    @cached_property
    def schema_hash(self) -> str:
        """sha256 of the names of what callers send, in order: their rows fit every model that has
        it, whatever its transform makes of them."""
        sent: Any = self.raw_names
        if self.categories is not None:
            sent = [self.categories.names, self.categories.words]
        return text_digest(json.dumps(sent))


def write_bundle(bundle: ModelBundle, folder: Path) -> str:
    """Write the bundle into the empty `folder`; returns its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_forest(bundle.forest, folder)
    _write_reference(bundle.reference, folder)
    if bundle.transform is not None and bundle.transform.fitted.arrays:
        save_file(dict(bundle.transform.fitted.arrays), folder / TRANSFORM_FILE)
    _write_json(folder / MODEL_FILE, _model_values(bundle))
    _write_json(folder / THRESHOLD_FILE, bundle.threshold.to_json())
    _write_json(folder / GOLDEN_FILE, _golden_values(bundle))
    return bundle_digest(folder)


def read_bundle(
    folder: Path, expected_digest: str | None, limits: BundleLimits = DEFAULT_LIMITS
) -> ModelBundle:
    """Read and verify the bundle in `folder`.

    `expected_digest` None skips only the comparison of digests. Raises BundleError, saying what
    is wrong, for anything but a sound bundle.
    """
    check_files(folder, limits)
    if expected_digest is not None:
        check_digest(folder, expected_digest)
    try:
        return _verified(_Parts.read(folder))
    except _DAMAGE as error:
        raise BundleError(
            f"the bundle is damaged ({type(error).__name__}: {error}); use another version"
        ) from error


def _verified(parts: _Parts) -> ModelBundle:
    bundle = parts.bundle()
    bundle.forest.check()
    _check_categories(bundle)
    _check_golden(bundle, parts.golden_scores)
    return bundle


@dataclass(frozen=True)
class _Parts:
    """Contents of the files of a bundle by file name; what is read from them is checked."""

    texts: JsonObject
    arrays: dict[str, dict[str, NDArray[Any]]]

    @classmethod
    def read(cls, folder: Path) -> _Parts:
        texts = {name: json.loads((folder / name).read_text()) for name in _TEXT_FILES}
        arrays = {name: load_file(folder / name) for name in _ARRAY_FILES}
        if (folder / TRANSFORM_FILE).exists():
            arrays[TRANSFORM_FILE] = load_file(folder / TRANSFORM_FILE)
        return cls(texts, arrays)

    def bundle(self) -> ModelBundle:
        self._check_format()
        return ModelBundle(
            names=self.names,
            forest=self.forest(),
            threshold=self.threshold(),
            reference=self.reference(),
            golden=self.golden_rows(),
            info=dict(self.model["info"]),
            transform=self.transform(),
            imputation=imputation_of_model(self.model, self.names),
            categories=read_categories(self.model.get("categories")),
        )

    def _check_format(self) -> None:
        found = self.model["format"]
        has_categories = self.model.get("categories") is not None
        expected = CATEGORIES_FORMAT if has_categories else BUNDLE_FORMAT
        if found != expected:
            raise BundleError(
                f"bundle format {found!r}; this Vigil reads format {BUNDLE_FORMAT}, and "
                f"{CATEGORIES_FORMAT} with categories"
            )

    def golden_rows(self) -> Floats:
        return np.array(self.texts[GOLDEN_FILE]["rows"], dtype=np.float64)

    @property
    def model(self) -> JsonObject:
        return self.texts[MODEL_FILE]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.model["names"])

    @property
    def golden_scores(self) -> list[float]:
        return self.texts[GOLDEN_FILE]["scores"]

    def forest(self) -> CompiledForest:
        stored = self.arrays[FOREST_FILE]
        arrays: JsonObject = {name: stored[name] for name in _FOREST_ARRAYS}
        _check_types(arrays)
        forest = CompiledForest(
            **arrays,
            n_features=len(self.names),
            max_samples=int(self.model["max_samples"]),
        )
        _check_size(forest, self.model["trees"])
        return forest

    def threshold(self) -> Threshold:
        threshold = Threshold(**self.texts[THRESHOLD_FILE])
        if threshold.flaw:
            raise BundleError(threshold.flaw)
        return threshold

    def reference(self) -> Reference:
        reference = reference_from_arrays(
            self.arrays[REFERENCE_ARRAYS_FILE], self.texts[REFERENCE_FILE]
        )
        reference.check(self.names)
        return reference

    def transform(self) -> FeatureTransform | None:
        values = self.model.get("over_time")
        arrays = self.arrays.get(TRANSFORM_FILE, {})
        if values is None:
            if arrays:
                raise BundleError(f"the bundle has a {TRANSFORM_FILE} and no transform")
            return None
        transform = _transform(values, FittedSteps(arrays))
        if transform.outputs != self.names:
            raise BundleError(
                f"the bundle's transform makes {len(transform.outputs)} features, "
                f"not the model's {len(self.names)}"
            )
        return transform


def _transform(values: JsonObject, fitted: FittedSteps) -> FeatureTransform:
    try:
        names = tuple(map(str, values["names"]))
        steps = tuple(_step(*step) for step in values["steps"])
        return FeatureTransform(names, steps, fitted)
    except DataError as error:
        raise BundleError(f"the bundle's transform is damaged: {error.message}") from error


def _step(
    kind: Any,
    rows: Any,
    zone: Any = "",
) -> Step:
    return Step(str(kind), int(rows), str(zone))


def _check_categories(bundle: ModelBundle) -> None:
    categories = bundle.categories
    if categories is not None and categories.outputs != bundle.raw_names:
        raise BundleError("the bundle's categories do not make the features of its model")


def _write_forest(forest: CompiledForest, folder: Path) -> None:
    arrays = {name: getattr(forest, name) for name in _FOREST_ARRAYS}
    save_file(arrays, folder / FOREST_FILE)


def _write_reference(reference: Reference, folder: Path) -> None:
    arrays, values = reference_to_arrays(reference)
    save_file(arrays, folder / REFERENCE_ARRAYS_FILE)
    _write_json(folder / REFERENCE_FILE, values)


def _write_json(file: Path, value: JsonObject) -> None:
    file.write_text(json.dumps(value, sort_keys=True, indent=1))


def _model_values(bundle: ModelBundle) -> JsonObject:
    values = {
        "format": bundle.format,
        "names": list(bundle.names),
        "max_samples": bundle.forest.max_samples,
        "trees": bundle.forest.trees,
        "info": bundle.info,
    }
    transform = bundle.transform
    if transform is not None:
        steps = [list(step if step.zone else step[:2]) for step in transform.steps]
        values["over_time"] = {"names": list(transform.names), "steps": steps}
    if bundle.imputation is not None:
        values["impute"] = bundle.imputation.to_json()
    if bundle.categories is not None:
        values["categories"] = bundle.categories.to_json()
    return values


def _golden_values(bundle: ModelBundle) -> JsonObject:
    scores = bundle.forest.score(bundle.golden)
    return {"rows": bundle.golden.tolist(), "scores": scores.tolist()}


def _check_size(forest: CompiledForest, trees: int) -> None:
    if forest.max_samples < 2 or forest.trees != trees:
        raise BundleError(
            f"model.json says {trees} trees of {forest.max_samples} rows, "
            f"the arrays hold {forest.trees}"
        )


def _check_types(forest: dict[str, NDArray[Any]]) -> None:
    for name, dtype in _FOREST_ARRAYS.items():
        array = forest[name]
        if array.dtype != dtype or array.ndim != 1:
            raise BundleError(f"forest array {name} has type {array.dtype} and shape {array.shape}")


def _check_golden(bundle: ModelBundle, expected: list[float]) -> None:
    shape = bundle.golden.shape
    if not expected or shape != (len(expected), len(bundle.names)):
        raise BundleError(f"golden rows of shape {shape} for {len(expected)} scores")
    worst = _largest_difference(bundle, expected)
    if not worst <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"golden rows score {worst:.2e} away from what they must: refuse to load the model"
        )


def _largest_difference(bundle: ModelBundle, expected: list[float]) -> float:
    scores = bundle.forest.score(bundle.golden)
    return float(np.abs(scores - np.array(expected, dtype=np.float64)).max())
