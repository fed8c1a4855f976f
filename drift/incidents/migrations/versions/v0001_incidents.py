"""Incidents, what people have said of them, the tracker's state, and who leads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", _SORTED, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("incidents_by_state", "incidents", ["state", "id"])
    for name in ("incident_verdicts", "incident_silences", "incident_rules"):
        _create_records(name)
    _create_state()


def _create_records(name: str) -> None:
    op.create_table(
        name,
        sa.Column(
            "seq",
            _SEQUENCE,
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{name}_key", name, ["key"])


def _create_state() -> None:
    op.create_table(
        "incident_tracker",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    leadership = op.create_table(
        "incident_leadership",
        sa.Column(
            "id",
            sa.Integer,
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(leadership, [{"id": 1, "epoch": 0}])
