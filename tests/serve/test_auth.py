"""Who may call: keys of which only hashes are kept, and bearer tokens of a real local provider."""

from __future__ import annotations

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
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from serve import auth
from serve.auth import Authenticator, KeyRing, ProviderUnavailable, TokenVerifier, Unauthorized
from serve.settings import ServeSettings
from train.errors import VigilError


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys.json")


def test_a_key_has_an_owner_until_it_is_revoked(ring: KeyRing) -> None:
    one, two = ring.new("one"), ring.new("two")
    assert (ring.owner(one), ring.owner(two), ring.owner(one[:-1]), ring.owner("")) == ("one", "two", None, None)
    ring.revoke("one")
    assert (ring.owner(one), ring.owner(two)) == (None, "two")


def test_only_hashes_are_stored_and_names_are_unique(ring: KeyRing) -> None:
    key = ring.new("one")
    assert key not in ring.file.read_text()
    with pytest.raises(VigilError, match="already"):
        ring.new("one")
    with pytest.raises(VigilError, match="no key called 'two'"):
        ring.revoke("two")


def test_a_broken_file_changes_nothing_and_is_told(ring: KeyRing) -> None:
    key = ring.new("one")
    assert ring.owner(key) == "one"
    ring.file.write_text('{"one": "no hash"}')
    assert ring.owner(key) == "one"
    with pytest.raises(VigilError, match="not a key file"):
        ring.read()
    ring.file.unlink()
    assert ring.owner(key) is None


@dataclass
class Provider:
    """An OpenID Connect provider: its discovery document and its keys."""

    url: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    fetches: int = 0

    def token(self, kid: str = "a", key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        said = {"iss": self.url, "aud": "vigil", "sub": "ann", "exp": time.time() + 60, **claims}
        return jwt.encode(said, key or self.keys[kid], algorithm, {"kid": kid})

    def answer(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {"jwks_uri": f"{self.url}/jwks"}
        self.fetches += 1
        made = []
        for kid, key in self.keys.items():
            is_rsa = isinstance(key, rsa.RSAPrivateKey)
            public = RSAAlgorithm.to_jwk(key.public_key()) if is_rsa else ECAlgorithm.to_jwk(key.public_key())
            made.append({**json.loads(public), "kid": kid, "use": "sig"})
        return {"keys": made}


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider(keys={"a": rsa.generate_private_key(65537, 2048), "b": ec.generate_private_key(ec.SECP256R1())})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(found.answer(self.path)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


async def test_tokens_of_the_provider_are_accepted(provider: Provider) -> None:
    verifier = TokenVerifier(provider.url, "vigil")
    assert await verifier.subject(provider.token()) == "ann"
    assert await verifier.subject(provider.token("b", algorithm="ES256", sub="bob")) == "bob"
    assert provider.fetches == 1


async def test_other_tokens_are_refused(provider: Provider) -> None:
    verifier, stranger = TokenVerifier(provider.url, "vigil"), rsa.generate_private_key(65537, 2048)
    head, body, signature = provider.token().split(".")
    bad = [
        provider.token(exp=time.time() - 60), provider.token(aud="other"), provider.token(iss="https://other"),
        provider.token(key=stranger), f"{head}.{body[:-2]}AA.{signature}", f"{head}.{body}.", "a.b.c",
        provider.token(key="secret" * 8, algorithm="HS256"), jwt.encode({"sub": "ann"}, "", "none"),
    ]  # fmt: skip
    for token in bad:
        with pytest.raises(Unauthorized):
            await verifier.subject(token)


async def test_an_unknown_key_is_asked_for_but_not_by_everybody(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = TokenVerifier(provider.url, "vigil")
    await verifier.subject(provider.token())
    provider.keys["c"] = rsa.generate_private_key(65537, 2048)
    for _ in range(5):
        with pytest.raises(Unauthorized, match="no key 'c'"):
            await verifier.subject(provider.token("c"))
    assert provider.fetches == 1
    monkeypatch.setattr(auth, "REFETCH_S", 0.0)
    assert await verifier.subject(provider.token("c")) == "ann"


async def test_a_provider_that_is_away(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, fresh = TokenVerifier(provider.url, "vigil"), TokenVerifier("http://127.0.0.1:9", "vigil")
    await verifier.subject(provider.token())
    monkeypatch.setattr(provider, "answer", lambda path: {"no": "keys"})
    monkeypatch.setattr(auth, "REFETCH_S", 0.0)
    with pytest.raises(Unauthorized):
        await verifier.subject(jwt.encode({}, provider.keys["a"], "RS256", {"kid": "z"}))
    assert await verifier.subject(provider.token()) == "ann"
    with pytest.raises(ProviderUnavailable):
        await fresh.subject(provider.token())


@pytest.mark.parametrize(("host", "mode", "required"), [
    ("127.0.0.1", "auto", False), ("localhost", "auto", False), ("::1", "auto", False), ("0.0.0.0", "auto", True),
    ("10.0.0.1", "auto", True), ("0.0.0.0", "off", False), ("127.0.0.1", "required", True),
])  # fmt: skip
def test_a_key_is_asked_for_as_soon_as_others_can_reach_the_service(host: str, mode: Any, required: bool) -> None:
    assert ServeSettings(host=host, auth=mode).auth_required is required


@pytest.mark.parametrize("wrong", [
    {"oidc_issuer": "https://a"}, {"oidc_audience": "a"}, {"oidc_issuer": "http://a.example", "oidc_audience": "a"},
])  # fmt: skip
def test_half_a_provider_or_one_in_the_clear_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServeSettings(**wrong)


async def test_the_headers_that_open_the_door(tmp_path: Path, provider: Provider) -> None:
    settings = ServeSettings(home=tmp_path, auth="required", oidc_issuer=provider.url, oidc_audience="vigil")
    key = KeyRing(settings.key_file).new("team").encode()
    door, token = Authenticator(settings), provider.token().encode()
    for headers, caller in (
        ({b"authorization": b"Bearer " + key}, "team"), ({b"x-api-key": key}, "team"),
        ({b"authorization": b"bearer " + token}, "ann"),
    ):  # fmt: skip
        assert await door.caller(headers) == caller
    for headers in ({}, {b"authorization": b"Bearer "}, {b"authorization": b"Basic " + key}, {b"x-api-key": b"\xff\xfe"}):
        with pytest.raises(Unauthorized):
            await door.caller(headers)
    assert await Authenticator(ServeSettings(home=tmp_path)).caller({}) is None
