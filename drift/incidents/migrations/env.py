"""Runs the migrations on the connection that the caller has opened, within its transaction.

Alembic loads this file by its own name, `env_py`, whenever it migrates.
"""

from __future__ import annotations

from alembic import context

from drift.incidents.tables import VERSION_TABLE


def run_migrations() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, version_table=VERSION_TABLE)
    context.run_migrations()


if __name__ == "env_py":
    run_migrations()
