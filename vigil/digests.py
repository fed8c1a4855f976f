"""Digests of texts."""

from __future__ import annotations

import hashlib


def text_digest(text: str) -> str:
    """Return the sha256 of a text in UTF-8, as hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
