"""The store of incidents, on SQLite and on PostgreSQL."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert

from drift.incidents.database import (
    FILE_NAME,
    IncidentStoreRefused,
    IncidentStoreUnavailable,
    migrate,
    open_database,
    open_engine,
    postgres_url,
)
from drift.incidents.errors import UnknownIncident
from drift.incidents.incident import FeatureDeviation, incident_id
from drift.incidents.outbox import Outbox
from drift.incidents.store import open_incident_store
from drift.incidents.tables import VERSION_TABLE, IncidentRow, IncidentTable
from drift.incidents.update import StoredRecord, StoreUpdate, encode_document
from drift.state import LostLease
from tests.drift.incidents.examples import Open, change, incident
from tests.running import free_port


class Said(msgspec.Struct, frozen=True):
    """What a person says, in place of a verdict, silence or rule."""

    text: str


def test_what_was_recorded_is_there_after_a_restart(url: str, open_store: Open) -> None:
    hostile = FeatureDeviation("<b>\x00'; DROP TABLE incidents; --\u202e", 1.0, 2.0, "down")
    opened = change(1, features=(hostile,), entities=("a", "ü"), entity_count=2)
    open_store(url).record(StoreUpdate(tracker={"seen": 5}, changes=[opened]))

    store = open_store(url)

    assert store.tracker_state() == {"seen": 5}
    assert store.incident("i000001") == opened.incident
    assert store.count("open") == 1


def test_a_store_without_anything(url: str, open_store: Open) -> None:
    store = open_store(url)

    assert store.tracker_state() is None
    assert store.page().incidents == []
    with pytest.raises(UnknownIncident, match="i000007"):
        store.incident("i000007")


def test_changes_of_an_incident_are_numbered_over_restarts(url: str, open_store: Open) -> None:
    first = open_store(url).record(StoreUpdate(changes=[change(1), change(2)]))
    amended = incident(1, verdict="confirmed")
    open_store(url).record(StoreUpdate(amended=[amended]))
    second = open_store(url).record(
        StoreUpdate(changes=[change(1, "updated", grade=0.9), change(1, "closed")])
    )

    assert [one.id for one in first] == ["i000001.1", "i000002.1"]
    assert [one.id for one in second] == ["i000001.2", "i000001.3"]
    assert open_store(url).incident("i000001").state == "closed"


def test_pages_hold_every_incident_once_and_the_latest_first(url: str, open_store: Open) -> None:
    store = open_store(url)
    changes = [change(n, "closed" if n % 3 else "opened") for n in range(10)]
    store.record(StoreUpdate(changes=changes))

    first = store.page("closed", limit=4)
    second = store.page("closed", limit=4, after=first.next)

    assert [one.onset for one in (*first.incidents, *second.incidents)] == [8, 7, 5, 4, 2, 1]
    assert second.next is None
    assert [one.onset for one in store.page("open").incidents] == [9, 6, 3, 0]
    assert len(store.page(limit=10**9).incidents) == 10


def test_what_began_by_a_time_is_found_by_its_id(url: str, open_store: Open) -> None:
    store = open_store(url)
    onsets = [0.0, 900.0, 900.0005, 1_795_946_400.5, 1_795_960_000.0]
    ids = [incident_id(onset, number) for number, onset in enumerate(onsets)]
    changes = [change(1, id=id, onset=onset) for id, onset in zip(ids, onsets, strict=True)]
    store.record(StoreUpdate(changes=changes))

    assert [one.id for one in store.begun_by(1e30)] == ids[::-1]
    assert [one.id for one in store.begun_by(1_795_946_400.5)] == ids[3::-1]
    assert [one.id for one in store.begun_by(900.0)] == ids[1::-1]
    assert store.begun_by(-1.0) == []


def test_ids_are_paged_in_the_order_of_their_bytes(url: str, open_store: Open) -> None:
    ids = ["a-1", "a1", "A1", "a_1", "a.1"]
    changes = [change(1, id=name) for name in ids]
    store = open_store(url)
    store.record(StoreUpdate(changes=changes))

    seen: list[str] = []
    after = None
    for _ in ids:
        page = store.page(limit=1, after=after)
        seen += [one.id for one in page.incidents]
        after = page.next

    assert seen == sorted(ids, reverse=True)


def test_old_closed_incidents_and_their_verdicts_are_forgotten_open_ones_never(
    url: str, open_store: Open
) -> None:
    store = open_store(url, keep=3)
    store.record(StoreUpdate(changes=[change(0)]))
    for n in range(1, 8):
        said = StoredRecord("verdict", f"i{n:06d}", Said(str(n)))
        store.record(StoreUpdate(changes=[change(n, "closed")], records=[said]))

    assert [one.onset for one in store.page().incidents] == [7, 6, 5, 0]
    assert [said.text for said in store.records("verdict", Said)] == ["5", "6", "7"]


def test_what_people_say_is_kept_in_its_order(url: str, open_store: Open) -> None:
    store = open_store(url)
    store.record(StoreUpdate(records=[StoredRecord("verdict", "i1", Said("a"))]))
    more = [StoredRecord("verdict", "i1", Said("b")), StoredRecord("verdict", "i2", Said("c"))]
    store.record(StoreUpdate(records=more))

    assert store.records("verdict", Said, "i1") == [Said("a"), Said("b")]
    assert len(store.records("verdict", Said)) == 3
    assert store.records("rule", Said) == []


def test_a_former_leader_writes_nothing(url: str, open_store: Open) -> None:
    former = open_store(url)
    former.record(StoreUpdate(tracker={"by": "former"}))
    present = open_store(url)

    with pytest.raises(LostLease):
        former.record(StoreUpdate(tracker={"by": "former"}, changes=[change(1)]))

    assert present.page().incidents == []
    present.record(StoreUpdate(tracker={"by": "present"}))
    assert former.tracker_state() == {"by": "present"}


def test_who_never_led_writes_nothing(tmp_path: Path) -> None:
    store = open_incident_store("", tmp_path, keep=10)

    with pytest.raises(LostLease):
        store.record(StoreUpdate(tracker={}))
    store.close()


def test_a_transaction_that_fails_writes_nothing(url: str, open_store: Open) -> None:
    store = open_store(url)

    def fail_after_writing() -> None:
        with store.transaction() as session:
            session.execute(IncidentTable.metadata.tables["incident_tracker"].delete())
            raise RuntimeError("killed")

    store.record(StoreUpdate(tracker={"seen": 5}))
    with pytest.raises(RuntimeError, match="killed"):
        fail_after_writing()

    assert store.tracker_state() == {"seen": 5}


def test_a_thousand_incidents_at_once(url: str, open_store: Open) -> None:
    store = open_store(url)
    store.record(StoreUpdate(changes=[change(n) for n in range(1000)]))
    store.record(StoreUpdate(changes=[change(n, "closed") for n in range(1000)]))

    assert store.count("open") == 0
    assert store.count("closed") == 100  # what this store keeps


def test_a_database_of_the_former_version_keeps_what_is_in_it(url: str, tmp_path: Path) -> None:
    database = open_engine(url, tmp_path)
    migrate(database, "0001")
    kept = incident(1, state="closed", end=2.0)
    row = {"id": kept.id, "state": "closed", "changes": 2, "document": encode_document(kept)}
    with database.begin() as connection:
        connection.execute(insert(IncidentRow).values(row))
    database.dispose()

    store = open_incident_store(url, tmp_path, keep=10)
    store.begin_epoch()
    (again,) = store.record(StoreUpdate(changes=[change(1, "opened")]), ["inbox-1"])

    assert again.id == "i000001.3"
    assert [one.id for one in Outbox(store).waiting("inbox-1", 5)] == ["i000001.3"]
    store.close()


def test_migrations_lead_to_the_tables_that_the_code_uses(url: str, tmp_path: Path) -> None:
    database = open_database(url, tmp_path)
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, IncidentTable.metadata) == []
    migrate(database)  # a second time: nothing is left to do
    database.dispose()


def test_a_database_of_a_newer_vigil_is_left_alone(url: str, tmp_path: Path) -> None:
    database = open_database(url, tmp_path)
    with database.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(IncidentStoreRefused, match="newer Vigil"):
        migrate(database)
    database.dispose()


def test_only_the_owner_reads_the_file(tmp_path: Path, open_store: Open) -> None:
    store = open_store()
    store.record(StoreUpdate(tracker={}))

    files = [tmp_path / f"{FILE_NAME}{suffix}" for suffix in ("", "-wal")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("not a database, and long enough to look like one" * 100)

    with pytest.raises(IncidentStoreUnavailable, match=FILE_NAME):
        open_incident_store("", tmp_path, keep=10)


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    url = f"postgresql://vigil:secret@127.0.0.1:{free_port()}/vigil"

    with pytest.raises(IncidentStoreUnavailable, match="refused") as raised:
        open_database(url, Path())
    assert "secret" not in raised.value.message


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "incidents", "sqlite:///x.db"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(IncidentStoreRefused) as raised:
        postgres_url(url)
    assert "secret" not in raised.value.message
