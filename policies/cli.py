"""`python -m policies`: the commands beside the pack itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from policies.docs import page
from policies.recorded import UnreadableFile, read
from policies.report import FORMS, run
from policies.rule import Rule
from policies.rules import RULES

ENVIRONMENTS = Path(__file__).parent / "environments"
Configured = tuple[list[tuple[Rule, str]], dict[str, dict[str, Any]]]


def configured(config: dict[str, Any]) -> Configured:
    """Levels and parameters under a configuration of the form that `pulumi --policy-pack-config` reads. Raises ValueError."""
    if unknown := config.keys() - RULES.keys() - {"all"}:
        raise ValueError(
            f"no rule is named {', '.join(sorted(unknown))}: `python -m policies docs` lists them"
        )
    entries = {
        name: {"enforcementLevel": each} if isinstance(each, str) else dict(each)
        for name, each in config.items()
    }
    everywhere = entries.pop("all", {}).get("enforcementLevel")
    levels = {
        name: entries.get(name, {}).pop("enforcementLevel", None) or everywhere or level
        for name, (_, level) in RULES.items()
    }
    return [(rule, levels[name]) for name, (rule, _) in RULES.items()], entries


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
@click.option("--form", type=click.Choice(list(FORMS)), default="table", help="how to print it")
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
    """Judge RECORDED: an exported state, `pulumi preview --json`, a recorded program, or a folder of manifests.

    Exit 1 on a mandatory violation, or where more than the skip budget could not be judged.
    """
    try:
        rules, params = configured(_config(environment, config))
        found = run(read(recorded), rules, params)
    except (UnreadableFile, ValueError) as error:
        raise click.UsageError(str(error)) from error
    text = FORMS[form](found)
    if output:
        output.write_text(text)
    else:
        click.echo(text)
    broken, share = found.of("violated", "mandatory"), found.skip_share
    click.echo(
        f"{len(broken)} mandatory and {len(found.of('violated', 'advisory'))} advisory violations, "
        f"{len(found.of('skipped'))} skipped ({share:.1%} of a budget of {skip_budget:.1%}), {len(found.of('passed'))} passed",
        err=True,
    )
    sys.exit(1 if broken or share > skip_budget else 0)


def _config(environment: str | None, config: Path | None) -> dict[str, Any]:
    file = config or (ENVIRONMENTS / f"{environment}.json" if environment else None)
    if file is None:
        return {}
    if not file.is_file():
        raise ValueError(
            f"there is no {file.name}: known environments are {', '.join(sorted(e.stem for e in ENVIRONMENTS.iterdir()))}"
        )
    return json.loads(file.read_text())


@main.command()
def docs() -> None:
    """Print docs/policies.md."""
    click.echo(page(), nl=False)
