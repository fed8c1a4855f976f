"""The database of incidents: a file in the home, or a PostgreSQL server; migrated when opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from drift.incidents.errors import IncidentStoreRefused, IncidentStoreUnavailable
from vigil.locks import hold_lock

FILE_NAME = "incidents.db"
MIGRATIONS = Path(__file__).parent / "migrations"
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 15
# SQLAlchemy 2.1 takes another driver, which MLflow does not bring, where none is named.
_POSTGRES = "postgresql+psycopg2"
_MIGRATION_LOCK = 0x76696769  # any number of Vigil's own: "vigi"


def open_database(url: str, folder: Path) -> Engine:
    """The migrated database at `url`, or in `folder` where that is empty.

    Raises IncidentStoreUnavailable or IncidentStoreRefused.
    """
    engine = open_engine(url, folder)
    migrate(engine)
    return engine


def open_engine(url: str, folder: Path) -> Engine:
    """The same, with its tables as they are."""
    return _postgres_engine(url) if url else _file_engine(folder / FILE_NAME)


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the tables to a revision, by one process at a time, wholly or not at all."""
    with database_errors(engine.url), _file_lock(engine.url), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _run_migrations(connection, revision)


def _run_migrations(connection: Connection, revision: str) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        alembic.command.upgrade(config, revision)
    except CommandError as error:
        raise IncidentStoreRefused(
            f"{_shown(connection.engine.url)} was written by a newer Vigil ({error}): "
            "start that one, or name another database"
        ) from error


def _file_lock(url: URL) -> AbstractContextManager[None]:
    """SQLite refuses the second of two migrations at once, and does not let it wait."""
    if url.database is None or url.get_backend_name() != "sqlite":
        return nullcontext()
    return hold_lock(Path(f"{url.database}.lock"))


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """What the database raises in the block is IncidentStoreUnavailable."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise IncidentStoreUnavailable(f"{_shown(url)}: {_reason_of(error)}") from error


def _reason_of(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip().splitlines()[0]


def _shown(url: URL) -> str:
    """Where the database is, without its password."""
    return f"the database of incidents {url.render_as_string(hide_password=True)}"


def _file_engine(path: Path) -> Engine:
    """A file that only its owner reads: rows may be about people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": STATEMENT_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_file_connection)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_file_connection(connection: Any, _record: Any) -> None:
    # The driver would begin transactions by its own rules, and none around a migration.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _postgres_engine(url: str) -> Engine:
    # Who is gone without a word holds the leader's row no longer than this.
    timeout_ms = STATEMENT_TIMEOUT_S * 1000
    options = (
        f"-c statement_timeout={timeout_ms} -c idle_in_transaction_session_timeout={timeout_ms}"
    )
    return create_engine(
        postgres_url(url),
        pool_pre_ping=True,
        pool_size=2,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "vigil-incidents",
            "options": options,
        },
    )


def postgres_url(url: str) -> URL:
    """The URL of a PostgreSQL database. Raises IncidentStoreRefused for another one."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise IncidentStoreRefused("the database of incidents: this is no URL") from error
    if parsed.get_backend_name() != "postgresql":
        raise IncidentStoreRefused(
            f"{_shown(parsed)}: it must be postgresql://USER@HOST/DATABASE, or empty"
        )
    return parsed.set(drivername=_POSTGRES)
