"""ModelBundle: the folder in which a model travels. Write it, digest it, read it back verified.

It holds no pickle and is safe to read from a hostile source: arrays as safetensors, everything else as JSON, and nothing
is believed before digest, sizes, shapes, bounds and golden scores are checked.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from train.model.forest import CompiledForest
from train.model.reference import Reference, reference_from_arrays, reference_to_arrays
from train.model.threshold import Threshold
from train.table.transform import Transform
from vigil.arrays import Floats
from vigil.errors import BundleError, DataError

BUNDLE_FORMAT = 2  # 2: the drift reference knows correlations and what its floors promise
MAX_JSON_BYTES = 8 * 2**20
MAX_ARRAY_BYTES = 512 * 2**20
GOLDEN_TOLERANCE = 1e-9
FOREST_ARRAYS = {
    "roots": np.int32,
    "feature": np.int32,
    "threshold": np.float32,
    "left": np.int32,
    "length": np.float64,
}
BUNDLE_FILES = (
    "forest.safetensors",
    "golden.json",
    "model.json",
    "reference.json",
    "reference.safetensors",
    "threshold.json",
)


@dataclass(frozen=True)
class ModelBundle:
    """A model and all that serving and watching it needs.

    info: library versions, data fingerprint, training window and the like; for people and audits
    golden: rows [k, d] that must score as they did when the bundle was written
    transform: makes the model's rows, whose features are `names`, from what callers have, where it looks back in time
    """

    names: tuple[str, ...]
    forest: CompiledForest
    threshold: Threshold
    reference: Reference
    golden: Floats
    info: dict[str, Any]
    transform: Transform | None = None

    @cached_property
    def schema_hash(self) -> str:
        """sha256 of the feature names in order: rows made for one hash fit every model that has it."""
        return hashlib.sha256(json.dumps(self.names).encode()).hexdigest()


def write_bundle(bundle: ModelBundle, folder: Path) -> str:
    """Write the bundle into the empty `folder`; return its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: getattr(bundle.forest, name) for name in FOREST_ARRAYS},
        folder / "forest.safetensors",
    )
    arrays, plain = reference_to_arrays(bundle.reference)
    save_file(arrays, folder / "reference.safetensors")
    model = {
        "format": BUNDLE_FORMAT,
        "names": list(bundle.names),
        "max_samples": bundle.forest.max_samples,
        "trees": bundle.forest.trees,
        "info": bundle.info,
    }
    if bundle.transform is not None:
        model["over_time"] = {
            "names": list(bundle.transform.names),
            "steps": [list(step) for step in bundle.transform.steps],
        }
    golden = {"rows": bundle.golden.tolist(), "scores": bundle.forest.score(bundle.golden).tolist()}
    texts = {
        "model.json": model,
        "reference.json": plain,
        "threshold.json": asdict(bundle.threshold),
        "golden.json": golden,
    }
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value, sort_keys=True, indent=1))
    return bundle_digest(folder)


def forest_digest(folder: Path) -> str:
    """sha256 of the forest alone: equal for versions that differ in their threshold only."""
    return hashlib.sha256((folder / "forest.safetensors").read_bytes()).hexdigest()


def bundle_digest(folder: Path) -> str:
    """sha256 over the sorted list of (name, sha256) of the files of the bundle."""
    whole = hashlib.sha256()
    for name in sorted(BUNDLE_FILES):
        with (folder / name).open("rb") as file:
            whole.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def read_bundle(folder: Path, expected_digest: str | None) -> ModelBundle:
    """Read and verify the bundle in `folder`; `expected_digest` None skips only the comparison of digests.

    Raises BundleError, saying what is wrong, for anything but a sound bundle.
    """
    _check_files(folder)
    if expected_digest is not None and (found := bundle_digest(folder)) != expected_digest:
        raise BundleError(
            f"bundle digest is {found[:12]}, the registry says {expected_digest[:12]}: refuse to load it"
        )
    try:
        texts = {
            name: json.loads((folder / name).read_text())
            for name in BUNDLE_FILES
            if name.endswith(".json")
        }
        arrays = {
            name: load_file(folder / name) for name in BUNDLE_FILES if name.endswith(".safetensors")
        }
        bundle = _assemble(texts, arrays)
        bundle.forest.check()
        _check_golden(bundle, texts["golden.json"]["scores"])
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        OSError,
        RecursionError,
        SafetensorError,
    ) as error:
        raise BundleError(
            f"the bundle is damaged ({type(error).__name__}: {error}); use another version"
        ) from error
    return bundle


