"""`vigil render` and `vigil doctor`."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import click

from infra import doctor as doctors
from infra.diagnosis.report import Diagnosis
from infra.render import SETTINGS_JSON, write_manifests
from infra.stack_settings import ROOT
from vigil.errors import BadSettings
from vigil.terminal import json_option, print_json, print_table, printable, report_errors

# Runs in a checkout of any revision; `write` is what older ones call it.
RENDER_CODE = """
from pathlib import Path
from infra import render
write = getattr(render, "write_manifests", None) or render.write
write({environment!r}, Path({out!r}))
"""


@click.group(invoke_without_command=True)
@click.option("--env", "environment", help="stack whose Pulumi.ENV.yaml is rendered")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="folder to write into"
)
@json_option
@click.pass_context
@report_errors
def render(ctx: click.Context, environment: str | None, out: Path | None, as_json: bool) -> None:
    """Write the Kubernetes manifests of an environment as YAML, without a cluster and without
    secrets."""
    if ctx.invoked_subcommand is not None:
        return
    if environment is None or out is None:
        raise click.UsageError("--env and --out are needed")
    _wrote(write_manifests(environment, out), out, as_json, environment=environment)


@render.command("dashboards")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder to write into",
)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="of the service")
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
    """Write dashboards, rules and prometheus.yml for a Grafana and a Prometheus that you have."""
    from infra.dashboards import pages, scrape

    prometheus = scrape.scrape_configuration(
        url,
        ray_url,
        ray_token_file=str(ray_token.resolve()),
        key_file=str(key.resolve()) if key else None,
        streams=streams,
    )
    _wrote(pages.write_dashboards(out, prometheus), out, as_json)


@render.command("settings")
@click.option("--env", "environment", required=True, help="name of the stack")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="file to write"
)
@json_option
@report_errors
def settings_command(environment: str, out: Path, as_json: bool) -> None:
    """Write the settings file that the pods of a stack read: VIGIL_CONFIG names it to a training
    that runs elsewhere."""
    from infra.manifests.ray_config import settings_config_map
    from infra.stack_settings import read_files

    (text,) = settings_config_map(read_files(environment))["data"].values()
    out.write_text(text)
    print_json({"environment": environment, "out": str(out)}) if as_json else click.echo(
        f"settings of {environment} in {out}"
    )


def _wrote(files: list[Path], out: Path, as_json: bool, **told: str) -> None:
    if as_json:
        print_json(
            {**told, "out": str(out), "files": [str(file.relative_to(out)) for file in files]}
        )
    else:
        click.echo(f"{len(files)} files in {out}")


@click.group()
def doctor() -> None:
    """What is wrong, or what a change would do."""


@doctor.command("change")
@click.option("--from", "old", required=True, help="rendered folder, or git revision")
@click.option("--to", "new", required=True, help="rendered folder, or git revision")
@click.option(
    "--env",
    "environment",
    default="prod",
    show_default=True,
    help="environment to render of git revisions",
)
@json_option
@report_errors
def change_command(old: str, new: str, environment: str, as_json: bool) -> None:
    """What applying TO over FROM does to a running platform: swap, reconfigure, rolling, second
    cluster, replacement."""
    found = doctors.compare_renderings(_files(old, environment), _files(new, environment))
    if as_json:
        print_json({"changes": [one.to_json() for one in found]})
        return
    print_table(
        ("effect", "object", "what", "runs twice", "for at most"),
        [
            (c.effect, c.where, c.what, c.doubles, f"{c.seconds} s" if c.seconds else "")
            for c in found
        ],
    )
    for effect in dict.fromkeys(c.effect for c in found):
        click.echo(f"{effect}: {doctors.EFFECTS[effect]}")
    if not found:
        click.echo("nothing changes")


@doctor.command("cluster")
@click.option("--context", help="context of the kubeconfig; without it the current one")
@click.option("--kubeconfig", help="its file; without it $KUBECONFIG, or else ~/.kube/config")
@json_option
@report_errors
def cluster_command(context: str | None, kubeconfig: str | None, as_json: bool) -> None:
    """What is wrong with the platform in a cluster, the worst first, and what helps.

    Exit 0: nothing is wrong; 1: something is, or the cluster cannot be read.
    """
    from infra.diagnosis import diagnose
    from infra.kube import connect
    from infra.observe import ClusterObserver

    reader = connect(kubeconfig, context)
    look = ClusterObserver(reader).look()
    found = diagnose(look.seen)
    ok = all(one.grade == "note" for one in found)
    if as_json:
        findings = [one.to_json() for one in found]
        where = {"cluster": reader.server, "where": reader.where}
        print_json({"ok": ok, **where, "findings": findings, "unread": list(look.unread)})
    else:
        _tell(found, look.unread)
    if not ok:
        sys.exit(1)


def _tell(found: list[Diagnosis], unread: tuple[str, ...]) -> None:
    """A block of lines for each finding: its grade and object, the cause, what helps."""
    for one in found:
        click.echo(printable(f"{one.grade:8} {one.what}\n         {one.why}\n      -> {one.fix}"))
    for line in dict.fromkeys(unread):
        click.echo(printable(f"not read {line}"), err=True)
    if not found:
        click.echo("nothing is wrong")


def _files(where: str, environment: str) -> dict[str, str]:
    folder = Path(where)
    if folder.is_dir():
        return _read(folder)
    with tempfile.TemporaryDirectory() as temporary:
        checkout = Path(temporary) / "tree"
        out = Path(temporary) / "out"
        archive = subprocess.run(
            ["git", "archive", where],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if archive.returncode:
            raise BadSettings(
                f"{where!r} is neither a folder nor a git revision: "
                f"{archive.stderr.decode().strip()}"
            )
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
            tar.extractall(checkout, filter="data")
        # Rendered by that revision's own code: that is what would have been applied.
        code = RENDER_CODE.format(environment=environment, out=str(out))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BadSettings(
                f"{where} does not render {environment}: {done.stderr.strip().splitlines()[-1]}"
            )
        return _read(out)


def _read(folder: Path) -> dict[str, str]:
    files = [*folder.glob("*/*.yaml"), *folder.glob(SETTINGS_JSON)]
    if not files:
        raise BadSettings(
            f"{folder} holds no rendered manifests: "
            f"`vigil render --env E --out {folder}` writes them"
        )
    return {str(file.relative_to(folder)): file.read_text() for file in files}
