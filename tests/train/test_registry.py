"""train/registry.py against a local MLflow database: versions, aliases, the ledger, verified downloads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from train import registry as registries
from train.bundle import ModelBundle
from train.errors import BundleError, RegistryError, RegistryUnavailable
from train.registry import Candidate, Registry, Version

Model = tuple[IsolationForest, ModelBundle]
Models = Callable[[int], Model]
Register = Callable[..., Version]


@pytest.fixture(scope="module")
def vigil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry of the module: its database is made once, for that takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:  # MLflow hands its address on in the environment
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield Registry(f"sqlite:///{folder}/mlflow.db", "vigil", folder / "artifacts")
        mlflow.set_tracking_uri(before)


@pytest.fixture
def registry(vigil: Registry) -> Registry:
    """The same database with a registered model of the test's own."""
    return Registry(vigil.tracking_uri, f"vigil-{uuid.uuid4().hex}", vigil._artifacts)


def candidate(made: Model, job: str = "job") -> Candidate:
    forest, bundle = made
    return Candidate(forest, bundle, {"seed": 0}, {"alert_rate": 0.05}, {"job": job, "trigger": "manual"}, {"passed": True})


@pytest.fixture
def register(registry: Registry, model: Models) -> Register:
    return lambda seed=0, job="job": registry.register(candidate(model(seed), job))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def moves(registry: Registry) -> list[tuple[str, str]]:
    return [(move["from"], move["to"]) for move in registry.ledger()]


def test_before_the_first_version_there_is_nothing(registry: Registry) -> None:
    assert (registry.champion(), registry.versions(), registry.of_job("job"), registry.ledger()) == (None, [], None, [])


def test_a_registered_version_is_the_challenger_and_no_champion(registry: Registry, register: Register) -> None:
    version = register()
    assert (version.version, version.aliases) == ("1", ("challenger",))
    assert version.tags == {"job": "job", "trigger": "manual", "digest": version.digest}
    assert version.metrics == {"alert_rate": 0.05}
    assert registry.gate(version) == {"passed": True}
    assert registry.champion() is None
    second = register(1)
    assert [(v.version, v.aliases) for v in registry.versions()] == [("2", ("challenger",)), ("1", ())]
    assert second.digest != version.digest


def test_a_promotion_moves_the_aliases_and_is_entered_in_the_ledger(registry: Registry, register: Register) -> None:
    first, second = register(0), register(1)
    registry.promote("1", reason="the first", actor="ann")
    registry.promote("2", reason="drift", actor="bob", gates={"passed": True})
    assert {v.version: v.aliases for v in registry.versions()} == {"1": ("previous",), "2": ("challenger", "champion")}
    champion = registry.champion()
    assert champion is not None
    assert champion.digest == second.digest
    latest, earliest = registry.ledger()
    assert float(latest.pop("at")) >= float(earliest.pop("at")) >= first.created
    assert json.loads(latest.pop("gates")) == {"passed": True}
    assert latest == {"from": "1", "to": "2", "digest": second.digest, "reason": "drift", "actor": "bob"}
    assert (earliest["from"], earliest["to"]) == ("", "1")


def test_promoting_the_champion_again_changes_nothing(registry: Registry, register: Register) -> None:
    register(0)
    register(1)
    for version in ("1", "2", "2"):
        registry.promote(version, reason="", actor="")
    assert moves(registry) == [("1", "2"), ("", "1")]
    assert registry.get("1").aliases == ("previous",)


def test_a_rollback_goes_to_the_former_champion_and_back(registry: Registry, register: Register) -> None:
    register(0)
    register(1)
    registry.promote("1", reason="", actor="")
    with pytest.raises(RegistryError, match="no former champion"):
        registry.rollback(reason="", actor="")
    registry.promote("2", reason="", actor="")
    assert registry.rollback(reason="bad", actor="ann").version == "1"
    assert registry.rollback(reason="no, good", actor="ann").version == "2"
    assert moves(registry) == [("1", "2"), ("2", "1"), ("1", "2"), ("", "1")]


def test_a_job_is_found_by_its_key(registry: Registry, register: Register) -> None:
    version = register(0, job="one")
    register(1, job="two")
    found = registry.of_job("one")
    assert found is not None
    assert (found.version, found.digest, found.metrics) == (version.version, version.digest, version.metrics)
    assert registry.of_job("three") is None


