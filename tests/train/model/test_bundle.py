"""train/model/bundle.py: a bundle comes back as it was written, and anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import IsolationForest

from train.model.bundle import ModelBundle, read_bundle, write_bundle
from train.model.bundle_files import (
    BUNDLE_FILES,
    TRANSFORM_FILE,
    BundleLimits,
    bundle_digest,
)
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.model.reference import build_reference
from train.table.categories import Category, CategoryCodec
from train.table.impute import Imputation
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps, fitted_shapes
from train.table.transform.grammar import parse_steps
from vigil.errors import BundleError

Models = Callable[[int], tuple[IsolationForest, ModelBundle]]
few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def written(model: Models, tmp_path: Path) -> tuple[Path, str]:
    """A fresh bundle's folder and digest."""
    folder = tmp_path / "bundle"
    return folder, write_bundle(model(0)[1], folder)


def edit(folder: Path, name: str, **changes: Any) -> None:
    value = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(value | changes))


def edit_array(folder: Path, name: str, **changes: Any) -> None:
    save_file(load_file(folder / name) | changes, folder / name)


def flip(file: Path, position: int, bit: int) -> bytes:
    """Flip one bit; return the content before."""
    before = file.read_bytes()
    position %= len(before)
    file.write_bytes(
        before[:position] + bytes([before[position] ^ (1 << bit)]) + before[position + 1 :]
    )
    return before


def assert_same(found: ModelBundle, expected: ModelBundle) -> None:
    assert (found.names, found.threshold, found.info) == (
        expected.names,
        expected.threshold,
        expected.info,
    )
    np.testing.assert_array_equal(found.golden, expected.golden)
    for part in ("forest", "reference"):
        assert_same_fields(getattr(found, part), getattr(expected, part))
    assert_same_fields(found.reference.traits, expected.reference.traits)


def assert_same_fields(found: Any, expected: Any) -> None:
    for field in fields(expected):
        one, other = (getattr(part, field.name) for part in (found, expected))
        assert type(one) is type(other)
        if field.name != "traits":
            np.testing.assert_array_equal(one, other)


def test_a_bundle_comes_back_as_it_was_written(model: Models, written: tuple[Path, str]) -> None:
    folder, digest = written
    assert {file.name for file in folder.iterdir()} == set(BUNDLE_FILES)
    assert_same(read_bundle(folder, digest), model(0)[1])
    assert_same(read_bundle(folder, None), model(0)[1])


def test_what_stands_for_missing_values_comes_back_or_is_refused(
    model: Models, tmp_path: Path
) -> None:
    plain = model(0)[1]
    policies = ("last",) * len(plain.names)
    imputation = Imputation(plain.names, policies, (1.5,) * len(plain.names))
    folder = tmp_path / "imputing"
    digest = write_bundle(replace(plain, imputation=imputation), folder)
    assert read_bundle(folder, digest).imputation == imputation
    edit(folder, "model.json", impute=imputation.to_json() | {"medians": ["NaN"]})
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(folder, None)


def test_the_digest_is_of_the_content_alone(
    model: Models, written: tuple[Path, str], tmp_path: Path
) -> None:
    assert (
        write_bundle(model(0)[1], tmp_path / "again")
        == written[1]
        == bundle_digest(tmp_path / "again")
    )
    assert write_bundle(model(1)[1], tmp_path / "other") != written[1]


@pytest.fixture
def in_context(model: Models, tmp_path: Path) -> Path:
    """The folder of a bundle whose transform has learnt something."""
    steps = parse_steps("baseline:60,calendar:Europe/Berlin")
    shapes = fitted_shapes(steps, 1)
    fitted = FittedSteps({name: np.full(shape, 2.0) for name, shape in shapes.items()})
    transform = FeatureTransform(("cpu",), steps, fitted)
    X = np.random.default_rng(0).normal(size=(400, len(transform.outputs)))
    forest = fit_part(
        X,
        trees=5,
        max_samples=32,
        max_features=1.0,
        seed=0,
    )
    compiled = CompiledForest.compile(forest)
    reference = build_reference(
        X,
        transform.outputs,
        compiled.score(X),
        window_rows=100,
    )
    bundle = replace(
        model(0)[1],
        names=transform.outputs,
        forest=compiled,
        reference=reference,
        golden=X[:8],
        transform=transform,
    )
    write_bundle(bundle, tmp_path / "in_context")
    return tmp_path / "in_context"


