"""Signatures of bundles: who registers a version signs its digest, who serves it verifies that before a byte is read.

The key is an Ed25519 file, or an asymmetric key in AWS KMS that never leaves it (ECDSA over P-256). Several public keys may be
trusted at once, so that keys rotate: trust the new one, sign with it, and drop the old when no version needs it any more.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from vigil.errors import BundleError, VigilError

SIGNATURE_TAG = "signature"
KMS_SCHEME = "awskms:///"
SIGNED_PREFIX = b"vigil bundle 1\n"  # what is signed is this and the digest: a signature of something else is none of a bundle
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


class SigningFailed(VigilError):
    """The key cannot be used."""


def create_signing_key(path: Path) -> str:
    """Make an Ed25519 key: the private part at `path`, readable by its owner, the public one beside it as `.pub`.

    Returns the key's id. Raises SigningFailed when there is one already.
    """
    if path.exists():
        raise SigningFailed(f"{path} is there already: a key is never overwritten")
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(private)
    path.with_suffix(".pub").write_bytes(_pem(key.public_key()))
    return key_id(key.public_key())


def sign_digest(digest: str, key: str) -> str:
    """The signature `ID:BASE64` of a bundle's digest by `key`, a file or `awskms:///KEY`. Raises SigningFailed."""
    message = SIGNED_PREFIX + digest.encode()
    if key.startswith(KMS_SCHEME):
        public, signature = _kms_sign(key.removeprefix(KMS_SCHEME), message)
    else:
        try:
            private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningFailed(f"the signing key {key} cannot be read: {error}") from error
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise SigningFailed(
                f"the signing key {key} is no Ed25519 key: `vigil keys signing FILE` makes one"
            )
        public, signature = private.public_key(), private.sign(message)
    return f"{key_id(public)}:{base64.b64encode(signature).decode()}"


def _kms_sign(key: str, message: bytes) -> tuple[PublicKey, bytes]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client: Any = boto3.client("kms")
        signature = client.sign(
            KeyId=key, Message=message, MessageType="RAW", SigningAlgorithm="ECDSA_SHA_256"
        )["Signature"]
        return _public(
            serialization.load_der_public_key(client.get_public_key(KeyId=key)["PublicKey"]), key
        ), signature
    except (BotoCoreError, ClientError) as error:
        raise SigningFailed(f"AWS KMS does not sign with {key}: {error}") from error


def key_id(key: PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the public key."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()[:16]


@dataclass(frozen=True)
class Trust:
    """Whose bundles are read. `required`: also one without a signature is refused; a wrong signature always is."""

    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    required: bool = False

    @classmethod
    def load(cls, folder: Path | None, required: bool) -> Trust:
        """The public keys (`*.pub`, PEM) in `folder`. Raises SigningFailed when one cannot be read, or none is there."""
        keys = {}
        for file in sorted(folder.glob("*.pub")) if folder is not None else ():
            try:
                public = _public(serialization.load_pem_public_key(file.read_bytes()), str(file))
            except (OSError, ValueError, UnsupportedAlgorithm) as error:
                raise SigningFailed(f"the public key {file} cannot be read: {error}") from error
            keys[key_id(public)] = public
        if required and not keys:
            raise SigningFailed(
                f"signatures are required, but there is no public key (*.pub) in {folder}"
            )
        return cls(keys, required)

    def check(self, digest: str, signature: str | None) -> None:
        """Raises BundleError unless the digest is signed by a trusted key, or need not be."""
        if not signature:
            if self.required:
                raise BundleError("the version is not signed, and only signed ones are served")
            return
        if not self.keys:
            return  # nobody said whom to trust
        signer, _, encoded = signature.partition(":")
        public = self.keys.get(signer)
        if public is None:
            raise BundleError(
                f"the version is signed by {signer[:16]!r}, which is not trusted here"
            )
        try:
            raw, message = base64.b64decode(encoded, validate=True), SIGNED_PREFIX + digest.encode()
            if isinstance(public, ed25519.Ed25519PublicKey):
                public.verify(raw, message)
            else:
                public.verify(raw, message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise BundleError(
                f"the signature of the version is not {signer}'s: it or the digest was changed"
            ) from error


def _public(key: object, where: str) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        return key
    raise SigningFailed(f"{where} is neither an Ed25519 nor an elliptic-curve key")


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
