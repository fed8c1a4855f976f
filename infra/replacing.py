"""Words of a text by others."""

from __future__ import annotations

from collections.abc import Mapping


def replace_each(text: str, replacements: Mapping[str, str]) -> str:
    """Return the text with each of these replaced by what stands for it, one after the other."""
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
