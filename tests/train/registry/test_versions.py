"""train/registry/versions.py against a local MLflow database.

Versions, aliases, the ledger, verified downloads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from sklearn.ensemble import IsolationForest

from tests.train.conftest import Model, candidate, mlflow_of
from train.job import register_once
from train.model.bundle_files import BundleLimits
from train.registry import promotion
from train.registry.moves import Move, champion_at, completed_moves
from train.registry.promotion import promote_version
from train.registry.versions import Desired, Registry, Version
from train.trial import TuneTrial
from vigil.errors import BundleError, RegistryError, RegistryUnavailable

Models = Callable[[int], Model]
Register = Callable[..., Version]


@pytest.fixture
def register(registry: Registry, model: Models) -> Register:
    return lambda seed=0, job="job": registry.register(candidate(model(seed), job))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def another(registry: Registry, **options: Any) -> Registry:
    """Another client of the same registered model."""
    server = registry.server
    return Registry(server.tracking_uri, registry.model_name, server.artifacts, **options)


def moves(registry: Registry) -> list[tuple[str, str]]:
    return [(move.former, move.to) for move in completed_moves(registry)]


def test_before_the_first_version_there_is_nothing(registry: Registry) -> None:
    assert (registry.desired(), registry.versions(), registry.of_job("job"), registry.moves()) == (
        Desired(),
        [],
        None,
        [],
    )
    assert registry.latest(5) == []


def test_a_registered_version_is_the_challenger_and_no_champion(
    registry: Registry, register: Register, model: Models
) -> None:
    version = register()
    assert (version.version, version.aliases) == ("1", ("challenger",))
    forest, bundle = version.tags["forest_digest"], model(0)[1]
    assert version.tags == {
        "job": "job",
        "trigger": "manual",
        "digest": version.digest,
        "forest_digest": forest,
        "schema_hash": bundle.schema_hash,
    }
    assert version.metrics == {"alert_rate": 0.05, "seconds_register": ANY}
    assert registry.gate(version) == {"passed": True}
    assert registry.champion() is None
    second = register(1)
    assert [(v.version, v.aliases) for v in registry.versions()] == [
        ("2", ("challenger",)),
        ("1", ()),
    ]
    assert [[v.version for v in registry.latest(most)] for most in (1, 5)] == [["2"], ["2", "1"]]
    assert second.digest != version.digest
    assert second.tags["forest_digest"] != forest


def test_a_promotion_moves_the_aliases_and_is_entered_in_the_ledger(
    registry: Registry, register: Register
) -> None:
    first, second = register(0), register(1)
    promote_version(registry, "1", reason="the first", actor="ann")
    promote_version(registry, "2", reason="drift", actor="bob", gates={"passed": True})
    assert {v.version: v.aliases for v in registry.versions()} == {
        "1": ("previous",),
        "2": ("challenger", "champion"),
    }
    desired = registry.desired()
    assert desired.champion is not None
    assert (desired.champion.digest, desired.schema) == (second.digest, second.schema)
    latest, earliest = completed_moves(registry)
    assert completed_moves(registry, 1) == [latest]
    assert latest.at >= earliest.at >= first.created
    assert replace(latest, at=0.0, id="") == Move(
        "promote", "1", "2", second.digest, "drift", "bob", {"passed": True}, state="done"
    )
    assert (earliest.former, earliest.to) == ("", "1")
    for moment, expected in (
        (earliest.at - 1, None),
        (earliest.at, earliest),
        (latest.at, latest),
        (latest.at + 9, latest),
    ):
        assert champion_at(registry, moment) == expected


def test_a_rollback_goes_to_the_former_champion_and_back(
    registry: Registry, register: Register
) -> None:
    register(0)
    register(1)
    promote_version(registry, "1", reason="", actor="")
    with pytest.raises(RegistryError, match="no former champion"):
        promotion.roll_back(registry, reason="", actor="")
    promote_version(registry, "2", reason="", actor="")
    assert promotion.roll_back(registry, reason="bad", actor="ann") == "1"
    assert promotion.roll_back(registry, reason="no, good", actor="ann") == "2"
    assert moves(registry) == [("1", "2"), ("2", "1"), ("1", "2"), ("", "1")]


def test_a_move_that_failed_or_is_open_is_in_the_ledger_but_was_not_carried_out(
    registry: Registry, register: Register
) -> None:
    register()
    promote_version(registry, "1", reason="", actor="")
    ids = [registry.open_move(Move("promote", "1", "2", "", "", "")) for _ in range(2)]
    registry.close_move(ids[0], done=False)
    assert sorted(m.state for m in registry.moves()) == ["done", "failed", "open"]
    assert moves(registry) == [("", "1")]


def test_a_canary_is_read_with_the_aliases_it_belongs_to(
    registry: Registry, register: Register
) -> None:
    register(0)
    second = register(1)
    promote_version(registry, "1", reason="", actor="")
    canary = promotion.start_canary(registry, "2", ((0.05, 60.0),), reason="try", actor="ann")
    desired = registry.desired()
    assert (desired.canary, registry.canary()) == (canary, canary)
    assert desired.candidate is not None
    assert desired.candidate.digest == second.digest
    registry.set_alias("champion", "2")
    assert registry.desired().canary is None
    registry.set_canary(None)
    assert (registry.canary(), registry.set_canary(None)) == (None, None)
    registry.server.client.set_registered_model_tag(registry.model_name, "canary", "{nonsense")
    assert registry.canary() is None


def test_one_promoter_at_a_time_and_a_crashed_ones_lock_is_taken_over(
    registry: Registry, register: Register
) -> None:
    register()
    with registry.exclusive("ann"), pytest.raises(RegistryError, match=r"under way \(by ann"):
        promote_version(registry, "1", reason="", actor="bob")
    assert (registry.champion(), registry.moves()) == (None, [])
    later = another(registry, lock_timeout_s=0.0)
    with registry.exclusive("ann"):
        promote_version(later, "1", reason="", actor="bob")
        with later.exclusive("bob"):
            pass
    with registry.exclusive("bob"):
        pass
    assert moves(registry) == [("", "1")]


def test_of_two_that_find_a_crashed_ones_lock_the_later_leaves_the_new_lock(
    registry: Registry, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bob reads the lock that ann left; carl takes it over before bob does."""
    register()
    other = another(registry)
    later = another(registry, lock_timeout_s=0.0)
    with ExitStack() as held:
        held.enter_context(registry.exclusive("ann"))
        read = other.server.client.get_registered_model

        def read_slowly(name: str) -> object:
            found = read(name)
            if found.tags.get("actor") == "ann" and name.endswith(".promoting"):
                held.enter_context(later.exclusive("carl"))
                return SimpleNamespace(tags=found.tags, creation_timestamp=0)
            return found

        monkeypatch.setattr(other.server.client, "get_registered_model", read_slowly)
        with pytest.raises(RegistryError, match=r"another promotion"), other.exclusive("bob"):
            pass
        assert read(f"{registry.model_name}.promoting").tags["actor"] == "carl"
    assert not [
        m
        for m in mlflow_of(registry).search_registered_models()
        if m.name.startswith(f"{registry.model_name}.")
    ]


