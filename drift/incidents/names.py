"""Names of entities and features that came from outside: bounded, and storable everywhere."""

from __future__ import annotations

import hashlib

MAX_NAME = 200
_DIGEST = 8


def bounded_name(name: str) -> str:
    """Return a name of at most MAX_NAME characters that a database and UTF-8 can hold.

    What is cut off is replaced by a digest, so that two long names stay two.
    """
    if len(name) <= MAX_NAME and name.isascii() and "\0" not in name:
        return name
    storable = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if len(storable) <= MAX_NAME:
        return storable
    digest = hashlib.blake2b(storable.encode(), digest_size=_DIGEST).hexdigest()
    return f"{storable[: MAX_NAME - len(digest) - 1]}~{digest}"
