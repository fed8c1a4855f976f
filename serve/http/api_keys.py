"""API keys, of which only hashes are stored."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.http.caller import Caller
from vigil.errors import VigilError
from vigil.home import write_json
from vigil.locks import hold_lock

log = logging.getLogger("ray.serve")
KEY_PREFIX = "vigil_"  # secret scanners find a leaked key by it
_SECRET_BYTES = 32
_DIGEST_BYTES = hashlib.sha256().digest_size
_IS_OPERATOR = {"operator": True, "client": False}  # by role
_NOT_A_KEY_FILE = (OSError, ValueError, TypeError, AttributeError, LookupError)

_FileStamp = tuple[int, int, int]


@dataclass(frozen=True)
class StoredKey:
    """What is stored of one key: its sha256 in hex, and its role."""

    sha256: str
    operator: bool = False

    @classmethod
    def of(cls, value: Any) -> StoredKey:
        """Raises ValueError, TypeError or AttributeError for what is no entry."""
        stored = cls._read(value)
        if len(stored.digest) != _DIGEST_BYTES:
            raise ValueError("not every value is a sha256")
        return stored

    @classmethod
    def _read(cls, value: Any) -> StoredKey:
        if isinstance(value, str):
            return cls(value)
        return cls(value["sha256"], _IS_OPERATOR[value["role"]])

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.sha256)

    def to_json(self) -> Any:
        if self.operator:
            return {"sha256": self.sha256, "role": "operator"}
        return self.sha256


class KeyRing:
    """API keys by name in a JSON file; read anew when the file changes, so that keys rotate.

    A value is the sha256 of a client's key, or {"sha256": .., "role": "operator"}. A key has 256
    random bits: one round of SHA-256 is enough, there is nothing to guess. `compare` takes the
    same time whatever it is given.
    """

    def __init__(
        self, file: Path, compare: Callable[[bytes, bytes], bool] = hmac.compare_digest
    ) -> None:
        self.file = file
        self._compare = compare
        self._stamp: _FileStamp | None = None
        self._keys: dict[str, StoredKey] = {}

    def new(self, name: str, *, operator: bool = False) -> str:
        """Make a key called `name` and return it; it cannot be shown again.

        Raises VigilError when there is one already.
        """
        key = KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        with self._change() as keys:
            _check_new_name(name, keys)
            keys[name] = StoredKey(_digest(key).hex(), operator)
        return key

    def revoke(self, name: str) -> None:
        """Take the key called `name` out; raises VigilError when there is none."""
        with self._change() as keys:
            if keys.pop(name, None) is None:
                names = ", ".join(keys) or "none"
                raise VigilError(f"there is no key called {name!r}; there are {names}")

    def read(self) -> dict[str, StoredKey]:
        """What is stored of each key by name; raises VigilError for what is no key file."""
        try:
            entries = json.loads(self.file.read_text("utf-8")).items()
            return {name: StoredKey.of(value) for name, value in entries}
        except FileNotFoundError:
            return {}
        except _NOT_A_KEY_FILE as error:
            raise VigilError(f"{self.file} is not a key file: {error}") from error

    def owner(self, key: str) -> Caller | None:
        """Whose key it is, or None. Compares with all of them, in constant time."""
        self._refresh()
        digest = _digest(key)
        owner = None
        for name, stored in self._keys.items():
            if self._compare(digest, stored.digest):
                owner = Caller(name, stored.operator)
        return owner

    def _refresh(self) -> None:
        stamp = self._file_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self.read()
        except VigilError as error:  # half-made edits lock nobody out, and let nobody in
            log.error("the keys stay as they were: %s", error.message)

    def _file_stamp(self) -> _FileStamp:
        try:
            stat = self.file.stat()
        except OSError as error:  # gone, with all keys; or not to be read now, and the keys stay
            return (0, 0, error.errno or 0)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    @contextmanager
    def _change(self) -> Iterator[dict[str, StoredKey]]:
        """The keys, written back at the end of the block.

        One change at a time, so that none undoes another.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(self.file.with_name(f".{self.file.name}.lock")):
            keys = self.read()
            yield keys
            self._write(keys)

    def _write(self, keys: dict[str, StoredKey]) -> None:
        write_json(self.file, {name: key.to_json() for name, key in keys.items()})


def _check_new_name(name: str, keys: dict[str, StoredKey]) -> None:
    if not name:
        raise VigilError("a key needs a name, so that it can be told from others and revoked")
    if name in keys:
        raise VigilError(
            f"there is a key called {name!r} already: revoke it first, or choose another name"
        )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