def test_of_many_promoters_at_once_one_wins_and_the_others_are_told(
    registry: Registry, register: Register
) -> None:
    register(0)
    versions = [register(seed).version for seed in (1, 2, 3)]
    promote_version(registry, "1", reason="", actor="")
    start = Barrier(len(versions))

    def attempt(version: str) -> str:
        start.wait()
        try:
            return promote_version(registry, version, reason="", actor=version)
        except RegistryError as error:
            return error.message

    with ThreadPoolExecutor(len(versions)) as pool:
        told = list(pool.map(attempt, versions))
    won = [answer for answer in told if answer in versions]
    assert won
    assert all("another promotion" in answer for answer in told if answer not in versions)
    chain = moves(registry)
    assert len(chain) == len(won) + 1
    assert all(later[0] == earlier[1] for later, earlier in pairwise(chain))
    champion = registry.champion()
    assert champion is not None
    assert champion.version == chain[0][1]


def test_the_report_of_an_episode_is_kept_as_a_run(registry: Registry) -> None:
    registry.log_report("17-3", "<html>drift</html>")
    experiment = registry.server.client.get_experiment_by_name("vigil-drift")
    assert experiment is not None
    found = mlflow_of(registry).search_runs(
        [experiment.experiment_id], f"tags.model = '{registry.model_name}'"
    )
    (run,) = found
    assert (run.data.tags["episode"], run.info.status) == ("17-3", "FINISHED")
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/drift.html") == "<html>drift</html>"


def test_a_job_is_found_by_its_key(registry: Registry, register: Register) -> None:
    version = register(0, job="one")
    register(1, job="two")
    found = registry.of_job("one")
    assert found is not None
    assert (found.version, found.digest, found.metrics) == (
        version.version,
        version.digest,
        version.metrics,
    )
    assert registry.of_job("three") is None


@pytest.mark.parametrize("version", ["2", "-1", "one", ""])
def test_a_version_that_is_not_there_is_refused(
    registry: Registry, register: Register, version: str
) -> None:
    register()
    with pytest.raises(RegistryError, match=f"has no version {version}"):
        promote_version(registry, version, reason="", actor="")
    assert (registry.champion(), registry.moves()) == (None, [])


def test_a_bundle_is_fetched_once_and_then_needs_no_server(
    registry: Registry, register: Register, cache: Path
) -> None:
    version = register()
    rows = registry.fetch(version, cache).golden
    assert [folder.name for folder in cache.iterdir()] == [version.digest]
    offline = Registry("http://127.0.0.1:9", registry.model_name)
    np.testing.assert_array_equal(offline.fetch(version, cache).golden, rows)


