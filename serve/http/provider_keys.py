"""The signing keys that an OpenID Connect provider publishes (JWKS)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serve.addresses import is_secure_url
from serve.http.caller import ProviderUnavailable, Unauthorized
from serve.http.sent_values import abbreviate
from vigil import http

if TYPE_CHECKING:  # most services have no provider, and need not hold its library in memory
    import jwt

log = logging.getLogger("ray.serve")
_DISCOVERY_PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class KeyLimits:
    """How often the provider is asked, and how long it may take, in seconds.

    A key that the provider has withdrawn is believed no longer than `max_age_s`, while the provider
    answers. An unknown key id asks it at most every `refetch_s`.
    """

    refetch_s: float = 10.0
    max_age_s: float = 300.0
    timeout_s: float = 5.0


class ProviderKeys:
    """Keys by their id, None for one that has none, fetched by PyJWKClient.

    It would forget its keys when the provider is away; here they go on working. It fetches in a
    thread, and well before the keys are too old beside the requests: none waits for the provider.
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None = None,
        *,
        limits: KeyLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._limits = limits or KeyLimits()
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """Return the key with this id; raises Unauthorized (401) or ProviderUnavailable (503)."""
        await self._renew(is_missing=key_id not in self._keys)
        if not self._keys:
            raise ProviderUnavailable(f"the keys of {self._issuer} cannot be read now: try again")
        key = self._keys.get(key_id)
        if key is None:
            shown_id = abbreviate(key_id)
            raise Unauthorized(
                f"the bearer token is not accepted: {self._issuer} has no key {shown_id}"
            )
        return key

    async def _renew(self, *, is_missing: bool) -> None:
        limits = self._limits
        age_s = self._clock() - self._fetched_at
        if age_s > limits.max_age_s or (is_missing and age_s > limits.refetch_s):
            await self._refresh(limits.refetch_s)
        elif age_s > limits.max_age_s / 2 and not self._is_refreshing:
            self._refreshing = asyncio.create_task(self._refresh(limits.max_age_s / 2))

    @property
    def _is_refreshing(self) -> bool:
        return self._refreshing is not None and not self._refreshing.done()

    async def _refresh(self, older_than_s: float) -> None:
        async with self._fetching:
            if self._clock() - self._fetched_at > older_than_s:
                await asyncio.to_thread(self._fetch)
                self._fetched_at = self._clock()

    def _fetch(self) -> None:
        try:
            keys = self._published_keys()
        except Exception as error:  # whatever the provider answers, the service goes on
            name = type(error).__name__
            log.error("no new keys of %s, the former stay: %s: %s", self._issuer, name, error)
            return
        self._keys = {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}

    def _published_keys(self) -> list[jwt.PyJWK]:
        from jwt import PyJWKClient

        url = self._secure_url()
        client = PyJWKClient(url, cache_jwk_set=False, timeout=self._limits.timeout_s)
        return client.get_jwk_set().keys

    def _secure_url(self) -> str:
        """Where the keys are published."""
        url = self._jwks_url or self._discovered_url()
        if not is_secure_url(url):
            raise ValueError(f"{url} is not https")
        return url

    def _discovered_url(self) -> str:
        document = self._discovery_document()
        if document["issuer"] != self._issuer:  # OpenID Connect Discovery 1.0, section 4.3
            raise ValueError(f"its discovery document is that of {document['issuer']!r}")
        return document["jwks_uri"]

    def _discovery_document(self) -> dict[str, str]:
        url = self._issuer.rstrip("/") + _DISCOVERY_PATH
        if not is_secure_url(url):
            raise ValueError(f"{url} is not https")
        # Keys come from where the settings say, not from where an answer points: no redirects.
        with http.open_response("GET", url, timeout_s=self._limits.timeout_s) as response:
            http.check_status(response)
            response.read()
            return response.json()
