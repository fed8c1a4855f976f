"""What only operators may do: promote a version, roll back. Who is one, with keys or without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from serve.http.caller import Forbidden
from serve.http.messages import Request, Response, json_response
from serve.http.refusals import UnsupportedMediaType
from serve.http.replica import Replica
from serve.http.rows import decode_body
from train.registry.promotion import promote_version, roll_back
from vigil.errors import VigilError
from vigil.json_types import JsonObject

_ANYONE = "anyone (no key is asked for)"  # the actor in the ledger
_Reason = Annotated[str, msgspec.Meta(max_length=500, description="kept in the ledger")]
_VersionNumber = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}$")]
_Force = Annotated[bool, msgspec.Meta(description="also a version that failed its gate")]


class PromoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A version that becomes the champion."""

    version: _VersionNumber
    reason: _Reason = "promoted by hand"
    force: _Force = False


class RollbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """The former champion becomes champion again."""

    reason: _Reason = "rolled back by hand"


class OperatorEndpoints:
    """Handlers that move the champion, and the checks of who may call them."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def require_own_page(self, request: Request) -> None:
        """Raise Forbidden when a browser sends this for a page that is not the service's own.

        Where a key was shown, no page of another site can have shown it.
        """
        if request.caller is None:
            require_own_page(request, self._replica.settings.hosts)

    def require_operator(self, request: Request) -> None:
        """Raise Forbidden or UnsupportedMediaType unless an operator asks."""
        self.require_own_page(request)
        require_operator(request)

    async def promote(self, request: Request) -> Response:
        """Make a version the champion; the ledger names who did it and why."""
        order = decode_body(request.body, PromoteBody, 'send {"version": "3", "reason": ".."}')
        move = partial(
            promote_version,
            self._replica.registry,
            order.version,
            reason=order.reason,
            actor=actor_of(request),
            force=order.force,
        )
        return await self._move_champion(move)

    async def rollback(self, request: Request) -> Response:
        """Make the former champion champion again."""
        order = decode_body(request.body, RollbackBody, 'send {"reason": ".."}')
        registry = self._replica.registry
        move = partial(roll_back, registry, reason=order.reason, actor=actor_of(request))
        return await self._move_champion(move)

    async def refresh(self, request: Request) -> Response:
        """Have every replica look at the registry now, and answer what each serves then."""
        return json_response({"replicas": await self._replica.refresh_replicas()})

    async def _move_champion(self, move: Callable[[], str]) -> Response:
        version = await asyncio.to_thread(move)
        replicas = await self._refreshed()
        lagging = [str(replica["replica"]) for replica in replicas if replica["version"] != version]
        return json_response(
            {
                "version": version,
                "replicas": replicas,
                "lagging": lagging,
            }
        )

    async def _refreshed(self) -> list[JsonObject]:
        """The status of each replica; empty when they could not all be asked.

        The champion has moved all the same, and replicas look by themselves.
        """
        try:
            return await self._replica.refresh_replicas()
        except VigilError:
            return []


def actor_of(request: Request) -> str:
    """Return who asks, for whatever keeps a record of it."""
    if request.caller:
        return request.caller.name
    return _ANYONE


def require_operator(request: Request) -> None:
    """Raise Forbidden (403) for a caller that is no operator.

    Raises UnsupportedMediaType unless the body says that it is JSON: a page of another site can
    have a browser send a form or plain text without asking, JSON it cannot.
    """
    caller = request.caller
    if caller is not None and not caller.operator:
        raise Forbidden(
            f"{caller.name!r} is not an operator: "
            "`vigil keys new NAME --operator` makes a key of one"
        )
    if request.content_type != "application/json":
        raise UnsupportedMediaType("send application/json, and say so in Content-Type")


def require_own_page(request: Request, hosts: str) -> None:
    """Raise Forbidden (403) when a browser sends this for a page that is not the service's own.

    Needed where no key is asked for, as a browser reaches a loopback address for any page that it
    shows. Its own page has an address that is the service's (Origin and Host agree). That is not
    enough: a site may give its own name the address 127.0.0.1 (DNS rebinding), so the host must
    also be an address, localhost, or one of `hosts`. What is no browser sends no Origin.
    """
    origin = request.headers.get(b"origin")
    if origin is None:
        return
    page = origin.decode("latin-1").lower()
    host = request.headers.get(b"host", b"").decode("latin-1").lower()
    is_same_origin = page in (f"http://{host}", f"https://{host}")
    if not (is_same_origin and _is_trusted_host(_host_name(host), hosts)):
        raise Forbidden(
            f"a page of {page[:100]!r} may not act on this service; "
            "VIGIL_SERVE_HOSTS names those that may"
        )


def _is_trusted_host(name: str, hosts: str) -> bool:
    """Whether nobody else can have given this host its address."""
    return _is_address(name) or name == "localhost" or name in _names_of_hosts(hosts)


def _names_of_hosts(hosts: str) -> set[str]:
    return {host.strip().lower() for host in hosts.split(",")} - {""}


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