@pytest.mark.parametrize("version", ["2", "-1", "one", ""])
def test_a_version_that_is_not_there_is_refused(registry: Registry, register: Register, version: str) -> None:
    register()
    with pytest.raises(RegistryError, match=f"has no version {version}"):
        registry.promote(version, reason="", actor="")
    assert (registry.champion(), registry.ledger()) == (None, [])


def test_a_bundle_is_fetched_once_and_then_needs_no_server(registry: Registry, register: Register, cache: Path) -> None:
    version = register()
    rows = registry.fetch(version, cache).golden
    assert [folder.name for folder in cache.iterdir()] == [version.digest]
    offline = Registry("http://127.0.0.1:9", registry.model_name)
    np.testing.assert_array_equal(offline.fetch(version, cache).golden, rows)


@pytest.mark.parametrize("name", ["model.json", "forest.safetensors"])
@pytest.mark.parametrize(
    "tamper", [Path.unlink, lambda file: file.write_bytes(file.read_bytes() + b" ")], ids=["torn", "changed"]
)
def test_a_tampered_cache_is_repaired(
    registry: Registry, register: Register, cache: Path, name: str, tamper: Callable[[Path], None]
) -> None:
    version = register()
    registry.fetch(version, cache)
    file = cache / version.digest / name
    content = file.read_bytes()
    tamper(file)
    registry.fetch(version, cache)
    assert file.read_bytes() == content


def test_a_bundle_that_is_not_what_was_registered_is_refused(registry: Registry, register: Register, cache: Path) -> None:
    version = register()
    with pytest.raises(BundleError, match="the registry says 000000000000"):
        registry.fetch(replace(version, digest="0" * 64), cache)
    assert not list(cache.iterdir())
    with pytest.raises(RegistryError, match="refused"):
        registry.fetch(replace(version, run_id="0" * 32), cache)


def test_the_cache_keeps_the_latest_bundles(
    registry: Registry, register: Register, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registries, "KEPT_BUNDLES", 1)
    first, second = register(0), register(1)
    for version in (first, second):
        registry.fetch(version, cache)
    assert [folder.name for folder in cache.iterdir()] == [second.digest]


def test_any_mlflow_user_can_load_a_plain_forest_that_scores_the_same(vigil: Registry, model: Models) -> None:
    forest, bundle = model(0)
    assert vigil.register(candidate((forest, bundle))).version == "1"
    mlflow.set_tracking_uri(vigil.tracking_uri)
    loaded = mlflow.sklearn.load_model("models:/vigil/1")
    X = np.random.default_rng(9).normal(size=(200, 3))
    assert type(loaded) is IsolationForest
    np.testing.assert_allclose(-loaded.score_samples(X), bundle.forest.score(X), atol=1e-12)
    np.testing.assert_array_equal(loaded.predict(X), np.where(bundle.forest.score(X) > bundle.threshold.value, -1, 1))


@pytest.mark.parametrize(
    "call",
    [
        Registry.champion,
        Registry.versions,
        Registry.ledger,
        lambda registry: registry.get("1"),
        lambda registry: registry.of_job("job"),
        lambda registry: registry.rollback(reason="", actor=""),
    ],
    ids=["champion", "versions", "ledger", "get", "of_job", "rollback"],
)
def test_a_server_that_is_away_is_said_to_be(call: Callable[[Registry], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        call(Registry("http://127.0.0.1:9", "vigil"))


def test_a_bundle_that_cannot_be_had_is_unavailable(
    registry: Registry, register: Register, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        Registry("http://127.0.0.1:9", registry.model_name).fetch(register(), cache)


@pytest.mark.parametrize("digest", ["", "..", "../victim", "a/b"])
def test_a_digest_that_is_a_path_is_refused(registry: Registry, tmp_path: Path, digest: str) -> None:
    cache = tmp_path / "cache"
    (cache / "kept").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    with pytest.raises(BundleError, match="digest"):
        registry.fetch(Version("1", "0" * 32, digest, 0.0), cache)
    assert (cache / "kept").is_dir()
    assert (tmp_path / "victim").is_dir()
