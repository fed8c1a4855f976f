"""Bearer tokens (JWT) of an OpenID Connect provider."""

from __future__ import annotations

from typing import Any

from serve.http.caller import Caller, Unauthorized
from serve.http.provider_keys import ProviderKeys
from serve.settings import ServeSettings
from vigil.json_types import JsonObject

# None that shares a secret.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
LEEWAY_S = 30.0
GRANTS = ("scope", "scp", "roles", "groups")  # claims that say what a token's subject may do
_REQUIRED_CLAIMS = ["exp", "iss", "aud", "sub"]


class TokenVerifier:
    """Tokens of one issuer, for one audience.

    `operator` is the scope, role or group of those that may do what operators may.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: ProviderKeys,
        operator: str | None = None,
    ) -> None:
        # Here: most services have no provider, and need not hold its library in memory.
        import jwt

        self._jwt = jwt
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._operator = operator

    @classmethod
    def from_settings(cls, settings: ServeSettings) -> TokenVerifier | None:
        """Return the verifier that the settings ask for, if they do."""
        issuer = settings.oidc_issuer
        audience = settings.oidc_audience
        if not issuer or not audience:
            return None
        keys = ProviderKeys(issuer, settings.oidc_jwks_url)
        return cls(issuer, audience, keys, settings.oidc_operator)

    async def caller(self, token: str) -> Caller:
        """Whom a valid token speaks for; raises Unauthorized (401) or ProviderUnavailable (503)."""
        try:
            claims = await self._claims(token)
        except (self._jwt.PyJWTError, RecursionError) as error:
            raise Unauthorized(f"the bearer token is not accepted: {error}") from error
        return Caller(str(claims["sub"]), self._is_operator(claims))

    async def _claims(self, token: str) -> JsonObject:
        header = self._jwt.get_unverified_header(token)
        return self._jwt.decode(
            token,
            await self._keys.find(header.get("kid")),
            algorithms=ALGORITHMS,
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED_CLAIMS},
        )

    def _is_operator(self, claims: JsonObject) -> bool:
        return self._operator is not None and self._operator in _granted(claims)


def _granted(claims: JsonObject) -> set[str]:
    """Scopes, roles and groups of a token."""
    return {str(grant) for name in GRANTS for grant in _listed(claims.get(name))}


def _listed(value: Any) -> list[Any]:
    """Text with spaces, as OAuth has it, or a list, as many providers have it."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list):
        return value
    return []
