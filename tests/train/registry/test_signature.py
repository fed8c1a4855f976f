"""Signatures of bundles: tampered, unsigned, by a stranger, rotated.

Ed25519 files and AWS KMS (moto).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from moto import mock_aws
from sklearn.ensemble import IsolationForest

from train.model.bundle import ModelBundle
from train.registry.candidate import Candidate
from train.registry.signature import (
    SIGNATURE_TAG,
    SigningFailed,
    Trust,
    create_signing_key,
    sign_digest,
)
from train.registry.versions import Registry
from vigil.errors import BundleError

DIGEST, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def key(tmp_path: Path) -> str:
    create_signing_key(tmp_path / "keys" / "one.pem")
    return str(tmp_path / "keys" / "one.pem")


def trust(key: str, *, required: bool = True) -> Trust:
    return Trust.load(Path(key).parent, required)


def test_what_was_signed_is_read_and_nothing_else(key: str, tmp_path: Path) -> None:
    create_signing_key(tmp_path / "stranger" / "key.pem")
    signed, here = sign_digest(DIGEST, key), trust(key)
    here.check(DIGEST, signed)
    signer, _, raw = signed.partition(":")
    for digest, signature, why in (
        (OTHER, signed, "was changed"),
        (DIGEST, f"{signer}:{raw[:-8]}AAAAAAA=", "was changed"),
        (DIGEST, f"{signer}:no base64!", "was changed"),
        (DIGEST, sign_digest(DIGEST, str(tmp_path / "stranger" / "key.pem")), "not trusted"),
        (DIGEST, "nonsense", "not trusted"),
        (DIGEST, None, "not signed"),
        (DIGEST, "", "not signed"),
    ):
        with pytest.raises(BundleError, match=why):
            here.check(digest, signature)


def test_a_signature_that_is_not_required_must_still_be_right(key: str) -> None:
    trust(key, required=False).check(DIGEST, None)
    with pytest.raises(BundleError, match="was changed"):
        trust(key, required=False).check(OTHER, sign_digest(DIGEST, key))
    Trust().check(
        DIGEST, sign_digest(DIGEST, key)
    )  # nobody is trusted by name: nothing is verified


def test_two_keys_are_valid_while_one_replaces_the_other(key: str) -> None:
    new = str(Path(key).with_name("two.pem"))
    create_signing_key(Path(new))
    for each in (key, new):
        trust(key).check(DIGEST, sign_digest(DIGEST, each))
    Path(key).with_suffix(".pub").unlink()
    trust(key).check(DIGEST, sign_digest(DIGEST, new))
    with pytest.raises(BundleError, match="not trusted"):
        trust(key).check(DIGEST, sign_digest(DIGEST, key))


def test_keys_that_cannot_be_used_are_told(key: str, tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="there already"):
        create_signing_key(Path(key))
    assert Path(key).stat().st_mode & 0o77 == 0
    with pytest.raises(SigningFailed, match="cannot be read"):
        sign_digest(DIGEST, str(tmp_path / "absent"))
    with pytest.raises(SigningFailed, match="no public key"):
        Trust.load(tmp_path, required=True)
    (tmp_path / "bad.pub").write_text("-----BEGIN")
    with pytest.raises(SigningFailed, match=r"bad\.pub"):
        Trust.load(tmp_path, required=False)


def test_kms_signs_and_anyone_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("ACCESS_KEY_ID", "x"),
        ("SECRET_ACCESS_KEY", "x"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        client = boto3.client("kms")
        made = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"][
            "KeyId"
        ]
        der = client.get_public_key(KeyId=made)["PublicKey"]
        public = serialization.load_der_public_key(der).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (tmp_path / "kms.pub").write_bytes(public)
        signed = sign_digest(DIGEST, f"awskms:///{made}")
        with pytest.raises(SigningFailed, match="does not sign"):
            sign_digest(DIGEST, "awskms:///absent")
    here = Trust.load(tmp_path, required=True)
    here.check(DIGEST, signed)
    with pytest.raises(BundleError, match="was changed"):
        here.check(OTHER, signed)


def test_a_registered_version_is_signed_and_an_unsigned_one_is_not_downloaded(
    key: str, tmp_path: Path, model: Callable[[int], tuple[IsolationForest, ModelBundle]]
) -> None:
    name, uri = f"vigil-{uuid.uuid4().hex}", f"sqlite:///{tmp_path}/mlflow.db"
    forest, bundle = model(0)

    def registry(signing: str | None) -> Registry:
        return Registry(uri, name, tmp_path / "artifacts", trust=trust(key), signing_key=signing)

    signed, unsigned = (
        registry(signing).register(
            Candidate(forest, bundle, {}, {}, {"job": "a", "trigger": "manual"}, {"passed": True})
        )
        for signing in (key, None)
    )
    assert registry(None).fetch(signed, tmp_path / "cache").schema_hash == bundle.schema_hash
    assert SIGNATURE_TAG not in unsigned.tags
    with pytest.raises(
        BundleError, match="not signed"
    ):  # though the same bundle is in the cache already
        registry(None).fetch(unsigned, tmp_path / "cache")
