"""`vigil ship`: what the workflows do, so that anyone can do it by hand: pin an image, propose a model, publish the chart."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click

from infra import chart as charts
from infra.github import GitHubClient, GitHubSettings
from infra.render import write_manifests
from infra.stack_settings import read_files
from vigil.aws import aws_client
from vigil.errors import BadSettings, VigilError
from vigil.terminal import json_option, print_json, report_errors, say

_PINNED = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
EXISTING = click.Path(path_type=Path, exists=True, dir_okay=False)
_AUTHOR = ("-c", "user.name=vigil", "-c", "user.email=vigil@users.noreply.github.com")


class ShippingFailed(VigilError):
    """A step of delivery cannot be done."""


@click.group()
def ship() -> None:
    """Steps of delivery. Pull requests need GITHUB_TOKEN and GITHUB_REPOSITORY; without --push nothing leaves this folder."""


def _environment(ctx: click.Context, option: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", value):
        raise click.BadParameter("lower-case letters, digits and - only")
    return value


environment_option = click.option(
    "--env", "environment", required=True, callback=_environment, help="stack: dev, prod, ..."
)
push_option = click.option(
    "--push", is_flag=True, help="commit on a branch, push it and open a pull request"
)


@ship.command("image")
@environment_option
@click.option("--image", "reference", required=True, help="REPOSITORY@sha256:DIGEST")
@push_option
@json_option
@report_errors
def image_command(environment: str, reference: str, push: bool, as_json: bool) -> None:
    """Pin the image of an environment: in its Pulumi file, and in deploy/ENV, which Argo CD follows."""
    if not _PINNED.fullmatch(reference):
        raise ShippingFailed(f"{reference!r} is not pinned: name it as REPOSITORY@sha256:DIGEST")
    stack = Path(f"Pulumi.{environment}.yaml")
    pin_image(stack, reference)
    write_manifests(environment, Path("deploy") / environment, Path.cwd())
    digest, told = reference.rpartition(":")[2][:12], ""
    if push:
        text = f"Pins `{reference}` in {environment}. `vigil doctor change --from origin/main --to HEAD` says what that does."
        told = _propose(
            f"image/{environment}-{digest}",
            f"{environment}: image {digest}",
            text,
            [str(stack), "deploy"],
        )
    if as_json:
        print_json({"environment": environment, "image": reference, "pull_request": told})
    else:
        click.echo(told or f"{stack} and deploy/{environment} are changed")


def pin_image(stack: Path, reference: str) -> None:
    """Set `vigil:image` in the file of a stack, comments and order kept."""
    if not stack.exists():
        raise BadSettings(f"{stack} is not there: the environment has no settings")
    text, line = stack.read_text(), f"  vigil:image: {reference}"
    if re.search(r"^  vigil:image:.*$", text, re.MULTILINE):
        text = re.sub(r"^  vigil:image:.*$", line, text, flags=re.MULTILINE)
    elif re.search(r"^config:\s*$", text, re.MULTILINE):
        text = re.sub(r"^config:\s*$", f"config:\n{line}", text, count=1, flags=re.MULTILINE)
    else:
        text += f"config:\n{line}\n"
    stack.write_text(text)


@ship.command("model")
@environment_option
@click.option(
    "--result",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="of `vigil train --json`",
)
@click.option("--reason", default="", help="why it was trained")
@push_option
@json_option
@report_errors
def model_command(environment: str, result: Path, reason: str, push: bool, as_json: bool) -> None:
    """Show the verdict on a trained version, and propose it: models/ENV.json, whose merge promotes it."""
    try:
        trained: dict[str, Any] = json.loads(result.read_text())
        verdict, version = trained["verdict"], str(trained["version"])
    except (ValueError, LookupError, TypeError) as error:
        raise ShippingFailed(
            f"{result} is not what `vigil train --json` writes: {error}"
        ) from error
    text = verdict_summary(trained, reason)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a") as file:
            file.write(text)
    told = ""
    if verdict["passed"]:
        wanted = Path("models") / f"{environment}.json"
        wanted.parent.mkdir(exist_ok=True)
        about = {
            "version": version,
            "digest": trained["digest"],
            "reason": reason or verdict["reason"],
        }
        wanted.write_text(json.dumps(about, indent=1) + "\n")
        title = f"{environment}: promote model version {version}"
        told = (
            _propose(f"model/{environment}-{version}", title, text, [str(wanted)]) if push else ""
        )
    print_json(
        {"version": version, "passed": verdict["passed"], "pull_request": told}
    ) if as_json else click.echo(told or text)


def verdict_summary(trained: dict[str, Any], reason: str) -> str:
    """The verdict on a version, as Markdown."""
    verdict = trained["verdict"]
    lines = [
        f"## Model version {trained['version']}: {'passed' if verdict['passed'] else 'refused'}",
        "",
        verdict["reason"],
        "",
    ]
    lines += [f"Trained because: {reason}", ""] if reason else []
    lines += ["| gate | value | limit | passed |", "| --- | --- | --- | --- |"]
    for check in verdict.get("checks", []):
        lines.append(
            f"| {check['name']} | {check['value']} | {check['limit']} | {'yes' if check['passed'] else '**no**'} |"
        )
    return "\n".join([*lines, "", f"Digest `{trained['digest']}`", ""])


@ship.command("comment")
@click.option("--pr", type=int, required=True, help="number of the pull request")
@click.option("--mark", required=True, help="which comment: it is replaced when it is there")
@click.option("--title", required=True)
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="text, shown as a block",
)
@report_errors
def comment_command(pr: int, mark: str, title: str, file: Path) -> None:
    """Put a text, such as a preview, into a comment of a pull request."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", file.read_text(errors="replace"))
    kept = text if len(text) < 50_000 else f"... the last 50,000 characters\n{text[-50_000:]}"
    fence = "`" * (max((len(run) for run in re.findall("`+", kept)), default=2) + 1)
    click.echo(
        GitHubClient(GitHubSettings()).comment(
            pr, mark, f"### {title}\n\n{fence}text\n{kept}\n{fence}\n"
        )
    )


