"""The table of pins in docs/security.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from infra.audit.pins import Pin
from vigil.errors import BadSettings

BEGIN = "<!-- pins: written by `make audit ARGS=--write-docs` -->"
END = "<!-- end of pins -->"
_HEAD = "| what | version | looked up | on | supported until |\n|---|---|---|---|---|"


def render_table(pins: Iterable[Pin]) -> str:
    """Return the pins as a table in Markdown."""
    return "\n".join([_HEAD, *map(_line, pins)])


def _line(pin: Pin) -> str:
    until = str(pin.supported_until or "")
    cells = (pin.name, pin.version, pin.source, str(pin.day), until)
    return f"| {' | '.join(cells)} |"


def write_page(page: Path, pins: Iterable[Pin]) -> None:
    """Write the table between its two marks. Raises BadSettings where they are not there."""
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BadSettings(f"{page} has no place for the pins: put {BEGIN!r} and {END!r} there")
    page.write_text(f"{head}{BEGIN}\n\n{render_table(pins)}\n\n{END}{tail}")
