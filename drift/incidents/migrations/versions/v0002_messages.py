"""Messages and their deliveries; the worst rows of an incident."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "incident_evidence",
        sa.Column("incident", _SORTED, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "incident_messages",
        sa.Column(
            "seq",
            _SEQUENCE,
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    _create_deliveries()


def _create_deliveries() -> None:
    name = "incident_deliveries"
    op.create_table(
        name,
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column(
            "seq",
            _SEQUENCE,
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("ended", sa.Double),
        sa.Column("outcome", sa.Text),
    )
    op.create_index(f"{name}_by_end", name, ["channel", "ended"])