def test_what_a_transform_has_learnt_comes_back(in_context: Path) -> None:
    assert {file.name for file in in_context.iterdir()} == {*BUNDLE_FILES, TRANSFORM_FILE}
    found = read_bundle(in_context, bundle_digest(in_context)).transform
    assert found is not None
    assert [str(step) for step in found.steps] == ["baseline:60", "calendar:Europe/Berlin"]
    for array in found.fitted.arrays.values():
        np.testing.assert_array_equal(array, 2.0)


def test_the_digest_sees_what_a_transform_has_learnt(in_context: Path) -> None:
    digest = bundle_digest(in_context)
    edit_array(in_context, TRANSFORM_FILE, **{"baseline.level": np.ones(1)})
    with pytest.raises(BundleError, match="refuse to load"):
        read_bundle(in_context, digest)
    (in_context / TRANSFORM_FILE).unlink()
    with pytest.raises(BundleError, match="refuse to load"):
        read_bundle(in_context, digest)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline.level": np.ones(2)}, "has type float64 and shape"),
        ({"baseline.level": np.full(1, np.inf)}, "not finite"),
        ({"baseline.spread": np.zeros(1)}, "not above 0"),
        ({"baseline.floor": np.ones(1, np.int64)}, "has type int64"),
        ({"calendar.level": np.ones((24, 1))}, "shape"),
        ({"residual.weights": np.ones((1, 1))}, "does not fit its steps"),
    ],
)
def test_what_no_transform_has_learnt_is_refused(
    in_context: Path, changes: dict[str, Any], said: str
) -> None:
    edit_array(in_context, TRANSFORM_FILE, **changes)
    with pytest.raises(BundleError, match=said):
        read_bundle(in_context, None)


@pytest.mark.parametrize(
    "steps",
    [
        [["baseline", 60], ["forecast", 3]],
        [["baseline", 60]],
        [["baseline", 60], ["calendar", 0, "Europe/Atlantis"]],
        [["baseline", 60], ["calendar", 0, "../../etc/passwd"]],
        [["baseline", 60, "UTC", 1]],
        [["baseline", "many"]],
        "baseline:60",
    ],
)
def test_a_transform_that_this_vigil_does_not_know_is_refused(
    in_context: Path, steps: object
) -> None:
    edit(in_context, "model.json", over_time={"names": ["cpu"], "steps": steps})
    with pytest.raises(BundleError, match=r"transform|damaged"):
        read_bundle(in_context, None)


def test_a_transform_file_without_its_transform_is_refused(
    in_context: Path, written: tuple[Path, str]
) -> None:
    (in_context / TRANSFORM_FILE).rename(written[0] / TRANSFORM_FILE)
    for folder in (in_context, written[0]):
        with pytest.raises(BundleError, match="transform"):
            read_bundle(folder, None)


def test_thresholds_of_entities_are_in_a_bundle_that_has_them(
    model: Models, tmp_path: Path
) -> None:
    bundle = model(0)[1]
    threshold = replace(bundle.threshold, entity_width=0.02)
    for name, kept in (("one", bundle), ("each", replace(bundle, threshold=threshold))):
        digest = write_bundle(kept, tmp_path / name)
        assert read_bundle(tmp_path / name, digest).threshold == kept.threshold
    assert "entity_width" not in (tmp_path / "one" / "threshold.json").read_text()


@pytest.mark.parametrize("width", [-0.1, 1.0, float("nan")])
def test_thresholds_of_entities_without_a_bound_are_refused(
    written: tuple[Path, str], width: float
) -> None:
    edit(written[0], "threshold.json", entity_width=width)
    with pytest.raises(BundleError, match="of entities"):
        read_bundle(written[0], None)


@few
@given(name=st.sampled_from(BUNDLE_FILES), position=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_any_flipped_bit_changes_the_digest_and_is_refused(
    written: tuple[Path, str], name: str, position: int, bit: int
) -> None:
    folder, digest = written
    before = flip(folder / name, position, bit)
    try:
        assert bundle_digest(folder) != digest
        with pytest.raises(BundleError, match="refuse to load"):
            read_bundle(folder, digest)
    finally:
        (folder / name).write_bytes(before)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def link(file: Path) -> None:
    elsewhere = file.parent.with_name("elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def to_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "lacks {}"),
        (truncate, "the bundle is damaged"),
        (lambda file: file.write_bytes(b""), "the bundle is damaged"),
        (lambda file: file.write_bytes(b"\xff" * 64), "the bundle is damaged"),
        (link, "{} in the bundle is not a plain file"),
        (to_folder, "{} in the bundle is not a plain file"),
    ],
    ids=["missing", "truncated", "empty", "junk", "symlink", "folder"],
)
@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_damaged_file_is_refused_whatever_the_digest(
    written: tuple[Path, str], name: str, damage: Callable[[Path], None], said: str
) -> None:
    damage(written[0] / name)
    with pytest.raises(BundleError, match=said.format(name)):
        read_bundle(written[0], None)


