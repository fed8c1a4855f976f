"""The pins that are kept by hand, and the exceptions that were granted. Pure but for reading."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from vigil.errors import BadSettings

MAX_AGE = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One pinned version.

    file: where it stands, from the root of the project; source: where it was looked up, on `day`
    registry: KIND:NAME of whom can be asked for newer ones; empty: nobody
    supported_until: the last day on which its makers mend it
    """

    name: str
    version: str
    file: str
    source: str
    day: date
    registry: str = ""
    supported_until: date | None = None


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """What may fail until a day: a pin by its name, or an advisory by its id."""

    of: str
    reason: str
    until: date


@dataclass(frozen=True)
class PinFinding:
    """What is wrong with a pin; `of` is its name, or the id of an advisory."""

    of: str
    text: str


@dataclass(frozen=True)
class PinFile:
    pins: tuple[Pin, ...]
    exemptions: tuple[Exemption, ...]


@dataclass(frozen=True)
class NewerRelease:
    """A version that a registry has, and the day on which it came."""

    version: str
    day: date


def read_pins(path: Path) -> PinFile:
    """Return what the file says. Raises BadSettings for an entry that it cannot read."""
    with path.open("rb") as file:
        document = tomllib.load(file)
    return PinFile(
        tuple(_entry(Pin, values) for values in document.get("pin", [])),
        tuple(_entry(Exemption, values) for values in document.get("exception", [])),
    )


def _entry(kind: type[Any], values: Mapping[str, Any]) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise BadSettings(f"entry {dict(values)} of the pins: {error}") from None


def local_findings(
    pins: Iterable[Pin],
    root: Path,
    today: date,
) -> Iterator[PinFinding]:
    """Yield what is wrong with pins that no registry has to be asked for."""
    for pin in pins:
        if pin.version not in (root / pin.file).read_text():
            yield PinFinding(
                pin.name, f"{pin.file} no longer has {pin.version}: say what it has now"
            )
        if pin.supported_until is not None and pin.supported_until < today:
            yield PinFinding(
                pin.name, f"{pin.version} is out of support since {pin.supported_until}"
            )
        if not pin.registry:
            yield from forgotten_pin(pin, today)


def forgotten_pin(pin: Pin, today: date) -> Iterator[PinFinding]:
    """Yield what is wrong with a pin for which no registry answers."""
    if today - pin.day > MAX_AGE:
        yield PinFinding(pin.name, f"nobody has looked for a newer one since {pin.day}")


def age_finding(
    pin: Pin,
    newer: Sequence[NewerRelease],
    today: date,
) -> PinFinding | None:
    """Return what is wrong with a pin beside which its registry has `newer` releases."""
    if not newer:
        return None
    first = min(newer, key=_day_of)
    if today - first.day <= MAX_AGE:
        return None
    latest = max(newer, key=_day_of)
    behind = f"{pin.version} is behind since {first.day}: {latest.version} is there"
    return PinFinding(pin.name, behind)


def _day_of(release: NewerRelease) -> date:
    return release.day


def without_exempted(
    findings: Iterable[PinFinding],
    exemptions: Sequence[Exemption],
    today: date,
) -> Iterator[PinFinding]:
    """Yield the findings that nobody has excepted, and the exceptions that are over."""
    valid = {exemption.of for exemption in exemptions if exemption.until >= today}
    yield from (finding for finding in findings if finding.of not in valid)
    for exemption in exemptions:
        if exemption.until < today:
            yield PinFinding(exemption.of, f"the exception is over since {exemption.until}")
