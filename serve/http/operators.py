"""What only an operator may do: promote a version, roll back. And who is one, with keys or without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from serve.http.auth import Forbidden
from serve.http.gateway import Request, Response, UnsupportedMediaType
from serve.http.protocols import decode_body
from train.registry.promotion import Promotable, promote_version, roll_back
from vigil.errors import VigilError

ANYONE = "anyone (no key is asked for)"  # the actor in the ledger
Reason = Annotated[str, msgspec.Meta(max_length=500)]
Number = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}$")]


class _Promote(msgspec.Struct, forbid_unknown_fields=True):
    version: Number
    reason: Reason = "promoted by hand"
    force: bool = False  # also a version that failed its gate


class _Rollback(msgspec.Struct, forbid_unknown_fields=True):
    reason: Reason = "rolled back by hand"


class Operators:
    """The handlers. `refresh` has every replica look at the registry and says what each serves then."""

    def __init__(
        self, registry: Promotable, refresh: Callable[[], Awaitable[list[dict[str, Any]]]]
    ) -> None:
        self._registry, self._refresh = registry, refresh

    async def promote(self, call: Request) -> Response:
        """Make a version the champion; the ledger names who did it and why."""
        asked = decode_body(call.body, _Promote, 'send {"version": "3", "reason": ".."}')
        return await self._move(
            promote_version,
            self._registry,
            asked.version,
            reason=asked.reason,
            actor=_actor(call),
            force=asked.force,
        )

    async def rollback(self, call: Request) -> Response:
        """Make the former champion champion again."""
        asked = decode_body(call.body, _Rollback, 'send {"reason": ".."}')
        return await self._move(roll_back, self._registry, reason=asked.reason, actor=_actor(call))

    async def _move(self, move: Callable[..., str], *args: Any, **about: str | bool) -> Response:
        version = await asyncio.to_thread(move, *args, **about)
        try:
            replicas = await self._refresh()
        except (
            VigilError
        ):  # the champion has moved; replicas look by themselves within their poll period
            replicas = []
        lagging = [str(replica["replica"]) for replica in replicas if replica["version"] != version]
        return Response(
            msgspec.json.encode({"version": version, "replicas": replicas, "lagging": lagging})
        )


def _actor(call: Request) -> str:
    return call.caller.name if call.caller else ANYONE


def require_operator(call: Request) -> None:
    """Raise Forbidden (403) for a caller that is no operator, UnsupportedMediaType unless the body says that it is JSON.

    A page of another site can have a browser send a form or plain text without asking, JSON it cannot.
    """
    if call.caller is not None and not call.caller.operator:
        raise Forbidden(
            f"{call.caller.name!r} is not an operator: `vigil keys new NAME --operator` makes a key of one"
        )
    if call.content_type != "application/json":
        raise UnsupportedMediaType("send application/json, and say so in Content-Type")


def require_own_page(call: Request, hosts: str) -> None:
    """Raise Forbidden (403) when a browser sends this for a page that is not the service's own.

    Needed where no key is asked for, as a browser reaches a loopback address for any page that it shows. Its own page has an
    address that is the service's (Origin and Host agree). That is not enough: a site may give its own name the address
    127.0.0.1 (DNS rebinding), so the host must also be an address, localhost, or one of `hosts`. What is no browser sends no
    Origin.
    """
    origin = call.headers.get(b"origin")
    if origin is None:
        return
    page, host = (
        origin.decode("latin-1").lower(),
        call.headers.get(b"host", b"").decode("latin-1").lower(),
    )
    known = {name.strip().lower() for name in hosts.split(",")} - {""}
    name = _name(host)
    if page not in (f"http://{host}", f"https://{host}") or not (
        _address(name) or name == "localhost" or name in known
    ):
        raise Forbidden(
            f"a page of {page[:100]!r} may not act on this service; VIGIL_SERVE_HOSTS names those that may"
        )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