def largest(folder: Path, kind: str) -> int:
    return max(file.stat().st_size for file in folder.glob(f"*.{kind}"))


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_file_over_its_limit_is_refused_unread(written: tuple[Path, str], name: str) -> None:
    folder, digest = written
    limits = BundleLimits(largest(folder, "json"), largest(folder, "safetensors"))
    limit = limits.json_bytes if name.endswith(".json") else limits.array_bytes
    read_bundle(folder, digest, limits)
    with (folder / name).open("ab") as file:
        file.write(b" " * limit)
    with pytest.raises(BundleError, match=f"{name} has [0-9]+ bytes, the limit is {limit}"):
        read_bundle(folder, None, limits)


def test_a_file_too_many_is_refused(written: tuple[Path, str]) -> None:
    (written[0] / "model.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"should not have: model\.pkl"):
        read_bundle(*written)


@pytest.mark.parametrize(
    "make", [lambda _: None, Path.touch, Path.mkdir], ids=["absent", "a file", "empty"]
)
def test_a_place_without_bundle_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "place")
    with pytest.raises(BundleError, match="lacks"):
        read_bundle(tmp_path / "place", None)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("model.json", {"format": 1}, "bundle format 1; this Vigil reads format 2"),
        ("model.json", {"trees": 11}, "11 trees of 32 rows, the arrays hold 10"),
        ("model.json", {"max_samples": 1}, "trees of 1 rows"),
        ("model.json", {"max_samples": 33}, "golden rows score"),
        ("model.json", {"max_samples": "many"}, "damaged"),
        ("model.json", {"names": ["cpu", "memory"]}, "does not fit the model's 2 features"),
        ("model.json", {"info": [1]}, "damaged"),
        ("threshold.json", {"value": 0.0}, "the threshold is 0.0"),
        ("threshold.json", {"value": 1.5}, "the threshold is 1.5"),
        ("threshold.json", {"value": float("nan")}, "the threshold is nan"),
        ("threshold.json", {"value": "0.5"}, "damaged"),
        ("threshold.json", {"unknown": 1}, "damaged"),
        ("golden.json", {"rows": [], "scores": []}, "golden rows of shape"),
        ("golden.json", {"rows": [[0.0, 0.0]], "scores": [0.5]}, "golden rows of shape"),
        ("golden.json", {"rows": [[0.0, 0.0, 0.0], [0.0]]}, "damaged"),
        ("golden.json", {"scores": [None] * 8}, "golden rows score nan"),
        ("reference.json", {"names": ["cpu", "memory", "disk"]}, "does not fit"),
        ("reference.json", {"blocks": "some"}, "damaged"),
    ],
)
def test_values_that_no_bundle_has_are_refused(
    written: tuple[Path, str], name: str, changes: dict[str, Any], said: str
) -> None:
    edit(written[0], name, **changes)
    with pytest.raises(BundleError, match=said):
        read_bundle(written[0], None)


