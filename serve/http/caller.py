"""Who asks, and why somebody is not let in."""

from __future__ import annotations

from dataclasses import dataclass

from vigil.errors import VigilError


class Unauthorized(VigilError):
    """The caller has not shown who it is."""

    status = 401


class Forbidden(VigilError):
    """The caller is known, and may not do this."""

    status = 403


class ProviderUnavailable(VigilError):
    """The identity provider's keys have never been read, and cannot be now."""

    status = 503


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of a key, or the subject of a token.

    An operator may also move models and switch the governor.
    """

    name: str
    operator: bool = False
