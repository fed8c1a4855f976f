"""Bearer tokens: who is let in, and who is not; also when the provider misbehaves."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from serve.http.api_keys import KeyRing
from serve.http.auth import Authenticator
from serve.http.caller import Caller, ProviderUnavailable, Unauthorized
from serve.http.provider_keys import KeyLimits, ProviderKeys
from serve.http.tokens import TokenVerifier
from serve.settings import ServeSettings

LIMITS = KeyLimits()
DEADLINE_S = 10.0

AUDIENCE = "vigil"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
TO_JWK: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def jwk(algorithm: str, name: str | None = None) -> dict[str, Any]:
    about = {"kid": name or algorithm, "alg": algorithm, "use": "sig"}
    return TO_JWK[algorithm].to_jwk(KEYS[algorithm].public_key(), as_dict=True) | about


@dataclass
class Provider:
    """An OpenID Connect provider on this machine.

    `answers` replaces what a path gives: bytes, or a status.
    """

    url: str = ""
    keys: list[dict[str, Any]] = field(
        default_factory=lambda: [jwk(algorithm) for algorithm in KEYS]
    )
    answers: dict[str, bytes | int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes | int:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        found = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
            },
            "/jwks": {"keys": self.keys},
        }.get(path)
        return json.dumps(found).encode() if found else 404


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = made.answer(self.path)
            if answer == 0:
                return  # closes the connection without a word
            self.send_response(answer if isinstance(answer, int) else 200)
            if answer == 302:
                self.send_header("Location", f"{made.url}/elsewhere")
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else b"")

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def clock() -> list[float]:
    """Seconds that the verifier believes have passed."""
    return [1000.0]


@pytest.fixture
def verifier(provider: Provider, clock: list[float]) -> TokenVerifier:
    keys = ProviderKeys(provider.url, limits=LIMITS, clock=lambda: clock[0])
    return TokenVerifier(provider.url, AUDIENCE, keys)


def verifier_of(provider: Provider, operator: str | None = None) -> TokenVerifier:
    """A verifier that is given the URL of the keys."""
    keys = ProviderKeys(provider.url, f"{provider.url}/jwks")
    return TokenVerifier(provider.url, AUDIENCE, keys, operator)


def token(
    provider: Provider,
    algorithm: str = "RS256",
    *,
    kid: str | None = None,
    key: Any = None,
    **claims: Any,
) -> str:
    usual = {"iss": provider.url, "aud": AUDIENCE, "sub": "someone", "exp": time.time() + 60}
    given = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(given, key or KEYS[algorithm], algorithm, headers={"kid": kid or algorithm})


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


async def is_accepted(verifier: TokenVerifier, given: str) -> bool:
    try:
        await verifier.caller(given)
    except Unauthorized:
        return False
    return True


async def refused(verifier: TokenVerifier, bad: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        await verifier.caller(bad)
    assert caught.value.status == 401
    assert len(caught.value.message) < 500
    return caught.value.message


@pytest.mark.parametrize("algorithm", KEYS)
async def test_good_tokens(provider: Provider, verifier: TokenVerifier, algorithm: str) -> None:
    assert await verifier.caller(token(provider, algorithm)) == Caller("someone")
    assert await verifier.caller(
        token(provider, algorithm, aud=["other", AUDIENCE], exp=time.time() - 5)
    ) == Caller("someone")
    assert provider.asked == ["/.well-known/openid-configuration", "/jwks"]


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"aud": "other"}, "Audience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://other.example"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"sub": None}, "sub"),
        ({"sub": 3}, "Subject"),
        ({"nbf": 2**40}, "not yet"),
        ({"exp": "soon"}, "Expiration"),
    ],
)
async def test_claims_that_do_not_fit(
    provider: Provider, verifier: TokenVerifier, claims: dict[str, Any], word: str
) -> None:
    assert word.lower() in (await refused(verifier, token(provider, **claims))).lower()


@pytest.mark.parametrize("algorithm", KEYS)
async def test_tampered_tokens(provider: Provider, verifier: TokenVerifier, algorithm: str) -> None:
    head, payload, signature = token(provider, algorithm).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    other = b64(json.dumps(claims | {"sub": "root"}).encode())
    wrong = b64(
        bytes([base64.urlsafe_b64decode(signature + "==")[0] ^ 1])
        + base64.urlsafe_b64decode(signature + "==")[1:]
    )
    for bad in (
        f"{head}.{other}.{signature}",
        f"{head}.{payload}.{wrong}",
        f"{head}.{payload}.",
        f"{head}.{payload}.\u00e9",
    ):
        await refused(verifier, bad)


async def test_algorithms_that_prove_nothing(provider: Provider, verifier: TokenVerifier) -> None:
    """No signature at all, and the public key, which everybody has, taken for a shared secret."""
    _, payload, _ = token(provider).split(".")
    for algorithm in ("none", "None", "nOnE", ""):
        head = b64(json.dumps({"alg": algorithm, "kid": "RS256"}).encode())
        await refused(verifier, f"{head}.{payload}.")
    public = (
        KEYS["RS256"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head = b64(json.dumps({"alg": "HS256", "kid": "RS256"}).encode())
    signature = b64(hmac.digest(public, f"{head}.{payload}".encode(), "sha256"))
    await refused(verifier, f"{head}.{payload}.{signature}")


async def test_a_shared_secret_that_the_provider_publishes_is_no_key(
    provider: Provider, verifier: TokenVerifier
) -> None:
    provider.keys = [{"kty": "oct", "k": b64(b"k" * 32), "kid": "shared", "alg": "HS256"}]
    await refused(verifier, token(provider, "HS256", kid="shared", key=b"k" * 32))


async def test_a_token_signed_by_another_key_of_the_provider(
    provider: Provider, verifier: TokenVerifier
) -> None:
    await refused(verifier, token(provider, "RS256", key=rsa.generate_private_key(65537, 2048)))
    await refused(verifier, token(provider, "ES256", kid="RS256"))


@pytest.mark.parametrize(
    "bad",
    [
        "..",
        "a.b.c",
        "e30.e30.e30",
        f"{b64(b'[]')}.e30.e30",
        f"{b64(b'[' * 9000)}.e30.e30",
        "\u00e9.\u00e9.\u00e9",
        f"{b64(json.dumps({'alg': 'RS256', 'kid': 3}).encode())}.e30.e30",
        f"{b64(json.dumps({'alg': 'RS256', 'kid': 'x' * 9000}).encode())}.e30.e30",
    ],
)
async def test_what_is_no_token(verifier: TokenVerifier, bad: str) -> None:
    await refused(verifier, bad)


async def test_a_key_that_is_not_for_signatures(
    provider: Provider, verifier: TokenVerifier
) -> None:
    provider.keys = [jwk("ES256"), jwk("RS256") | {"use": "enc"}]
    assert "no key" in await refused(verifier, token(provider, "RS256"))


async def test_unknown_keys_ask_the_provider_now_and_then(
    provider: Provider, verifier: TokenVerifier, clock: list[float]
) -> None:
    await verifier.caller(token(provider))
    for _ in range(20):
        assert "no key" in await refused(verifier, token(provider, kid="new"))
    assert provider.asked.count("/jwks") == 1
    clock[0] += LIMITS.refetch_s + 1
    provider.keys.append(jwk("RS256", "new"))
    assert await verifier.caller(token(provider, kid="new")) == Caller("someone")
    assert provider.asked.count("/jwks") == 2


@pytest.mark.parametrize(
    "answer",
    [
        0,
        500,
        302,
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"keys": []}',
        b'{"keys": [3]}',
        b"[" * 90_000,
        b'{"keys": {"a": 1}}',
        b'{"keys": [{"kty": "RSA"}]}',
        b"\xff",
        b" " * 2**21,
    ],
)
async def test_a_provider_that_fails_keeps_the_known_keys(
    provider: Provider, verifier: TokenVerifier, clock: list[float], answer: Any
) -> None:
    provider.answers["/jwks"] = answer
    with pytest.raises(ProviderUnavailable) as caught:
        await verifier.caller(token(provider))
    assert caught.value.status == 503
    del provider.answers["/jwks"]
    clock[0] += LIMITS.refetch_s + 1
    assert await verifier.caller(token(provider)) == Caller("someone")
    provider.answers["/jwks"] = answer
    clock[0] += LIMITS.max_age_s + 1
    assert await verifier.caller(token(provider)) == Caller("someone")
    assert provider.asked.count("/jwks") == 3
    assert "/elsewhere" not in provider.asked


async def test_a_withdrawn_key_is_not_believed_for_long(
    provider: Provider, verifier: TokenVerifier, clock: list[float]
) -> None:
    await verifier.caller(token(provider))
    provider.keys = [jwk("ES256")]
    clock[0] += LIMITS.max_age_s / 2 - 1
    assert await verifier.caller(token(provider)) == Caller("someone")
    clock[0] += LIMITS.max_age_s / 2 + 2
    await refused(verifier, token(provider))


async def test_with_traffic_keys_are_renewed_beside_the_requests(
    provider: Provider, verifier: TokenVerifier, clock: list[float]
) -> None:
    await verifier.caller(token(provider))
    provider.keys = [jwk("ES256")]
    clock[0] += LIMITS.max_age_s / 2 + 1
    assert [await verifier.caller(token(provider)) for _ in range(3)] == [Caller("someone")] * 3
    deadline = time.monotonic() + DEADLINE_S
    while await is_accepted(verifier, token(provider)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert provider.asked.count("/jwks") == 2


async def test_a_key_without_an_id_signs_tokens_without_one(
    provider: Provider, verifier: TokenVerifier
) -> None:
    provider.keys = [{name: value for name, value in jwk("RS256").items() if name != "kid"}]
    claims = {"iss": provider.url, "aud": AUDIENCE, "sub": "someone", "exp": time.time() + 60}
    nameless = jwt.encode(claims, KEYS["RS256"], "RS256")
    assert await verifier.caller(nameless) == Caller("someone")
    assert "no key" in await refused(verifier, token(provider))


@pytest.mark.parametrize(
    "uri", ["http://keys.example/jwks", "file:///etc/passwd", "ftp://127.0.0.1/x", 3, None]
)
async def test_keys_are_read_over_https_only(
    provider: Provider, verifier: TokenVerifier, uri: Any
) -> None:
    found = json.dumps({"issuer": provider.url, "jwks_uri": uri}).encode()
    provider.answers["/.well-known/openid-configuration"] = found
    with pytest.raises(ProviderUnavailable):
        await verifier.caller(token(provider))


async def test_a_discovery_document_of_another_issuer(
    provider: Provider, verifier: TokenVerifier
) -> None:
    found = json.dumps(
        {"issuer": "https://other.example", "jwks_uri": f"{provider.url}/jwks"}
    ).encode()
    provider.answers["/.well-known/openid-configuration"] = found
    with pytest.raises(ProviderUnavailable):
        await verifier.caller(token(provider))
    assert await verifier_of(provider).caller(token(provider)) == Caller("someone")


async def test_keys_and_tokens_side_by_side(provider: Provider, tmp_path: Path) -> None:
    settings = ServeSettings(
        auth="required",
        keys_file=tmp_path / "keys.json",
        oidc_issuer=provider.url,
        oidc_audience=AUDIENCE,
    )
    key = KeyRing(settings.key_file).new("mine")
    door = Authenticator(settings)
    assert await door.caller({b"authorization": f"Bearer {key}".encode()}) == Caller("mine")
    assert await door.caller({b"x-api-key": key.encode()}) == Caller("mine")
    assert await door.caller({b"authorization": f"Bearer {token(provider)}".encode()}) == Caller(
        "someone"
    )
    for wrong in (token(provider, exp=1), "vigil_a.b.c", "nothing"):
        with pytest.raises(Unauthorized):
            await door.caller({b"authorization": f"Bearer {wrong}".encode()})


async def test_without_a_provider_a_token_is_just_a_wrong_key(
    provider: Provider, tmp_path: Path
) -> None:
    door = Authenticator(ServeSettings(auth="required", keys_file=tmp_path / "keys.json"))
    with pytest.raises(Unauthorized):
        await door.caller({b"authorization": f"Bearer {token(provider)}".encode()})
    assert not provider.asked


OPERATE = "vigil:operate"


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": f"openid {OPERATE}"},
        {"scp": [OPERATE]},
        {"roles": ["a", OPERATE]},
        {"groups": [OPERATE]},
    ],
)
async def test_tokens_of_operators_say_so(provider: Provider, claims: dict[str, Any]) -> None:
    named = verifier_of(provider, OPERATE)
    assert await named.caller(token(provider, **claims)) == Caller("someone", operator=True)
    assert await named.caller(
        token(provider, scope="vigil:operate2 vigil", roles={"vigil:operate": 1})
    ) == Caller("someone")
    unnamed = verifier_of(provider)
    assert await unnamed.caller(token(provider, **claims)) == Caller("someone")
