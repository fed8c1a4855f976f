"""Signatures of bundles: who registers a version signs its digest, who serves it verifies that
before a byte is read.

The key is a file, or an asymmetric key in AWS KMS that never leaves it, in both for ECDSA over
P-256; older files hold an Ed25519 key. Several public keys may be trusted at once, so that keys
rotate: trust the new one, sign with it, and drop the old when no version needs it any more.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from vigil.aws import AwsError, aws_client, aws_errors
from vigil.errors import BundleError, VigilError
from vigil.settings import TrustSettings

SIGNATURE_TAG = "signature"
KMS_SCHEME = "awskms:///"
# What is signed is this and the digest: a signature of something else is none of a bundle.
SIGNED_PREFIX = b"vigil bundle 1\n"
_ID_CHARACTERS = 16
_ECDSA = ec.ECDSA(hashes.SHA256())
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class SigningFailed(VigilError):
    """The key cannot be used."""


def create_signing_key(path: Path) -> str:
    """Create a key of ECDSA over P-256: the private part at `path`, readable by its owner, the
    public one beside it as `.pub`.

    Returns the key's id. Raises SigningFailed when there is one already.
    """
    if path.exists():
        raise SigningFailed(f"{path} is there already: a key is never overwritten")
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(_private_pem(key))
    path.with_suffix(".pub").write_bytes(public_pem(public))
    return key_id(public)


def sign_digest(digest: str, key: str) -> str:
    """Return the signature `ID:BASE64` of a bundle's digest by `key`, a file or `awskms:///KEY`.

    Raises SigningFailed.
    """
    signed = sign_message(_message(digest), key)
    return f"{key_id(signed.public)}:{base64.b64encode(signed.signature).decode()}"


class Signed(NamedTuple):
    """A signature, and the public key that verifies it."""

    public: PublicKey
    signature: bytes


def sign_message(message: bytes, key: str) -> Signed:
    """Sign up to 4096 bytes by `key`, a file or `awskms:///KEY`. Raises SigningFailed."""
    if key.startswith(KMS_SCHEME):
        return _sign_with_kms(key.removeprefix(KMS_SCHEME), message)
    return _sign_with_file(key, message)


def key_id(key: PublicKey) -> str:
    """Return the first 16 hex digits of the SHA-256 of the public key."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()[:_ID_CHARACTERS]


@dataclass(frozen=True)
class Trust:
    """Whose bundles are read.

    keys: public keys by id
    required: also a bundle without a signature is refused; a wrong signature always is
    """

    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    required: bool = False

    @classmethod
    def from_settings(cls) -> Trust:
        """Return trust as VIGIL_TRUSTED_KEYS and VIGIL_REQUIRE_SIGNATURE have it.

        Raises SigningFailed as `load` does.
        """
        settings = TrustSettings()
        return cls.load(settings.trusted_keys, settings.require_signature)

    @classmethod
    def load(cls, folder: Path | None, required: bool) -> Trust:
        """Return trust in the public keys (`*.pub`, PEM) in `folder`.

        Raises SigningFailed when one cannot be read, or none is there and one is required.
        """
        files = sorted(folder.glob("*.pub")) if folder is not None else []
        keys = [_read_public_key(file) for file in files]
        if required and not keys:
            raise SigningFailed(
                f"signatures are required, but there is no public key (*.pub) in {folder}"
            )
        return cls({key_id(key): key for key in keys}, required)

    def check(self, digest: str, signature: str | None) -> None:
        """Raise BundleError unless the digest is signed by a trusted key, or need not be."""
        if signature and self.keys:
            self._verify(digest, signature)
        elif self.required and not signature:
            raise BundleError("the version is not signed, and only signed ones are served")

    def _verify(self, digest: str, signature: str) -> None:
        signer, _, encoded = signature.partition(":")
        key = self._key_of(signer)
        try:
            _verify(
                key,
                base64.b64decode(encoded, validate=True),
                _message(digest),
            )
        except (InvalidSignature, ValueError) as error:
            raise BundleError(
                f"the signature of the version is not {signer}'s: it or the digest was changed"
            ) from error

    def _key_of(self, signer: str) -> PublicKey:
        key = self.keys.get(signer)
        if key is None:
            raise BundleError(
                f"the version is signed by {signer[:_ID_CHARACTERS]!r}, which is not trusted here"
            )
        return key


def _message(digest: str) -> bytes:
    return SIGNED_PREFIX + digest.encode()


def _verify(
    key: PublicKey,
    signature: bytes,
    message: bytes,
) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    else:
        key.verify(
            signature,
            message,
            _ECDSA,
        )


def _sign_with_file(file: str, message: bytes) -> Signed:
    private = _read_private_key(file)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return Signed(private.public_key(), private.sign(message))
    signature = private.sign(message, _ECDSA)
    return Signed(private.public_key(), signature)


def _read_private_key(file: str) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(Path(file).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningFailed(f"the signing key {file} cannot be read: {error}") from error
    if isinstance(key, ed25519.Ed25519PrivateKey) or _is_p256(key):
        return key
    raise SigningFailed(
        f"the signing key {file} is neither a P-256 nor an Ed25519 key:"
        " `vigil keys signing FILE` makes one"
    )


def _is_p256(key: object) -> TypeGuard[ec.EllipticCurvePrivateKey]:
    is_of_a_curve = isinstance(key, ec.EllipticCurvePrivateKey)
    return is_of_a_curve and isinstance(key.curve, ec.SECP256R1)


def _read_public_key(file: Path) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningFailed(f"the public key {file} cannot be read: {error}") from error
    return _supported(key, str(file))


def _sign_with_kms(key: str, message: bytes) -> Signed:
    try:
        with aws_errors():
            client = aws_client("kms")
            answer = client.sign(
                KeyId=key,
                Message=message,
                MessageType="RAW",
                SigningAlgorithm="ECDSA_SHA_256",
            )
            public = client.get_public_key(KeyId=key)["PublicKey"]
    except AwsError as error:
        raise SigningFailed(f"AWS KMS does not sign with {key}: {error}") from error
    loaded = _supported(serialization.load_der_public_key(public), key)
    return Signed(loaded, answer["Signature"])


def _supported(key: object, source: str) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        return key
    raise SigningFailed(f"{source} is neither an Ed25519 nor an elliptic-curve key")


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key: PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
