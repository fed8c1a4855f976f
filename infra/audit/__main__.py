"""`python -m infra.audit`: fails on a pin that is old, out of support, or has a known advisory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import click

from infra.audit.advisories import OSV, known_advisories, locked_packages, pinned_packages
from infra.audit.direct import direct_pins
from infra.audit.page import write_page
from infra.audit.pins import (
    Pin,
    PinFile,
    PinFinding,
    age_finding,
    forgotten_pin,
    local_findings,
    read_pins,
    without_exempted,
)
from infra.audit.registries import FetchText, fetch_text, fetch_through, newer_releases
from infra.audit.workflows import workflow_pins
from infra.stack_settings import ROOT
from vigil.terminal import report_errors, say


@click.command()
@click.option(
    "--pins",
    "path",
    default=ROOT / ".ci/pins.toml",
    type=click.Path(path_type=Path, exists=True),
)
@click.option("--osv", default=OSV, help="where OSV's API answers")
@click.option("--through", default="", help="a server that answers for all registries")
@click.option("--offline", is_flag=True, help="ask nobody: look at the file and its days alone")
@click.option("--write-docs", is_flag=True, help="write the table of docs/security.md")
@report_errors
def main(
    path: Path,
    osv: str,
    through: str,
    offline: bool,
    write_docs: bool,
) -> None:
    """Fail on a pin that is old, out of support or has a known advisory, and on old exceptions."""
    pin_file = read_pins(path)
    if write_docs:
        write_page(ROOT / "docs/security.md", pin_file.pins)
    today = datetime.now(UTC).date()
    unanswered: list[str] = []
    findings = list(local_findings(pin_file.pins, ROOT, today))
    if not offline:
        registries = fetch_through(through) if through else fetch_text
        pins = _asked_for(pin_file, today)
        findings += _old_pins(pins, today, registries, unanswered)
        findings += _advisories(pin_file, osv, unanswered)
    failures = list(without_exempted(findings, pin_file.exemptions, today))
    _tell(pin_file, failures, unanswered)
    sys.exit(bool(failures) or _is_incomplete(unanswered))


def _tell(
    pin_file: PinFile,
    failures: Iterable[PinFinding],
    unanswered: Iterable[str],
) -> None:
    failed = [f"{failure.of}: {failure.text}" for failure in failures]
    not_asked = [f"not asked: {name}" for name in unanswered]
    for line in (*failed, *not_asked):
        say(line)
    counts = f"{len(failed)} findings, {len(not_asked)} not asked"
    say(f"{len(pin_file.pins)} pins, {counts}")


def _is_incomplete(unanswered: list[str]) -> bool:
    """On a laptop without a way out that is no fault of the tree; nobody reads it in CI."""
    return bool(unanswered) and bool(os.environ.get("GITHUB_ACTIONS"))


def _asked_for(pin_file: PinFile, today: date) -> list[Pin]:
    """The pins that are kept by hand, and those that stand where tools keep them."""
    named = {pin.registry for pin in pin_file.pins}
    direct = [pin for pin in direct_pins(ROOT, today) if pin.registry not in named]
    return [*pin_file.pins, *workflow_pins(ROOT, today), *direct]


def _old_pins(
    pins: Iterable[Pin],
    today: date,
    registries: FetchText,
    unanswered: list[str],
) -> Iterator[PinFinding]:
    for pin in pins:
        if not pin.registry:
            continue
        try:
            newer = newer_releases(pin, registries)
        except OSError as error:
            unanswered.append(f"{pin.registry} ({error})")
            yield from forgotten_pin(pin, today)
            continue
        finding = age_finding(pin, newer, today)
        if finding is not None:
            yield finding


def _advisories(
    pin_file: PinFile,
    osv: str,
    unanswered: list[str],
) -> list[PinFinding]:
    packages = [*locked_packages(ROOT / "uv.lock"), *pinned_packages(pin_file.pins)]
    try:
        return list(known_advisories(packages, osv))
    except OSError as error:
        unanswered.append(f"{osv} for advisories of {len(packages)} packages ({error})")
        return []


if __name__ == "__main__":
    main()
