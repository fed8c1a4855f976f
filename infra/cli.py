"""`vigil render` and `vigil doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from infra import doctor as doctors
from infra.diagnosis.report import Diagnosis
from infra.observe import ClusterObserver, Observation
from infra.render import write_manifests
from infra.revisions import read_rendering
from vigil.json_types import JsonObject
from vigil.terminal import (
    json_option,
    print_answer,
    print_json,
    print_table,
    printable,
    report_errors,
)

_CHANGE_COLUMNS = ("effect", "object", "what", "runs twice", "for at most")


@click.group(invoke_without_command=True)
@click.option("--env", "environment", help="stack whose Pulumi.ENV.yaml is rendered")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="folder to write into",
)
@json_option
@click.pass_context
@report_errors
def render(
    ctx: click.Context,
    environment: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the Kubernetes manifests of an environment as YAML, without a cluster and without
    secrets."""
    if ctx.invoked_subcommand is not None:
        return
    if environment is None or out is None:
        raise click.UsageError("--env and --out are needed")
    files = write_manifests(environment, out)
    _report_files(
        files,
        out,
        as_json,
        environment=environment,
    )


@render.command("dashboards")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder to write into",
)
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="of the service",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="file with an API key, where the service asks for one",
)
@click.option(
    "--ray-url",
    default="http://127.0.0.1:8265",
    show_default=True,
    help="of Ray's dashboard, which names its nodes",
)
@click.option(
    "--ray-token",
    type=click.Path(path_type=Path),
    default=".vigil/state/ray-token",
    show_default=True,
    help="file with Ray's token",
)
@click.option(
    "--stream",
    "streams",
    multiple=True,
    help="HOST:PORT of a stream consumer's --metrics-port; several",
)
@json_option
@report_errors
def dashboards_command(
    out: Path,
    url: str,
    key: Path | None,
    ray_url: str,
    ray_token: Path,
    streams: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write dashboards, rules, prometheus.yml and datasources.yml for a Grafana and a Prometheus
    that you have."""
    from infra.dashboards import pages, scrape, sources

    key_file = str(key.resolve()) if key else None
    token_file = str(ray_token.resolve())
    prometheus = scrape.scrape_configuration(
        url,
        ray_url,
        ray_token_file=token_file,
        key_file=key_file,
        streams=streams,
    )
    grafana = sources.source_configuration(url, key_file)
    _report_files(pages.write_dashboards(out, prometheus, grafana), out, as_json)


@render.command("settings")
@click.option(
    "--env",
    "environment",
    required=True,
    help="name of the stack",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="file to write",
)
@json_option
@report_errors
def settings_command(
    environment: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write the settings file that the pods of a stack read: VIGIL_CONFIG names it to a training
    that runs elsewhere."""
    from infra.manifests.ray_config import settings_config_map
    from infra.stack_settings import read_files

    (text,) = settings_config_map(read_files(environment))["data"].values()
    out.write_text(text)
    document = {"environment": environment, "out": str(out)}
    print_answer(document, f"settings of {environment} in {out}", as_json=as_json)


def _report_files(
    files: list[Path],
    out: Path,
    as_json: bool,
    **more: str,
) -> None:
    names = [str(file.relative_to(out)) for file in files]
    document = {**more, "out": str(out), "files": names}
    print_answer(document, f"{len(files)} files in {out}", as_json=as_json)


@click.group()
def doctor() -> None:
    """What is wrong, or what a change would do."""


@doctor.command("change")
@click.option(
    "--from",
    "old",
    required=True,
    help="rendered folder, or git revision",
)
@click.option(
    "--to",
    "new",
    required=True,
    help="rendered folder, or git revision",
)
@click.option(
    "--env",
    "environment",
    default="prod",
    show_default=True,
    help="environment to render of git revisions",
)
@json_option
@report_errors
def change_command(
    old: str,
    new: str,
    environment: str,
    as_json: bool,
) -> None:
    """What applying TO over FROM does to a running platform: swap, reconfigure, rolling, second
    cluster, replacement."""
    before = read_rendering(old, environment)
    after = read_rendering(new, environment)
    changes = doctors.compare_renderings(before, after)
    if as_json:
        print_json({"changes": [change.to_json() for change in changes]})
    else:
        _print_changes(changes)


def _print_changes(changes: list[doctors.RenderedChange]) -> None:
    """A row for each, then what their effects mean."""
    print_table(_CHANGE_COLUMNS, [change.row for change in changes])
    for effect in dict.fromkeys(change.effect for change in changes):
        click.echo(f"{effect}: {doctors.EFFECTS[effect]}")
    if not changes:
        click.echo("nothing changes")


@doctor.command("cluster")
@click.option("--context", help="context of the kubeconfig; without it the current one")
@click.option("--kubeconfig", help="its file; without it $KUBECONFIG, or else ~/.kube/config")
@json_option
@report_errors
def cluster_command(
    context: str | None,
    kubeconfig: str | None,
    as_json: bool,
) -> None:
    """What is wrong with the platform in a cluster, the worst first, and what helps.

    Exit 0: nothing is wrong; 1: something is, or too little of the cluster can be read to tell.
    """
    from infra.diagnosis import diagnose
    from infra.kube import connect

    cluster = connect(kubeconfig, context)
    look = ClusterObserver(cluster).look()
    diagnoses = diagnose(look.seen)
    is_well = all(each.grade == "note" for each in diagnoses)
    ok = is_well and not look.unjudged
    if as_json:
        where = {"cluster": cluster.server, "where": cluster.where}
        print_json({"ok": ok, **where, **_findings(diagnoses, look)})
    else:
        _print_diagnoses(diagnoses, look)
    if not ok:
        sys.exit(1)


def _findings(diagnoses: list[Diagnosis], look: Observation) -> JsonObject:
    return {
        "findings": [each.to_json() for each in diagnoses],
        "unread": list(look.unread),
        "unjudged": look.unjudged,
    }


def _print_diagnoses(diagnoses: list[Diagnosis], look: Observation) -> None:
    for each in diagnoses:
        click.echo(printable(_block(each)))
    for line in dict.fromkeys(look.unread):
        click.echo(printable(f"not read {line}"), err=True)
    if look.unjudged:
        click.echo(f"not judged: {', '.join(look.unjudged)} could not be read")
    elif not diagnoses:
        click.echo("nothing is wrong")


def _block(each: Diagnosis) -> str:
    """Its grade and object, the cause, what helps: a line for each."""
    return f"{each.grade:8} {each.what}\n         {each.why}\n      -> {each.fix}"
