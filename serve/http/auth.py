"""Who may call: the holders of API keys, and of bearer tokens of an OpenID Connect provider."""

from __future__ import annotations

from serve.http.api_keys import KEY_PREFIX, KeyRing
from serve.http.caller import Caller, Unauthorized
from serve.http.tokens import TokenVerifier
from serve.settings import ServeSettings

_DOTS_IN_TOKEN = 2
_SHOW_A_KEY = (
    "send `Authorization: Bearer KEY` or `X-API-Key: KEY`; `vigil keys new NAME` makes a key"
)


class Authenticator:
    """Decides by the headers of a request whether it may come in."""

    def __init__(self, settings: ServeSettings) -> None:
        self.required = settings.auth_required
        self._ring = KeyRing(settings.key_file)
        self._verifier = TokenVerifier.from_settings(settings)

    async def caller(self, headers: dict[bytes, bytes]) -> Caller | None:
        """Whose key or token it is; None where nobody need show one. Raises Unauthorized (401)."""
        if not self.required:
            return None
        secret = _secret(headers)
        if not secret:
            raise Unauthorized(_SHOW_A_KEY)
        if self._verifier is not None and _is_token(secret):
            return await self._verifier.caller(secret)
        return self._key_owner(secret)

    def _key_owner(self, key: str) -> Caller:
        owner = self._ring.owner(key)
        if owner is None:
            raise Unauthorized("the key is not known: it may have been revoked")
        return owner


def _secret(headers: dict[bytes, bytes]) -> str:
    """The key or token of a request, empty where it shows none."""
    authorization = headers.get(b"authorization", b"").decode("latin-1").strip()
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer":
        secret = headers.get(b"x-api-key", b"").decode("latin-1")
    return secret.strip()


def _is_token(secret: str) -> bool:
    return not secret.startswith(KEY_PREFIX) and secret.count(".") == _DOTS_IN_TOKEN
