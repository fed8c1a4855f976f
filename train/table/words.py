"""Words of a declared category: which values are any, and how one is declared."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import msgspec

from train.table.cells import clean_name, is_missing, show_value

CategoryEncoding = Literal["one-hot", "frequency"]
MAX_WORD_LENGTH = 100
_ENCODINGS: tuple[str, ...] = get_args(CategoryEncoding)
_NO_WORD = "the value is missing: give what is not known a word of its own, such as unknown"


class DeclaredCategory(NamedTuple):
    """A column that is declared to hold words."""

    name: str
    encoding: CategoryEncoding = "one-hot"


def parse_category(text: str) -> DeclaredCategory:
    """Return what `proto` or `service:frequency` declares; a name may have a colon itself."""
    name, _, word = text.rpartition(":")
    if word in _ENCODINGS and name:
        return DeclaredCategory(clean_name(name), msgspec.convert(word, CategoryEncoding))
    return DeclaredCategory(clean_name(text))


def why_no_word(value: object) -> str | None:
    """Return what is wrong with a value of a category, and what to do; None where it is a word."""
    if is_missing(value):
        return _NO_WORD
    if type(value) is not str:  # a number that JSON cannot hold comes as a kind of text
        return (
            f"{show_value(value)} is no text, as a category is: write it in quotes, or make the "
            "column one of text"
        )
    return _why_no_clean_word(clean_name(value))


def _why_no_clean_word(word: str) -> str | None:
    if not word:
        return _NO_WORD
    if len(word) > MAX_WORD_LENGTH:
        length = f"has {len(word)} characters, a category at most {MAX_WORD_LENGTH}"
        return f"{show_value(word)} {length}: shorten it"
    if not word.isprintable():
        return f"{show_value(word)} has characters that cannot be printed: remove them"
    return None
