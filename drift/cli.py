"""`vigil drift status`, `vigil drift mode` and `vigil drift check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from train.spec_options import column_options, parse_columns
from vigil.json_types import Fields
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, print_table, printable, report_errors, say

if TYPE_CHECKING:
    from drift.check import WindowCheck
    from drift.verdict import Finding

BLOCKS = " ▁▂▃▄▅▆▇█"
_STATUS_COLUMNS = ("feature", "KS", "floor", "effect (sd)", "PSI", "trend")
_CHECK_COLUMNS = ("feature", "statistic", "value", "limit")


@click.group()
def drift() -> None:
    """What the monitor sees, and a check of one window from files."""


@drift.command("status")
@service_options
@json_option
@report_errors
def drift_status(service: ServiceOptions, as_json: bool) -> None:
    """The last window against its floors, and what the governor does."""
    platform = service.require(HomeSettings().open())
    status = platform.get("/drift")
    if as_json:
        print_json(status)
        return
    print_table(_STATUS_COLUMNS, [_status_row(feature) for feature in status["features"]])
    click.echo(printable(f"verdict: {_verdict_sentence(status)}"))
    click.echo(printable(_governor_sentence(status)))


def _status_row(feature: Fields) -> Sequence[str]:
    return (
        feature["feature"],
        f"{feature['ks']:.3f}",
        f"{feature['floor']:.3f}",
        f"{feature['wasserstein']:.2f}",
        f"{feature['psi']:.2f}",
        spark(feature["trend"]),
    )


def _verdict_sentence(status: Fields) -> str:
    verdict = status["verdict"]
    return verdict["sentence"] if verdict else "no full window yet"


def _governor_sentence(status: Fields) -> str:
    governor = status["governor"]
    stands = f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}"
    return f"{stands}; {status['retrains']} retrainings"


def spark(trend: Sequence[float]) -> str:
    """How near each of the last windows came to the floor: a full block has reached it."""
    highest = len(BLOCKS) - 1
    levels = [int(over_floor * highest) for over_floor in trend]
    return "".join(BLOCKS[min(level, highest)] for level in levels)


@drift.command("mode")
@click.argument("to", type=click.Choice(["observe", "suggest", "auto", "settings"]))
@service_options
@report_errors
def drift_mode(to: str, service: ServiceOptions) -> None:
    """Switch retraining off (observe), to suggestions, or on again (auto);
    `settings`: as it was configured.

    A retraining that runs goes on, but promotes nothing any more once the mode is not auto.
    """
    asked = {"mode": None if to == "settings" else to}
    platform = service.require(HomeSettings().open())
    state = platform.post("/drift/mode", body=asked)
    click.echo(printable(f"governor: {state['phase']}: {state['reason']}"))


@drift.command("check")
@click.option("--reference", required=True, help="table that stands for the world as it was")
@click.option("--window", required=True, help="table to judge as one window")
@click.option(
    "--alpha",
    type=float,
    default=0.01,
    show_default=True,
    help="family-wise significance",
)
@column_options
@json_option
@report_errors
def drift_check(
    reference: str,
    window: str,
    alpha: float,
    as_json: bool,
    **roles: Any,
) -> None:
    """Judge one window against a reference, both from files, without debounce."""
    from drift.check import check_window

    check = check_window(
        reference,
        window,
        alpha,
        columns=parse_columns(roles),
    )
    for remark in check.remarks:
        say(remark)
    if as_json:
        print_json(check.to_json())
    else:
        _print_check(check)


def _print_check(check: WindowCheck) -> None:
    calibration = check.calibration
    if not calibration.promised:
        say(f"these floors promise no false-alarm budget: {calibration.note}")
    verdict = check.verdict
    click.echo(printable(f"{verdict.kind}: {verdict.sentence}"))
    for feature, count in (check.unknown or {}).items():
        if count:
            say(f"{count} rows have a word of {feature!r} that the reference has not")
    print_table(_CHECK_COLUMNS, [_check_row(finding) for finding in verdict.findings])


def _check_row(finding: Finding) -> Sequence[str]:
    return (
        finding.feature,
        finding.statistic,
        f"{finding.value:.3f}",
        f"{finding.limit:.3f}",
    )
