"""`python -m policies`: the commands beside the pack itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import yaml

from policies.admission import (
    AdmissionAction,
    AdmissionScope,
    RuleForms,
    admission_objects,
    rule_forms,
)
from policies.docs import render_policies_page
from policies.formats import REPORT_FORMATS
from policies.levels import PolicyConfig
from policies.recorded import read_recording
from policies.report import Report, judge_all
from vigil.json_types import JsonObject


@click.group()
def main() -> None:
    """The policy pack without Pulumi."""


@main.command()
@click.argument("recorded", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--env",
    "environment",
    help="levels and parameters of policies/environments/NAME.json",
)
@click.option(
    "--config",
    type=click.Path(
        exists=True,
        dir_okay=False,
        path_type=Path,
    ),
    help="the same, from another file",
)
@click.option(
    "--form",
    type=click.Choice(list(REPORT_FORMATS)),
    default="table",
    help="how to print it",
)
@click.option(
    "--json",
    "form",
    flag_value="json",
    help="the same as --form json",
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
    """Judge RECORDED: an exported state, `pulumi preview --json`, a recorded program, a manifest,
    or a folder of manifests. Each file is named as judged, skipped or broken.

    Exit 1 on a mandatory violation, on a file or an object that is broken, or where more than the
    skip budget could not be judged; exit 2 where nothing was judged at all.
    """
    judged = _judge(recorded, environment, config)
    _print(REPORT_FORMATS[form](judged), output)
    for file in judged.broken_files:
        click.echo(str(file), err=True)
    click.echo(_summary(judged, skip_budget), err=True)
    sys.exit(_exit_code(judged, skip_budget))


def _exit_code(report: Report, skip_budget: float) -> int:
    if report.of("violated", "mandatory") or report.skip_share > skip_budget:
        return 1
    if report.broken_files or report.of("malformed"):
        return 1
    return 0 if report.judged else 2


def _judge(
    recorded: Path,
    environment: str | None,
    config: Path | None,
) -> Report:
    try:
        policies = _read_config(environment, config)
        recording = read_recording(recorded)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return judge_all(recording.resources, policies.rules(), recording.files)


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
    if not report.lines:
        return _nothing_judged(report)
    counts = [
        f"{report.count('violated', 'mandatory')} mandatory and "
        f"{report.count('violated', 'advisory')} advisory violations",
        f"{report.count('skipped')} skipped ({_budget(report, skip_budget)})",
        *_broken(report),
        f"{report.count('passed')} passed",
    ]
    return ", ".join(counts)


def _budget(report: Report, skip_budget: float) -> str:
    return f"{report.skip_share:.1%} of a budget of {skip_budget:.1%}"


def _broken(report: Report) -> Iterator[str]:
    if malformed := report.of("malformed"):
        yield f"{len(malformed)} not judged as their object is malformed"
    if report.broken_files:
        yield f"{len(report.broken_files)} files broken"


def _nothing_judged(report: Report) -> str:
    objects = sum(file.objects for file in report.files)
    if objects:
        return f"nothing was judged: no rule that is enabled applies to what was read ({objects})"
    files = f"of {len(report.files)} files none" if report.files else "there is no file that"
    return f"nothing was judged: {files} holds an object of Kubernetes or a resource of Pulumi"


@main.command()
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="a list of objects",
)
def forms(as_json: bool) -> None:
    """List the rules of Kubernetes objects: which the API server judges by too, and why others
    not.
    """
    found = rule_forms()
    if as_json:
        click.echo(json.dumps([_form(each) for each in found], indent=2))
        return
    width = max(len(each.rule.name) for each in found)
    for each in found:
        click.echo(f"{each.rule.name:{width}}  {each.describe()}")
    both = sum(each.has_both for each in found)
    click.echo(f"{both} of {len(found)} have both forms", err=True)


def _form(each: RuleForms) -> JsonObject:
    return {"rule": each.rule.name, "both": each.has_both, "reason": each.reason}


@main.command()
@click.option(
    "--env",
    "environment",
    default="",
    help="levels and parameters of policies/environments/NAME.json",
)
@click.option(
    "--action",
    type=click.Choice(get_args(AdmissionAction)),
    default="warn",
    show_default=True,
    help="what the API server does where a mandatory rule is broken",
)
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    default=("vigil", "vigil-tracking"),
    show_default=True,
    help="namespace whose objects are judged; may be given several times",
)
@click.option(
    "--controllers",
    multiple=True,
    default=("kube-system", "vigil-operators"),
    show_default=True,
    help="namespace of controllers, whose objects are let through",
)
def admission(
    environment: str,
    action: AdmissionAction,
    namespaces: tuple[str, ...],
    controllers: tuple[str, ...],
) -> None:
    """Print the rules as ValidatingAdmissionPolicy objects with their bindings, for `kubectl
    apply`.

    A stack applies the same by its setting `vigil:admission`.
    """
    scope = AdmissionScope(namespaces, controllers)
    objects = admission_objects(environment, action, scope)
    click.echo(yaml.safe_dump_all(objects, sort_keys=False, width=10_000), nl=False)


@main.command()
def docs() -> None:
    """Print docs/policies.md."""
    click.echo(render_policies_page(), nl=False)