def test_a_bundle_that_is_not_what_was_registered_is_refused(
    registry: Registry, register: Register, cache: Path
) -> None:
    version = register()
    with pytest.raises(BundleError, match="the registry says 000000000000"):
        registry.fetch(replace(version, digest="0" * 64), cache)
    assert not list(cache.iterdir())
    with pytest.raises(RegistryError, match="refused"):
        registry.fetch(replace(version, run_id="0" * 32), cache)
    assert not list(cache.iterdir())


def of(registry: Registry, version: Version) -> Path:
    """The folder of the version's bundle in the artifact store."""
    uri = registry.server.client.get_run(version.run_id).info.artifact_uri
    assert uri is not None
    return Path(uri.removeprefix("file://")) / "bundle"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "model.json").unlink(), "lacks model.json"),
        (lambda folder: (folder / "model.pkl").write_bytes(b""), r"should not have: model\.pkl"),
        (lambda folder: (folder / "deep").mkdir(), "should not have: deep"),
        (
            lambda folder: (folder / "golden.json").write_bytes(b" " * 100_000),
            "golden.json has 100000 bytes, the limit is 90000",
        ),
        (lambda folder: (folder / "golden.json").write_bytes(b"{}"), "digest is"),
        (lambda folder: folder.rename(folder.with_name("away")), "cannot be read"),
    ],
    ids=["missing", "extra", "folder", "oversized", "changed", "away"],
)
def test_a_stored_bundle_that_is_not_sound_leaves_nothing_behind(
    registry: Registry,
    register: Register,
    cache: Path,
    change: Callable[[Path], object],
    said: str,
) -> None:
    version = register()
    limited = another(registry, limits=BundleLimits(json_bytes=90_000))
    change(of(registry, version))
    with pytest.raises((BundleError, RegistryUnavailable), match=said):
        limited.fetch(version, cache)
    assert list(cache.iterdir()) == []


def test_any_mlflow_user_can_load_a_plain_forest_that_scores_the_same(
    vigil: Registry, model: Models
) -> None:
    forest, bundle = model(0)
    assert vigil.register(candidate((forest, bundle))).version == "1"
    mlflow.set_tracking_uri(vigil.tracking_uri)
    loaded = mlflow.sklearn.load_model("models:/vigil/1")
    X = pd.DataFrame(np.random.default_rng(9).normal(size=(200, 3)), columns=list(bundle.names))
    scores = bundle.forest.score(X.to_numpy())
    assert type(loaded) is IsolationForest
    np.testing.assert_allclose(-loaded.score_samples(X), scores, atol=1e-12)
    np.testing.assert_array_equal(
        loaded.predict(X), np.where(scores > bundle.threshold.value, -1, 1)
    )
    by_name = mlflow.pyfunc.load_model("models:/vigil/1")
    np.testing.assert_array_equal(by_name.predict(X[X.columns[::-1]]), loaded.predict(X))
    with pytest.raises(MlflowException, match="latency"):
        by_name.predict(X.drop(columns="latency"))


@pytest.mark.parametrize(
    "call",
    [
        Registry.champion,
        Registry.versions,
        Registry.moves,
        lambda registry: registry.get("1"),
        lambda registry: registry.of_job("job"),
        lambda registry: promotion.roll_back(registry, reason="", actor=""),
    ],
    ids=["champion", "versions", "moves", "get", "of_job", "rollback"],
)
def test_a_server_that_is_away_is_said_to_be(
    call: Callable[[Registry], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        call(Registry("http://127.0.0.1:9", "vigil"))


def test_a_bundle_that_cannot_be_had_is_unavailable(
    registry: Registry, register: Register, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        Registry("http://127.0.0.1:9", registry.model_name).fetch(register(), cache)


def test_two_drivers_of_one_job_register_one_version(registry: Registry, model: Models) -> None:
    both = Barrier(2)

    def drive(seed: int) -> Version:
        own = another(registry)
        both.wait()
        return register_once("once", candidate(model(seed), "once"), own)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(drive, (0, 1))
    assert (one.version, one.digest) == (other.version, other.digest)
    assert [version.version for version in registry.versions()] == [one.version]


def test_the_trials_of_a_search_are_child_runs(registry: Registry, model: Models) -> None:
    trials = tuple(
        TuneTrial(f"trial {i}", {"n_estimators": 50 + i}, {"objective": 0.9 - i / 10}, 1.5)
        for i in range(2)
    )
    version = registry.register(replace(candidate(model(0)), trials=trials))
    experiment = registry.server.client.get_run(version.run_id).info.experiment_id
    runs = mlflow_of(registry).search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{version.run_id}'"
    )
    found = {
        run.info.run_name: (run.data.params, run.data.metrics, run.info.status) for run in runs
    }
    assert found["trial 1"] == (
        {"n_estimators": "51"},
        {"objective": 0.8, "seconds": 1.5},
        "FINISHED",
    )
    assert len(found) == 2
