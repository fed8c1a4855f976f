"""Names of entities and features that came from outside: bounded, and storable everywhere."""

from __future__ import annotations

import hashlib

MAX_NAME = 200
_DIGEST = 8
_HEAD = MAX_NAME - 2 * _DIGEST - 1


def bounded_name(name: str) -> str:
    """Return a name of at most MAX_NAME characters that a database and UTF-8 can hold.

    What is cut off is replaced by a digest, so that two long names stay two.
    """
    storable = name
    if not name.isascii():
        encoded = name.encode("utf-8", "backslashreplace")
        storable = encoded.decode()
    if "\0" in storable:
        storable = storable.replace("\0", "\\x00")
    if len(storable) <= MAX_NAME:
        return storable
    digest = hashlib.blake2b(storable.encode(), digest_size=_DIGEST)
    return f"{storable[:_HEAD]}~{digest.hexdigest()}"
