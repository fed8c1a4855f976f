"""Names of models that people have, and clocks that were set: against a local MLflow database."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.train.conftest import mlflow_of
from train.registry.candidate import Candidate
from train.registry.moves import Move
from train.registry.promotion import promote_version
from train.registry.server import filter_text
from train.registry.versions import Registry
from vigil.errors import RegistryError

HOUR_S = 3600.0
WEEK_S = 7 * 86400.0
NAMES = ["bob's pump", 'say "x"', "Prüfstand ✓", "100%", "pct%20x", "x#y", "NA", "01", "a\\b", "-1"]


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    real = time.time
    with mock.patch("time.time", side_effect=lambda: real() + seconds):
        yield


def named(registry: Registry, name: str) -> Registry:
    server = registry.server
    return Registry(server.tracking_uri, name, server.artifacts)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_any_name_is_registered_promoted_and_read(
    registry: Registry, model: Callable[[int], tuple], tmp_path: Path, name: str
) -> None:
    shelf = named(registry, f"{name} {uuid.uuid4().hex[:6]}")
    forest, bundle = model(0)
    job = uuid.uuid4().hex
    made = shelf.register(
        Candidate(forest, bundle, {"seed": 0}, {}, {"job": job}, {"passed": True})
    )
    promote_version(shelf, made.version, reason="first", actor="ann")
    assert [version.version for version in shelf.versions()] == ["1"]
    assert [version.version for version in shelf.latest(3)] == ["1"]
    assert [move.to for move in shelf.moves()] == ["1"]
    found = shelf.of_job(job)
    assert found is not None
    assert shelf.fetch(found, tmp_path).names == bundle.names
    forest: Any = shelf.forest(found)
    assert forest.n_features_in_ == len(bundle.names)
    assert named(registry, f"{name} other").moves() == []


def test_a_text_is_quoted_by_the_kind_that_it_does_not_have() -> None:
    assert filter_text("x") == "'x'"
    assert filter_text("bob's") == '"bob\'s"'
    assert filter_text('say "x"') == "'say \"x\"'"


@pytest.mark.parametrize("seconds", [WEEK_S, HOUR_S, 61.0, -61.0, -WEEK_S])
def test_a_lock_that_a_crash_left_is_taken_over_whatever_its_stamp(
    registry: Registry, seconds: float
) -> None:
    with clock_ahead(seconds):
        crashed = registry.exclusive("ann")
        crashed.__enter__()
    with registry.exclusive("bob"):
        pass


@pytest.mark.parametrize("seconds", [-30.0, 0.0, 30.0])
def test_a_lock_of_now_is_respected_by_a_clock_that_is_a_little_off(
    registry: Registry, seconds: float
) -> None:
    with registry.exclusive("ann"), clock_ahead(seconds):
        for _ in range(2):
            with (
                pytest.raises(RegistryError, match=r"under way \(by ann, for \d+ s\)"),
                registry.exclusive("bob"),
            ):
                pass


def test_a_server_that_stamps_by_its_own_clock_is_asked_for_the_time(registry: Registry) -> None:
    """The clock of this machine is a week off, that of the server is not."""
    client = registry.server.client
    create = client.create_registered_model

    def create_by_server(*args: Any, **named: Any) -> Any:
        with mock.patch("time.time", REAL_TIME):
            return create(*args, **named)

    with mock.patch.object(client, "create_registered_model", create_by_server):
        for off in (WEEK_S, -WEEK_S):
            with (
                clock_ahead(off),
                registry.exclusive("ann"),
                pytest.raises(RegistryError, match="under way"),
                registry.exclusive("bob"),
            ):
                pass


REAL_TIME = time.time


def test_a_model_with_the_name_of_a_lock_is_named(registry: Registry) -> None:
    lock = f"{registry.model_name}.promoting"
    registry.server.create_model(lock, "somebody's own")
    with pytest.raises(RegistryError, match="has the name of a lock"), registry.exclusive("ann"):
        pass
    registry.server.client.delete_registered_model(lock)


def test_the_ledger_is_in_the_order_of_arrival(registry: Registry) -> None:
    offsets = [0.0, WEEK_S, -WEEK_S, -HOUR_S, 2 * WEEK_S, 0.0]
    for to, offset in enumerate(offsets, 1):
        with clock_ahead(offset):
            registry.open_move(Move("promote", str(to - 1), str(to), "d", "r", "a"))
    assert [move.to for move in registry.moves()] == ["6", "5", "4", "3", "2", "1"]
    assert [move.to for move in registry.moves(2)] == ["6", "5"]


def test_moves_of_an_older_vigil_have_no_number_and_are_the_first(registry: Registry) -> None:
    registry.open_move(Move("promote", "", "2", "d", "r", "a"))
    latest = registry.moves()[0]
    mlflow_of(registry).delete_tag(latest.id, "number")
    with clock_ahead(-WEEK_S):
        registry.open_move(Move("promote", "2", "3", "d", "r", "a"))
        registry.open_move(Move("promote", "3", "4", "d", "r", "a"))
    assert [move.to for move in registry.moves()] == ["4", "3", "2"]