@pytest.mark.parametrize("off", [1e-6, -1e-6])
def test_golden_rows_that_score_otherwise_are_refused(
    written: tuple[Path, str], off: float
) -> None:
    scores = json.loads((written[0] / "golden.json").read_text())["scores"]
    scores[-1] += off
    edit(written[0], "golden.json", scores=scores)
    with pytest.raises(BundleError, match=r"golden rows score 1\.00e-06 away"):
        read_bundle(written[0], None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"floors": np.zeros(2)}, "does not fit .*floors"),
        ({"scores": np.zeros(100)}, "does not fit .*scores"),
        ({"samples": np.zeros((9, 2))}, "does not fit"),
        ({"samples": np.zeros((0, 3))}, "does not fit"),
        ({"samples": np.full((9, 3), np.nan)}, "not finite"),
        ({"floors": np.full(3, np.inf)}, "not finite"),
        ({"separation": np.zeros((2, 3, 2))}, "traits"),
        ({"steps": np.zeros((0, 3))}, "traits"),
        ({"rest_runs": np.full((3, 3), -1.0)}, "traits"),
        ({"sign_separation": np.full((2, 3), np.nan)}, "traits"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(
    written: tuple[Path, str], changes: dict[str, Any], said: str
) -> None:
    edit_array(written[0], "reference.safetensors", **changes)
    with pytest.raises(BundleError, match=said):
        read_bundle(written[0], None)


def test_a_bundle_of_an_older_vigil_has_no_traits(model: Models, written: tuple[Path, str]) -> None:
    file = written[0] / "reference.safetensors"
    arrays = load_file(file)
    traits = model(0)[1].reference.traits
    assert traits is not None
    for name in traits.arrays():
        del arrays[name]
    save_file(arrays, file)
    assert read_bundle(written[0], None).reference.traits is None


@pytest.mark.parametrize(
    ("array", "value", "said"),
    [
        ("threshold", np.zeros(5), "forest array threshold has type float64"),
        ("feature", np.zeros((5, 1), np.int32), "forest array feature has type int32 and shape"),
        ("left", np.zeros(5, np.int64), "forest array left has type int64"),
        ("length", np.zeros(5), "arrays of different length"),
        ("roots", np.zeros(10, np.int32), "no tree"),
    ],
)
def test_a_forest_that_is_none_is_refused(
    written: tuple[Path, str], array: str, value: Any, said: str
) -> None:
    edit_array(written[0], "forest.safetensors", **{array: value})
    with pytest.raises(BundleError, match=said):
        read_bundle(written[0], None)


def test_another_forest_is_refused_by_its_golden_rows(
    model: Models, written: tuple[Path, str]
) -> None:
    edit_array(written[0], "forest.safetensors", length=model(0)[1].forest.length[::-1].copy())
    with pytest.raises(BundleError, match="golden rows score"):
        read_bundle(written[0], None)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("golden.json", {"scores": 5}),
        ("golden.json", {"scores": ["x"] * 8}),
        ("golden.json", {"rows": [[10**400] * 3] * 8}),
        ("model.json", {"max_samples": float("inf")}),
        ("model.json", {"max_samples": 10**300}),
        ("reference.json", {"allowed": float("inf")}),
        ("reference.json", {"allowed": -1}),
    ],
)
def test_values_of_another_kind_are_refused(
    written: tuple[Path, str], name: str, changes: dict[str, object]
) -> None:
    edit(written[0], name, **changes)
    with pytest.raises(BundleError):
        read_bundle(written[0], None)


@pytest.mark.parametrize(
    ("name", "text"), [("golden.json", '{"rows": [[0, 0, 0]]}'), ("model.json", "[" * 200_000)]
)
def test_json_of_another_form_is_refused(written: tuple[Path, str], name: str, text: str) -> None:
    (written[0] / name).write_text(text)
    with pytest.raises(BundleError):
        read_bundle(written[0], None)


PROTO = Category("proto", "one-hot", ("tcp", "udp"), (0.75, 0.25))
CODEC = CategoryCodec(("cpu", "proto"), (PROTO,))


@pytest.fixture
def with_words(model: Models, tmp_path: Path) -> Path:
    """The folder of a bundle with categories."""
    plain = model(0)[1]
    reference = replace(plain.reference, names=CODEC.outputs)
    made = replace(plain, names=CODEC.outputs, reference=reference, categories=CODEC)
    write_bundle(made, tmp_path / "words")
    return tmp_path / "words"


def test_categories_come_back(with_words: Path) -> None:
    assert read_bundle(with_words, bundle_digest(with_words)).categories == CODEC


def test_a_bundle_with_categories_is_of_a_format_that_an_older_vigil_refuses(
    with_words: Path, written: tuple[Path, str]
) -> None:
    formats = [
        json.loads((folder / "model.json").read_text())["format"]
        for folder in (with_words, written[0])
    ]
    assert formats == [3, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "bundle format 2; this Vigil reads"),
        ({"format": 4}, "bundle format 4"),
        ({"categories": None}, "bundle format 3"),
        ({"categories": {"names": ["cpu", "proto"], "columns": []}}, "no features"),
        ({"categories": CODEC.to_json() | {"names": ["proto", "cpu"]}}, "do not make the features"),
        (
            {
                "categories": CODEC.to_json()
                | {"columns": [msgspec.to_builtins(replace(PROTO, encoding="embedding"))]}
            },
            "Invalid enum value 'embedding'",
        ),
    ],
)
def test_categories_that_are_not_known_here_are_refused(
    with_words: Path, changes: dict[str, Any], said: str
) -> None:
    edit(with_words, "model.json", **changes)
    with pytest.raises(BundleError, match=said):
        read_bundle(with_words, None)
