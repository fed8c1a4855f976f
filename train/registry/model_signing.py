"""Signatures of bundles that others verify too, in the format of OpenSSF Model Signing.

Beside Vigil's own signature, which is of the digest alone: `model_signing verify key` knows nothing
of Vigil's digest. The names and digests of all files are an in-toto statement, in a DSSE envelope,
in a Sigstore bundle (https://github.com/ossf/model-signing-spec, version 1.0). The format knows no
Ed25519: a key of that kind leaves it out.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from train.registry.signature import Signed, public_pem, sign_message
from vigil.json_types import JsonObject

MODEL_SIGNATURE_FILE = "model.sig"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [],
}


def sign_model(folder: Path, key: str) -> str | None:
    """Return the signature file of a folder by `key`, a file or `awskms:///KEY`.

    None by an Ed25519 key. Raises SigningFailed.
    """
    payload = json.dumps(_statement(folder)).encode()
    signed = sign_message(_encoded(payload), key)
    if not isinstance(signed.public, ec.EllipticCurvePublicKey):
        return None
    return json.dumps(_sigstore_bundle(payload, signed))


def _statement(folder: Path) -> JsonObject:
    """Return the names and digests of all files, by name, and one digest over theirs."""
    resources = [_resource(file, folder) for file in sorted(_files_of(folder))]
    digests = b"".join(bytes.fromhex(each["digest"]) for each in resources)
    whole = hashlib.sha256(digests).hexdigest()
    return {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": folder.name, "digest": {"sha256": whole}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {"serialization": _SERIALIZATION, "resources": resources},
    }


def _files_of(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _resource(file: Path, folder: Path) -> dict[str, str]:
    name = file.relative_to(folder).as_posix()
    return {"name": name, "algorithm": "sha256", "digest": _file_digest(file)}


def _file_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _encoded(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is signed."""
    head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def _sigstore_bundle(payload: bytes, signed: Signed) -> JsonObject:
    hint = hashlib.sha256(public_pem(signed.public)).hexdigest()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": _PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signed.signature).decode(), "keyid": ""}],
    }
    return {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
