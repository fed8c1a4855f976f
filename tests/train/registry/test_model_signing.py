"""OpenSSF's own `model_signing` verifies what Vigil signs, and so does a replica."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from sklearn.ensemble import IsolationForest

from train.model.bundle import ModelBundle
from train.registry.candidate import Candidate
from train.registry.model_signing import MODEL_SIGNATURE_FILE, sign_model
from train.registry.signature import Trust, create_signing_key
from train.registry.versions import Registry, Version
from vigil.errors import BundleError


def verify(folder: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """What the tool says of a bundle with the signature beside it."""
    signature = folder.with_name(MODEL_SIGNATURE_FILE)
    command = [sys.executable, "-W", "ignore", "-m", "model_signing", "verify", "key", str(folder)]
    return subprocess.run(
        [*command, "--signature", str(signature), "--public_key", str(key)],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def signed(
    tmp_path: Path, model: Callable[[int], tuple[IsolationForest, ModelBundle]]
) -> tuple[Registry, Version]:
    """A version that was registered and signed, in a registry that trusts its key alone."""
    create_signing_key(tmp_path / "keys" / "one.pem")
    registry = Registry(
        f"sqlite:///{tmp_path}/mlflow.db",
        f"vigil-{uuid.uuid4().hex}",
        tmp_path / "artifacts",
        trust=Trust.load(tmp_path / "keys", required=True),
        signing_key=str(tmp_path / "keys" / "one.pem"),
    )
    forest, bundle = model(0)
    tags = {"job": "a", "trigger": "manual"}
    version = registry.register(Candidate(forest, bundle, {}, {}, tags, {"passed": True}))
    return registry, version


def test_others_verify_a_bundle_and_refuse_one_with_a_flipped_bit(
    signed: tuple[Registry, Version], tmp_path: Path
) -> None:
    registry, version = signed
    [signature] = (tmp_path / "artifacts").rglob(MODEL_SIGNATURE_FILE)
    folder = signature.with_name("bundle")
    public = tmp_path / "keys" / "one.pub"
    fresh = verify(folder, public)
    assert (fresh.returncode, fresh.stdout) == (0, "Verification succeeded\n"), fresh.stderr
    create_signing_key(tmp_path / "stranger.pem")
    assert verify(folder, tmp_path / "stranger.pub").returncode == 1
    registry.fetch(version, tmp_path / "cache")
    forest = folder / "forest.safetensors"
    content = bytearray(forest.read_bytes())
    content[-1] ^= 1
    forest.write_bytes(content)
    flipped = verify(folder, public)
    assert flipped.returncode == 1
    assert "forest.safetensors" in flipped.stderr
    with pytest.raises(BundleError, match="refuse to load it"):
        registry.fetch(version, tmp_path / "another-cache")


def test_a_file_that_was_added_or_is_missing_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.json").write_text("{}")
    (folder / "b.json").write_text("[]")
    create_signing_key(tmp_path / "key.pem")
    text = sign_model(folder, str(tmp_path / "key.pem"))
    assert text is not None
    folder.with_name(MODEL_SIGNATURE_FILE).write_text(text)
    public = tmp_path / "key.pub"
    assert verify(folder, public).returncode == 0
    (folder / "c.json").write_text("")
    assert verify(folder, public).returncode == 1
    (folder / "c.json").unlink()
    shutil.rmtree(folder / "inner")
    assert verify(folder, public).returncode == 1


def test_an_older_key_signs_for_vigil_alone(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "old.pem").write_bytes(pem)
    (tmp_path / "bundle").mkdir()
    assert sign_model(tmp_path / "bundle", str(tmp_path / "old.pem")) is None
