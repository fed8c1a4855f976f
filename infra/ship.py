"""`vigil ship`: what the workflows do, so that anyone can do it by hand.

Pin an image, propose a model, comment a preview, publish the chart.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from infra.chart import CHART_NAME, chart_files, pack_chart
from infra.chart_repository import publish_chart
from infra.github import GitHubClient, GitHubSettings
from infra.proposal import Proposal, ShippingFailed
from infra.render import write_manifests
from infra.stack_settings import read_files
from infra.trained_version import TrainedVersion
from vigil.aws import aws_client
from vigil.errors import BadSettings
from vigil.terminal import json_option, print_answer, report_errors

MAX_PREVIEW_CHARACTERS = 50_000
_WHAT_IT_DOES = "`vigil doctor change --from origin/main --to HEAD` says what that does."
_PINNED = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
_IMAGE_LINE = re.compile(r"^  vigil:image:.*$", re.MULTILINE)
_CONFIG_LINE = re.compile(r"^config:\s*$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_EXISTING_FILE = click.Path(
    path_type=Path,
    exists=True,
    dir_okay=False,
)


@click.group()
def ship() -> None:
    """Steps of delivery. Pull requests need GITHUB_TOKEN and GITHUB_REPOSITORY; without --push
    nothing leaves this folder."""


def _environment(
    ctx: click.Context,
    option: click.Parameter,
    value: str,
) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", value):
        raise click.BadParameter("lower-case letters, digits and - only")
    return value


environment_option = click.option(
    "--env",
    "environment",
    required=True,
    callback=_environment,
    help="stack: dev, prod, ...",
)
push_option = click.option(
    "--push",
    is_flag=True,
    help="commit on a branch, push it and open a pull request",
)


@ship.command("image")
@environment_option
@click.option(
    "--image",
    "reference",
    required=True,
    help="REPOSITORY@sha256:DIGEST",
)
@push_option
@json_option
@report_errors
def image_command(
    environment: str,
    reference: str,
    push: bool,
    as_json: bool,
) -> None:
    """Pin the image of an environment: in its Pulumi file, and in deploy/ENV, which Argo CD
    follows."""
    if not _PINNED.fullmatch(reference):
        raise ShippingFailed(f"{reference!r} is not pinned: name it as REPOSITORY@sha256:DIGEST")
    stack = Path(f"Pulumi.{environment}.yaml")
    pin_image(stack, reference)
    write_manifests(environment, Path("deploy") / environment, Path.cwd())
    url = _image_proposal(environment, reference, stack).open() if push else ""
    document = {
        "environment": environment,
        "image": reference,
        "pull_request": url,
    }
    sentence = url or f"{stack} and deploy/{environment} are changed"
    print_answer(document, sentence, as_json=as_json)


def _image_proposal(
    environment: str,
    reference: str,
    stack: Path,
) -> Proposal:
    digest = reference.rpartition(":")[2][:12]
    return Proposal(
        branch=f"image/{environment}-{digest}",
        title=f"{environment}: image {digest}",
        text=f"Pins `{reference}` in {environment}. {_WHAT_IT_DOES}",
        paths=(str(stack), "deploy"),
    )


def pin_image(stack: Path, reference: str) -> None:
    """Set `vigil:image` in the file of a stack, comments and order kept."""
    if not stack.exists():
        raise BadSettings(f"{stack} is not there: the environment has no settings")
    stack.write_text(_with_image(stack.read_text(), f"  vigil:image: {reference}"))


def _with_image(text: str, line: str) -> str:
    if _IMAGE_LINE.search(text):
        return _IMAGE_LINE.sub(line, text)
    if _CONFIG_LINE.search(text):
        return _CONFIG_LINE.sub(f"config:\n{line}", text, count=1)
    return f"{text}config:\n{line}\n"


@ship.command("model")
@environment_option
@click.option(
    "--result",
    type=_EXISTING_FILE,
    required=True,
    help="of `vigil train --json`",
)
@click.option("--reason", default="", help="why it was trained")
@push_option
@json_option
@report_errors
def model_command(
    environment: str,
    result: Path,
    reason: str,
    push: bool,
    as_json: bool,
) -> None:
    """Show the verdict on a trained version, and propose it: models/ENV.json, whose merge promotes
    it."""
    trained = TrainedVersion.read(result)
    text = trained.summary(reason)
    _show_in_workflow(text)
    url = ""
    if trained.has_passed:
        url = _propose_model(
            environment,
            trained,
            reason,
            push=push,
        )
    document = {
        "version": trained.version,
        "passed": trained.has_passed,
        "pull_request": url,
    }
    print_answer(document, url or text, as_json=as_json)


def _propose_model(
    environment: str,
    trained: TrainedVersion,
    reason: str,
    *,
    push: bool,
) -> str:
    proposal = _model_proposal(environment, trained, reason)
    return proposal.open() if push else ""


def _show_in_workflow(text: str) -> None:
    """Add a text to the summary of a workflow of GitHub, where one runs."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a") as file:
            file.write(text)


def _model_proposal(
    environment: str,
    trained: TrainedVersion,
    reason: str,
) -> Proposal:
    """Write what an environment should serve, and propose it."""
    wanted = Path("models") / f"{environment}.json"
    wanted.parent.mkdir(exist_ok=True)
    wanted.write_text(trained.wanted(reason))
    return Proposal(
        branch=f"model/{environment}-{trained.version}",
        title=f"{environment}: promote model version {trained.version}",
        text=trained.summary(reason),
        paths=(str(wanted),),
    )


@ship.command("comment")
@click.option(
    "--pr",
    type=int,
    required=True,
    help="number of the pull request",
)
@click.option("--mark", required=True, help="which comment: it is replaced when it is there")
@click.option("--title", required=True)
@click.option(
    "--file",
    type=_EXISTING_FILE,
    required=True,
    help="text, shown as a block",
)
@report_errors
def comment_command(
    pr: int,
    mark: str,
    title: str,
    file: Path,
) -> None:
    """Put a text, such as a preview, into a comment of a pull request."""
    preview = _shorten(_COLOURS.sub("", file.read_text(errors="replace")))
    text = f"### {title}\n\n{_block(preview)}"
    click.echo(GitHubClient(GitHubSettings()).comment(pr, mark, text))


def _shorten(preview: str) -> str:
    if len(preview) < MAX_PREVIEW_CHARACTERS:
        return preview
    end = preview[-MAX_PREVIEW_CHARACTERS:]
    return f"... the last {MAX_PREVIEW_CHARACTERS:,} characters\n{end}"


def _block(text: str) -> str:
    """A block of Markdown with a fence that no line of the text closes."""
    runs = map(len, re.findall("`+", text))
    fence = "`" * (max(runs, default=2) + 1)
    return f"{fence}text\n{text}\n{fence}\n"


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
    environment: str,
    version: str,
    out: Path,
    bucket: str | None,
    as_json: bool,
) -> None:
    """Package the manifests of an environment as a Helm chart, and publish it."""
    package = pack_chart(chart_files(read_files(environment), version))
    path = _write_package(package, out / f"{CHART_NAME}-{version}.tgz")
    if bucket:
        publish_chart(package, version, bucket, aws_client("s3"))
    document = {"package": str(path), "bucket": bucket}
    sentence = f"{path}, in {bucket}" if bucket else str(path)
    print_answer(document, sentence, as_json=as_json)


def _write_package(package: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(package)
    return path