def check_listing(sizes: Mapping[str, int]) -> None:
    """Refuse, before a byte of it is fetched, what says by its names or sizes that it is no bundle."""
    if missing := set(BUNDLE_FILES) - set(sizes):
        raise BundleError(f"the bundle lacks {', '.join(sorted(missing))}")
    if extra := set(sizes) - set(BUNDLE_FILES):
        raise BundleError(f"the bundle has files it should not have: {', '.join(sorted(extra))}")
    for name, size in sizes.items():
        limit = MAX_JSON_BYTES if name.endswith(".json") else MAX_ARRAY_BYTES
        if size > limit:
            raise BundleError(f"{name} has {size} bytes, the limit is {limit}")


def _check_files(folder: Path) -> None:
    found = {file.name: file.lstat() for file in folder.iterdir()} if folder.is_dir() else {}
    check_listing({name: status.st_size for name, status in found.items()})
    for name, status in found.items():
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{name} in the bundle is not a plain file")


def _assemble(texts: dict[str, Any], arrays: dict[str, dict[str, NDArray[Any]]]) -> ModelBundle:
    model = texts["model.json"]
    if model["format"] != BUNDLE_FORMAT:
        raise BundleError(
            f"bundle format {model['format']!r}; this Vigil reads format {BUNDLE_FORMAT}"
        )
    names = tuple(str(name) for name in model["names"])
    columns = arrays["forest.safetensors"]
    for name, dtype in FOREST_ARRAYS.items():
        if columns[name].dtype != dtype or columns[name].ndim != 1:
            raise BundleError(
                f"forest array {name} has type {columns[name].dtype} and shape {columns[name].shape}"
            )
    forest = CompiledForest(
        **{name: columns[name] for name in FOREST_ARRAYS},
        n_features=len(names),
        max_samples=int(model["max_samples"]),
    )
    if forest.max_samples < 2 or forest.trees != model["trees"]:
        raise BundleError(
            f"model.json says {model['trees']} trees of {forest.max_samples} rows, the arrays hold {forest.trees}"
        )
    threshold = Threshold(**texts["threshold.json"])
    if not 0 < threshold.value <= 1:
        raise BundleError(f"the threshold is {threshold.value}; scores lie in (0, 1]")
    ref = reference_from_arrays(arrays["reference.safetensors"], texts["reference.json"])
    ref.check(names)
    golden = np.array(texts["golden.json"]["rows"], dtype=np.float64)
    return ModelBundle(
        names,
        forest,
        threshold,
        ref,
        golden,
        dict(model["info"]),
        _transform(model.get("over_time"), names),
    )


def _transform(found: dict[str, Any] | None, names: tuple[str, ...]) -> Transform | None:
    if found is None:
        return None
    try:
        made = Transform(
            tuple(map(str, found["names"])),
            tuple((str(kind), int(rows)) for kind, rows in found["steps"]),
        )
    except DataError as error:
        raise BundleError(f"the bundle's transform is damaged: {error.message}") from error
    if made.outputs != names:
        raise BundleError(
            f"the bundle's transform makes {len(made.outputs)} features, not the model's {len(names)}"
        )
    return made


def _check_golden(bundle: ModelBundle, expected: list[float]) -> None:
    if (
        bundle.golden.ndim != 2
        or bundle.golden.shape != (len(expected), len(bundle.names))
        or not len(expected)
    ):
        raise BundleError(f"golden rows of shape {bundle.golden.shape} for {len(expected)} scores")
    worst = float(
        np.abs(bundle.forest.score(bundle.golden) - np.array(expected, dtype=np.float64)).max()
    )
    if not worst <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"golden rows score {worst:.2e} away from what they must: refuse to load the model"
        )
