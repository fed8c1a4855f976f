"""Migrations of the tables of incidents, by Alembic: files in versions/, run once, in order."""
