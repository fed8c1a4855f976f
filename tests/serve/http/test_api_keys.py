"""API keys: who holds one, and what happens when their file misbehaves."""

from __future__ import annotations

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve.http.api_keys import KeyRing, StoredKey
from serve.http.caller import Caller
from vigil.errors import VigilError


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "state" / "keys.json")


def test_a_key_is_known_by_its_name_until_it_is_revoked(ring: KeyRing) -> None:
    first, second = ring.new("first"), ring.new("second")
    assert [ring.owner(key) for key in (first, second)] == [Caller("first"), Caller("second")]
    assert first.startswith("vigil_")
    assert len(first) > 40
    ring.revoke("first")
    assert [ring.owner(key) for key in (first, second)] == [None, Caller("second")]


def test_another_process_changes_the_file(ring: KeyRing) -> None:
    assert ring.owner("vigil_x") is None
    other = KeyRing(ring.file)
    key = other.new("late")
    assert ring.owner(key) == Caller("late")
    ring.file.unlink()
    assert ring.owner(key) is None


@pytest.mark.parametrize("wrong", ["", " ", "vigil_", "vigil_x", "\udce9", "x" * 10_000])
def test_unknown_keys(ring: KeyRing, wrong: str) -> None:
    key = ring.new("mine")
    for unknown in (wrong, key + wrong, key[:-1], key.upper(), f"{key}\0"):
        assert (ring.owner(unknown) is None) == (unknown != key)


def test_only_hashes_are_stored(ring: KeyRing) -> None:
    key = ring.new("mine")
    assert key not in ring.file.read_text()
    assert key[6:] not in ring.file.read_text()
    assert ring.read() == {"mine": StoredKey(hashlib.sha256(key.encode()).hexdigest())}
    assert json.loads(ring.file.read_text()) == {"mine": hashlib.sha256(key.encode()).hexdigest()}


def test_names_are_given_once_and_must_be(ring: KeyRing) -> None:
    ring.new("mine")
    for name in ("mine", ""):
        with pytest.raises(VigilError):
            ring.new(name)
    with pytest.raises(VigilError, match="mine"):
        ring.revoke("other")
    assert list(ring.read()) == ["mine"]


def test_no_change_undoes_another(ring: KeyRing) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(ring.new, [str(k) for k in range(24)]))
        list(pool.map(ring.revoke, [str(k) for k in range(0, 24, 2)]))
    assert sorted(caller.name for key in keys if (caller := ring.owner(key))) == sorted(
        str(k) for k in range(1, 24, 2)
    )


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 3}', '{"a": "zz"}', '{"a": "abcd"}', '"x"', "null", "\udcff"]
)
def test_a_broken_file_lets_nobody_in_and_locks_nobody_out(ring: KeyRing, text: str) -> None:
    key = ring.new("mine")
    assert ring.owner(key) == Caller("mine")
    ring.file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert ring.owner(key) == Caller("mine")
    assert ring.owner("vigil_x") is None
    for change in (ring.new, ring.revoke):
        with pytest.raises(VigilError, match="not a key file"):
            change("other")
    assert KeyRing(ring.file).owner(key) is None


def test_a_folder_that_cannot_be_entered_keeps_what_was_known(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "state" / "keys.json")
    key = ring.new("mine")
    assert ring.owner(key) == Caller("mine")
    (tmp_path / "state").rename(tmp_path / "other")
    (
        tmp_path / "state"
    ).touch()  # now a file: looking into it is an error of another kind than absence
    assert ring.owner(key) == Caller("mine")


def test_each_known_key_is_compared_in_constant_time(tmp_path: Path) -> None:
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return hmac.compare_digest(a, b)

    ring = KeyRing(tmp_path / "keys.json", compare)
    keys = [ring.new(str(k)) for k in range(3)]
    assert ring.owner(keys[0]) == Caller("0")
    assert len(compared) == 3


def test_an_operators_key_is_one_and_the_file_of_before_is_read(ring: KeyRing) -> None:
    old, new = ring.new("old"), ring.new("new", operator=True)
    assert [ring.owner(key) for key in (old, new)] == [Caller("old"), Caller("new", operator=True)]
    stored = json.loads(ring.file.read_text())
    assert stored["old"] == hashlib.sha256(old.encode()).hexdigest()
    assert stored["new"] == {"sha256": hashlib.sha256(new.encode()).hexdigest(), "role": "operator"}
    for role in ("admin", None, "Operator"):
        ring.file.write_text(json.dumps({"x": {**stored["new"], "role": role}}))
        with pytest.raises(VigilError, match="not a key file"):
            ring.read()
