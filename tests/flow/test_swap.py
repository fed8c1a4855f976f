"""Models change under load: swaps, rollback, crashes, outages, a bad canary, the shadow."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from tests.running import Vigil, eventually
from tests.swapping import CONNECTIONS, Alias, Answered, Traffic
from train.registry.moves import completed_moves
from train.registry.promotion import roll_back, start_canary
from train.registry.versions import Version
from vigil.home import Home

pytestmark = pytest.mark.platform
SWAPS = 50


@pytest.fixture(scope="module")
def alias(platform: Vigil) -> Iterator[Alias]:
    """The alias of the shared platform, which is put back afterwards."""
    found = Alias(platform)
    yield found
    found.move(found.champion.version)
    found.hurry()
    found.converge(found.champion.version)


@pytest.fixture(scope="module")
def two(alias: Alias) -> list[Version]:
    return alias.variants(2)


def assert_all_good(alias: Alias, answers: list[Answered], forgiven: int = 0) -> None:
    failed = [answer for answer in answers if answer.status != 200]
    assert len(failed) <= forgiven, failed[:3]
    assert alias.not_desired([answer for answer in answers if answer.status == 200]) == []


@contextmanager
def nobody_at(port: int) -> Iterator[None]:
    """Take the port from whoever serves there, and keep it.

    Who is started again there cannot listen.
    """

    class Closed(socketserver.TCPServer):
        allow_reuse_address = True

    def closed() -> Closed | None:
        for pid in {
            c.pid
            for c in psutil.net_connections("tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port
        }:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        try:
            return Closed(("127.0.0.1", port), socketserver.BaseRequestHandler)
        except OSError:  # its workers hold the port until they are gone
            return None

    with eventually(closed) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.timeout(180)
def test_fifty_swaps_in_a_row_under_load(platform: Vigil, alias: Alias, two: list[Version]) -> None:
    took = []
    with Traffic(platform.url, alias.row).running() as traffic:
        for i in range(SWAPS):
            version = two[i % 2].version
            alias.move(version)
            if i % 10:  # told, else found out by themselves
                assert {r["version"] for r in alias.hurry()} == {version}
            else:
                took.append(alias.converge(version))
    assert max(took) < 5.0
    assert_all_good(alias, traffic.answers)
    for version in two:
        answers = [a for a in traffic.answers if a.version == version.version][-200:]
        scores = alias.registry.fetch(version, Home(platform.home).cache).forest.score(
            np.array([a.row for a in answers])
        )
        np.testing.assert_allclose(scores, [a.score for a in answers], atol=1e-9)


def test_a_rollback_reaches_every_replica_within_a_second(
    platform: Vigil, alias: Alias, two: list[Version]
) -> None:
    for version in two:
        alias.move(version.version)
        alias.hurry()
    roll_back(
        alias.registry, reason="test", actor="test"
    )  # settles the moves that were made by hand first
    promoted = roll_back(alias.registry, reason="test", actor="test")
    moved = time.time()
    alias.desired.append((moved, promoted))
    replicas = alias.hurry()
    assert time.time() - moved < 1.0
    assert {r["version"] for r in replicas} == {promoted}
    assert len(replicas) == 2


@pytest.mark.timeout(120)
def test_a_killed_replica_and_a_flapping_alias_converge(
    platform: Vigil, alias: Alias, two: list[Version]
) -> None:
    before = set(platform.replicas())
    with Traffic(platform.url, alias.row, pause=0.01).running() as traffic:
        for i in range(25):
            alias.move(two[i % 2].version)
            if i == 5:
                os.kill(min(before), signal.SIGKILL)
            time.sleep(0.2)

        def born() -> bool:
            found = platform.replicas()
            return len(found.keys() - {min(before)}) >= 2 and all(
                r["version"] == two[0].version for r in found.values()
            )

        eventually(born)
    assert_all_good(alias, traffic.answers, forgiven=CONNECTIONS)


@pytest.mark.timeout(120)
def test_without_mlflow_and_artifacts_a_new_replica_serves_the_last_known_good(
    platform: Vigil, alias: Alias
) -> None:
    artifacts = Home(platform.home).artifacts
    before = platform.replicas()
    port = urlsplit(platform.platform.tracking_uri).port
    assert port is not None
    with Traffic(platform.url, alias.row, pause=0.01).running() as traffic:
        artifacts.rename(artifacts.with_name("away"))
        try:
            with nobody_at(port):
                os.kill(min(before), signal.SIGKILL)
                eventually(
                    lambda: "last-known-good" in {r["source"] for r in platform.replicas().values()}
                )
        finally:
            artifacts.with_name("away").rename(artifacts)
    assert_all_good(alias, traffic.answers, forgiven=CONNECTIONS)
    assert {a.version for a in traffic.answers if a.status == 200} == {alias.desired[-1][1]}
    eventually(lambda: {r["source"] for r in platform.replicas().values()} == {"registry"})


def test_a_bad_canary_is_sent_home_and_no_request_fails(platform: Vigil, alias: Alias) -> None:
    (bad,) = alias.variants(
        1, lambda bundle: replace(bundle, threshold=replace(bundle.threshold, value=0.2))
    )
    with Traffic(platform.url, alias.row, pause=0.02).running() as traffic:
        canary = start_canary(
            alias.registry, bad.version, ((0.2, 600.0),), reason="test", actor="test"
        )
        alias.hurry()
        eventually(lambda: alias.registry.canary() is None)
        assert time.time() - canary.started < 10.0
        alias.hurry()
        home = time.time()
        eventually(lambda: time.time() > home + 1.0)
    assert traffic.failed == []
    tried = [a for a in traffic.answers if a.version == bad.version]
    assert tried
    assert max(a.asked for a in tried) < home
    ended = completed_moves(alias.registry)[0]
    assert (ended.kind, ended.former, ended.actor) == (
        "canary stopped",
        bad.version,
        "canary-guard",
    )
    assert "rows alert, over" in ended.reason


def test_the_challenger_is_compared_in_the_shadow(
    platform: Vigil, alias: Alias, two: list[Version]
) -> None:
    served = platform.drift()["desired_version"]
    rival = next(v.version for v in two if v.version != served)
    before = alias.registry.aliases()["challenger"]
    alias.registry.set_alias("challenger", rival)
    try:
        with Traffic(platform.url, alias.row, connections=4, pause=0.005).running():

            def compared() -> Any:
                found = platform.drift().get("shadow")
                return (
                    found if found and found["challenger"] == rival and found["rows"] > 50 else None
                )

            found = eventually(compared)
    finally:
        alias.registry.set_alias("challenger", before)
    assert (found["kendall_tau"], found["top_overlap"], found["errors"]) == (
        pytest.approx(1.0),
        1.0,
        0,
    )
