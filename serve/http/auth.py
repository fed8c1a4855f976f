"""Who may call.

API keys, of which only hashes are stored, and bearer tokens of an OpenID Connect provider.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import reprlib
import secrets
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.settings import ServeSettings, is_secure_url
from vigil.errors import VigilError
from vigil.home import write_json
from vigil.locks import hold_lock

if TYPE_CHECKING:
    import jwt

log = logging.getLogger("ray.serve")
PREFIX = "vigil_"  # secret scanners find a leaked key by it
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
REFETCH_S = 10.0  # an unknown key id asks the provider at most this often
# A key that the provider has withdrawn is believed no longer than this, while the provider answers.
MAX_AGE_S = 300.0
FETCH_TIMEOUT_S = 5.0
MAX_JWKS_BYTES = 2**20
GRANTS = ("scope", "scp", "roles", "groups")  # claims that say what a token's subject may do


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


@dataclass(frozen=True)
class StoredKey:
    """What is stored of one key: its sha256 in hex, and its role."""

    sha256: str
    operator: bool = False

    @classmethod
    def of(cls, value: Any) -> StoredKey:
        """Raises ValueError, TypeError or AttributeError for what is no entry."""
        made = (
            cls(value)
            if isinstance(value, str)
            else cls(value["sha256"], {"operator": True, "client": False}[value["role"]])
        )
        if len(bytes.fromhex(made.sha256)) != 32:
            raise ValueError("not every value is a sha256")
        return made

    def to_json(self) -> Any:
        return {"sha256": self.sha256, "role": "operator"} if self.operator else self.sha256


class KeyRing:
    """API keys by name in a JSON file; read anew when the file changes, so that keys rotate.

    A value is the sha256 of a client's key, or {"sha256": .., "role": "operator"}. A key has 256
    random bits: one round of SHA-256 is enough, there is nothing to guess.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, StoredKey] = {}

    def new(self, name: str, *, operator: bool = False) -> str:
        """Make a key called `name` and return it; it cannot be shown again.

        Raises VigilError when there is one already.
        """
        key = PREFIX + secrets.token_urlsafe(32)
        with self._change() as known:
            if not name:
                raise VigilError(
                    "a key needs a name, so that it can be told from others and revoked"
                )
            if name in known:
                raise VigilError(
                    f"there is a key called {name!r} already: "
                    "revoke it first, or choose another name"
                )
            known[name] = StoredKey(hashlib.sha256(key.encode()).hexdigest(), operator)
        return key

    def revoke(self, name: str) -> None:
        """Take the key called `name` out; raises VigilError when there is none."""
        with self._change() as known:
            if known.pop(name, None) is None:
                raise VigilError(
                    f"there is no key called {name!r}; there are {', '.join(known) or 'none'}"
                )

    def read(self) -> dict[str, StoredKey]:
        """What is known of each key by name; raises VigilError when the file is not a key file."""
        try:
            return {
                name: StoredKey.of(value)
                for name, value in json.loads(self.file.read_text()).items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise VigilError(f"{self.file} is not a key file: {error}") from error

    def owner(self, key: str) -> Caller | None:
        """Whose key it is, or None. Compares with all of them, in constant time."""
        self._refresh()
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for name, known in self._known.items():
            if hmac.compare_digest(digest, bytes.fromhex(known.sha256)):
                found = Caller(name, known.operator)
        return found

    def _refresh(self) -> None:
        try:
            stat = self.file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except (
            OSError
        ) as error:  # gone, with all keys; or not to be read now, and the keys stay as they were
            stamp = (0, 0, error.errno or 0)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = self.read()
        except VigilError as error:  # half-made edits lock nobody out, and let nobody in
            log.error("the keys stay as they were: %s", error.message)

    @contextmanager
    def _change(self) -> Iterator[dict[str, StoredKey]]:
        """The keys, written back at the end of the block.

        One change at a time, so that none undoes another.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(self.file.with_name(f".{self.file.name}.lock")):
            known = self.read()
            yield known
            write_json(self.file, {name: key.to_json() for name, key in known.items()})


class TokenVerifier:
    """Bearer tokens (JWT) of one OpenID Connect issuer, for one audience.

    Keys come from the JWKS that the issuer publishes; they are fetched when a token names one that
    is not known, at most every REFETCH_S. When the provider is away the known keys go on working.
    """

    def __init__(
        self, issuer: str, audience: str, jwks_url: str | None = None, operator: str | None = None
    ) -> None:
        # Here: most services have no provider, and need not hold its libraries in memory.
        import jwt

        self._jwt = jwt
        self._issuer = issuer
        self._audience = audience
        self._jwks_url = jwks_url
        self._operator = operator
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def caller(self, token: str) -> Caller:
        """Whom a valid token speaks for; raises Unauthorized (401) or ProviderUnavailable (503)."""
        try:
            key = await self._key(self._jwt.get_unverified_header(token).get("kid"))
            claims: dict[str, Any] = self._jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (self._jwt.PyJWTError, RecursionError) as error:
            raise Unauthorized(f"the bearer token is not accepted: {error}") from error
        return Caller(
            str(claims["sub"]), self._operator is not None and self._operator in _granted(claims)
        )

    async def _key(self, name: str | None) -> jwt.PyJWK:
        age = time.monotonic() - self._fetched
        if age > MAX_AGE_S or (name not in self._keys and age > REFETCH_S):
            await self._refresh(REFETCH_S)
        elif age > MAX_AGE_S / 2 and (self._refreshing is None or self._refreshing.done()):
            # Beside the request: where there is traffic a slow provider delays nobody.
            self._refreshing = asyncio.create_task(self._refresh(MAX_AGE_S / 2))
        if not self._keys:
            raise ProviderUnavailable(f"the keys of {self._issuer} cannot be read now: try again")
        if name not in self._keys:
            raise Unauthorized(
                f"the bearer token is not accepted: {self._issuer} has no key {reprlib.repr(name)}"
            )
        return self._keys[name]

    async def _refresh(self, older_than_s: float) -> None:
        async with self._fetching:
            if time.monotonic() - self._fetched > older_than_s:
                await asyncio.to_thread(self._fetch)
                self._fetched = time.monotonic()

    def _fetch(self) -> None:
        try:
            keys = self._jwt.PyJWKSet.from_dict(
                _document(self._jwks_url or self._discovered())
            ).keys
            self._keys = {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}
        except Exception as error:  # whatever the provider answers, the service goes on
            log.error(
                "the keys of %s cannot be read, the known ones stay: %s: %s",
                self._issuer,
                type(error).__name__,
                error,
            )

    def _discovered(self) -> str:
        found = _document(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if found["issuer"] != self._issuer:  # OpenID Connect Discovery 1.0, section 4.3
            raise ValueError(f"its discovery document is that of {found['issuer']!r}")
        return found["jwks_uri"]


def _granted(claims: dict[str, Any]) -> set[str]:
    """Scopes, roles and groups of a token.

    They are text with spaces, as OAuth has it, or a list, as many providers have it.
    """
    found: set[str] = set()
    for value in (claims.get(name) for name in GRANTS):
        listed = (
            value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        )
        found |= set(map(str, listed))
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from where the settings say, not from where an answer points."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        return None


def _document(url: str) -> Any:
    if not is_secure_url(url):
        raise ValueError(f"{url} is not https")
    with urllib.request.build_opener(_NoRedirect).open(url, timeout=FETCH_TIMEOUT_S) as answer:
        return json.loads(answer.read(MAX_JWKS_BYTES))


class Authenticator:
    """Decides by the headers of a request whether it may come in."""

    def __init__(self, settings: ServeSettings) -> None:
        self.required = settings.auth_required
        self._ring = KeyRing(settings.key_file)
        self._verifier = None
        if settings.oidc_issuer and settings.oidc_audience:
            self._verifier = TokenVerifier(
                settings.oidc_issuer,
                settings.oidc_audience,
                settings.oidc_jwks_url,
                settings.oidc_operator,
            )

    async def caller(self, headers: dict[bytes, bytes]) -> Caller | None:
        """Whose key or token it is; None where nobody need show one. Raises Unauthorized (401)."""
        if not self.required:
            return None
        scheme, _, secret = (
            headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
        )
        if scheme.lower() != "bearer":
            secret = headers.get(b"x-api-key", b"").decode("latin-1")
        secret = secret.strip()
        if not secret:
            raise Unauthorized(
                "send `Authorization: Bearer KEY` or `X-API-Key: KEY`; "
                "`vigil keys new NAME` makes a key"
            )
        if self._verifier is not None and not secret.startswith(PREFIX) and secret.count(".") == 2:
            return await self._verifier.caller(secret)
        caller = self._ring.owner(secret)
        if caller is None:
            raise Unauthorized("the key is not known: it may have been revoked")
        return caller