@ship.command("chart")
@environment_option
@click.option("--version", required=True, help="SemVer of the chart")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder for the package",
)
@click.option("--bucket", help="S3 bucket of the chart repository: publish there")
@json_option
@report_errors
def chart_command(
    environment: str, version: str, out: Path, bucket: str | None, as_json: bool
) -> None:
    """Package the manifests of an environment as a Helm chart, and publish it."""
    package = charts.pack_chart(charts.chart_files(read_files(environment), version))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{charts.CHART_NAME}-{version}.tgz"
    path.write_bytes(package)
    if bucket:
        charts.publish_chart(package, version, bucket, aws_client("s3"))
    print_json({"package": str(path), "bucket": bucket}) if as_json else click.echo(
        f"{path}{f', in {bucket}' if bucket else ''}"
    )


def _propose(branch: str, title: str, text: str, paths: list[str]) -> str:
    """Commit the paths on `branch`, push it over what is there, and open a pull request to the branch that was checked out."""
    base = _git("rev-parse", "--abbrev-ref", "HEAD")
    _git("checkout", "-B", branch)
    try:
        _git("add", "--all", "--", *paths)
        if not _git("status", "--porcelain", "--", *paths):
            say("nothing changes: no pull request")
            return ""
        _git(*_AUTHOR, "commit", "--message", title, "--", *paths)
        _git("push", "--force", "origin", f"HEAD:refs/heads/{branch}")
    finally:
        _git("checkout", base)
    return GitHubClient(GitHubSettings()).pull_request(branch, base, title, text)


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    if ran.returncode:
        raise ShippingFailed(f"git {arguments[0]}: {ran.stderr.strip()[-300:]}")
    return ran.stdout.strip()
