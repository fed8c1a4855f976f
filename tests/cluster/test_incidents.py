"""Incidents in a PostgreSQL of the user's own: the monitor reaches it, and the next one goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL, Connection, create_engine, make_url, text

from tests.cluster.kube import NAMESPACE, eventually
from tests.cluster.platform import Platform

OUTLIERS_SD = 30.0


@pytest.fixture(scope="module")
def database() -> URL:
    """A database that pods reach, and this machine."""
    named = os.environ.get("VIGIL_TEST_POSTGRES")
    if not named:
        pytest.skip(
            "no PostgreSQL: set VIGIL_TEST_POSTGRES to that of a database which pods reach,"
            " postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    return make_url(named)


def without_password(url: URL) -> str:
    """The URL as a stack takes it; `URL.set` would leave the password there."""
    parts = url.translate_connect_args()
    return URL.create(url.drivername, **{**parts, "password": None}).render_as_string()


@pytest.fixture
def tables(database: URL) -> Iterator[Connection]:
    """A connection of the test's own."""
    engine = create_engine(database.set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def keeping(platform: Platform, database: URL, current: dict[str, Any]) -> Platform:
    """The platform, with its incidents in that database."""
    before = platform.active_cluster()
    platform.stack.pulumi(
        "config", "set", "--secret", "vigil:incidentsPassword", text=str(database.password)
    )
    url = without_password(database)
    platform.stack.set({"drift": {**current.get("drift", {}), "incidentsUrl": url}})
    platform.stack.up()
    eventually("another cluster serves", lambda: platform.active_cluster() != before, 600)
    platform.workers(2, 400)
    return platform


def incidents(platform: Platform) -> list[dict[str, Any]]:
    status, found = platform.ask("/incidents?state=open")
    return found["incidents"] if status == 200 else []


def test_an_incident_is_in_the_database_and_the_next_monitor_knows_it(
    keeping: Platform, tables: Connection
) -> None:
    with keeping.load(shift=OUTLIERS_SD) as load:
        (incident, *_) = eventually("an incident is open", lambda: incidents(keeping), 120)
        ids = {str(row[0]) for row in tables.execute(text("SELECT id FROM incidents"))}
        assert incident["id"] in ids
        (monitor,) = keeping.cluster.ready("monitor")
        keeping.cluster.kubectl("delete", "pod", monitor, "-n", NAMESPACE, "--wait=false")
        eventually(
            "another monitor knows it",
            lambda: (
                keeping.cluster.ready("monitor") not in ([], [monitor])
                and incident["id"] in {one["id"] for one in incidents(keeping)}
            ),
            300,
        )
    assert load.result["failed"] == 0, load.result["failures"]
    keeping.stack.preview("--expect-no-changes")
