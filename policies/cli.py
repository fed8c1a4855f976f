"""`python -m policies`: the commands beside the pack itself."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from policies.docs import render_policies_page
from policies.formats import REPORT_FORMATS
from policies.levels import PolicyConfig
from policies.recorded import UnreadableFile, read_resources
from policies.report import Report, judge_all


@click.group()
def main() -> None:
    """The policy pack without Pulumi."""


@main.command()
@click.argument("recorded", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--env", "environment", help="levels and parameters of policies/environments/NAME.json"
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="the same, from another file",
)
@click.option(
    "--form", type=click.Choice(list(REPORT_FORMATS)), default="table", help="how to print it"
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="print to a file; the sums then go to the terminal",
)
@click.option(
    "--skip-budget",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="largest share that may be skipped",
)
def report(
    recorded: Path,
    environment: str | None,
    config: Path | None,
    form: str,
    output: Path | None,
    skip_budget: float,
) -> None:
    """Judge RECORDED: an exported state, `pulumi preview --json`, a recorded program, or a folder
    of manifests.

    Exit 1 on a mandatory violation, or where more than the skip budget could not be judged.
    """
    judged = _judge(recorded, environment, config)
    _print(REPORT_FORMATS[form](judged), output)
    click.echo(_summary(judged, skip_budget), err=True)
    is_broken = bool(judged.of("violated", "mandatory"))
    sys.exit(1 if is_broken or judged.skip_share > skip_budget else 0)


def _judge(recorded: Path, environment: str | None, config: Path | None) -> Report:
    try:
        policies = _read_config(environment, config)
        return judge_all(read_resources(recorded), policies.rules())
    except (UnreadableFile, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _read_config(environment: str | None, config: Path | None) -> PolicyConfig:
    if config:
        return PolicyConfig.read(config)
    return PolicyConfig.of_environment(environment) if environment else PolicyConfig({})


def _print(text: str, output: Path | None) -> None:
    if output:
        output.write_text(text)
    else:
        click.echo(text)


def _summary(report: Report, skip_budget: float) -> str:
    mandatory = len(report.of("violated", "mandatory"))
    advisory = len(report.of("violated", "advisory"))
    budget = f"{report.skip_share:.1%} of a budget of {skip_budget:.1%}"
    return (
        f"{mandatory} mandatory and {advisory} advisory violations, "
        f"{len(report.of('skipped'))} skipped ({budget}), {len(report.of('passed'))} passed"
    )


@main.command()
def docs() -> None:
    """Print docs/policies.md."""
    click.echo(render_policies_page(), nl=False)
