"""Errors about incidents that callers of the service see.

They travel to replicas, which import no database for that.
"""

from __future__ import annotations

from vigil.errors import VigilError


class UnknownIncident(VigilError):
    """No incident has this id, or it is older than what is kept."""

    status = 404


class NotLeading(VigilError):
    """Another monitor decides about incidents, or this one cannot reach its database yet."""

    status = 503


class IncidentStoreUnavailable(VigilError):
    """The database of incidents cannot be reached, or does not answer."""

    status = 503


class IncidentStoreRefused(VigilError):
    """The database of incidents is of a newer Vigil, or not a database that can be used."""
