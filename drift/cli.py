"""`vigil drift status` and `vigil drift check`."""

from __future__ import annotations

import click

from train.settings import TrainSettings
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, print_table, printable, report_errors, say

BLOCKS = " ▁▂▃▄▅▆▇█"


@click.group()
def drift() -> None:
    """What the monitor sees, and a check of one window from files."""


@drift.command("status")
@service_options
@json_option
@report_errors
def drift_status(service: ServiceOptions, as_json: bool) -> None:
    """The last window against its floors, and what the governor does."""
    found = service.require(HomeSettings().open()).get("/drift")
    if as_json:
        print_json(found)
        return
    print_table(
        ("feature", "KS", "floor", "effect (sd)", "PSI", "trend"),
        [
            (
                f["feature"],
                f"{f['ks']:.3f}",
                f"{f['floor']:.3f}",
                f"{f['wasserstein']:.2f}",
                f"{f['psi']:.2f}",
                spark(f["trend"]),
            )
            for f in found["features"]
        ],
    )
    governor = found["governor"]
    click.echo(
        printable(
            f"verdict: {found['verdict']['sentence'] if found['verdict'] else 'no full window yet'}"
        )
    )
    said = (
        f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}; "
        f"{found['retrains']} retrainings"
    )
    click.echo(printable(said))


def spark(trend: list[float]) -> str:
    """How near each of the last windows came to the floor: a full block has reached it."""
    return "".join(BLOCKS[min(int(over * (len(BLOCKS) - 1)), len(BLOCKS) - 1)] for over in trend)


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
    state = service.require(HomeSettings().open()).post("/drift/mode", body=asked)
    click.echo(printable(f"governor: {state['phase']}: {state['reason']}"))


@drift.command("check")
@click.option("--reference", required=True, help="table that stands for the world as it was")
@click.option("--window", required=True, help="table to judge as one window")
@click.option(
    "--alpha", type=float, default=0.01, show_default=True, help="family-wise significance"
)
@json_option
@report_errors
def drift_check(reference: str, window: str, alpha: float, as_json: bool) -> None:
    """Judge one window against a reference, both from files, without debounce."""
    import numpy as np

    from drift.statistics import compare
    from drift.verdict import judge_window
    from train.model.reference import build_reference
    from train.table.dataset import read_table
    from vigil.errors import DataError

    old = read_table(reference).train
    new = read_table(window, allow_missing=True).train
    if old.names != new.names:
        odd = sorted(set(old.names) ^ set(new.names)) or ["their order"]
        raise DataError(f"the tables differ in {', '.join(odd)}")
    size = min(TrainSettings().window_rows, len(new))
    ref = build_reference(
        old.X, old.names, np.zeros(1), window_rows=size, budget=TrainSettings().drift_budget
    )
    verdict = judge_window(ref, compare(ref, new.X), alpha)
    calibration = ref.calibration
    if as_json:
        print_json(verdict.to_json() | {"calibration": vars(calibration)})
        return
    if not calibration.promised:
        say(f"these floors promise no false-alarm budget: {calibration.note}")
    click.echo(printable(f"{verdict.kind}: {verdict.sentence}"))
    print_table(
        ("feature", "statistic", "value", "limit"),
        [(f.feature, f.statistic, f"{f.value:.3f}", f"{f.limit:.3f}") for f in verdict.findings],
    )
