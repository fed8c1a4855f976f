"""A store of incidents on a real SQLite file or PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from drift.incidents.store import IncidentStore, open_incident_store
from tests.drift.incidents.examples import Open
from tests.postgres import postgres

KEEP = 100


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL database, which MLflow would share."""
    with postgres() as url:
        yield url


@pytest.fixture(params=["", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; empty: a file in the home."""
    if not request.param:
        return ""
    url = request.getfixturevalue("server")
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection:
        connection.cursor().execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return url


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """open_store(url="", keep=KEEP): one that writes, as a monitor that has just begun to lead."""
    stores: list[IncidentStore] = []

    def open_(url: str = "", keep: int = KEEP) -> IncidentStore:
        store = open_incident_store(url, tmp_path, keep=keep)
        stores.append(store)
        store.begin_epoch()
        return store

    yield open_
    for store in stores:
        store.close()
