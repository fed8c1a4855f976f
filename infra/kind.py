"""Vigil on a kind cluster: `python -m infra.kind check` says what is missing.

`up` and `down` do what docs/deploy.md has step by step.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import click

from infra.fields import PROJECT
from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.preflight import PodTotals, totals_by_namespace
from infra.settings import PlatformSettings
from infra.stack_settings import ROOT, read_files
from vigil.errors import VigilError
from vigil.terminal import report_errors

CommandRunner = Callable[[Sequence[str]], tuple[int, str]]
_TOOLS = {
    "docker": "https://docs.docker.com/get-docker",
    "kind": "https://kind.sigs.k8s.io",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "pulumi": "https://www.pulumi.com/docs/install",
}
KIND_CLUSTER = "vigil"
KIND_STACK = "kind"
_TEMPLATE_STACK = "local"
_RANDOM_SECRETS = ("rayToken", "mlflowPassword", "mlflowSecretKey")
# The state of a trial is in the checkout, and its secrets are locked with a word that
# everybody knows.
_STATE_BACKEND = {
    "PULUMI_BACKEND_URL": f"file://{ROOT / 'state'}",
    "PULUMI_CONFIG_PASSPHRASE": "local",
}


class StepFailed(VigilError):
    """A command of `up` or `down` has ended with an error, which it has printed."""


@dataclass(frozen=True)
class Prerequisite:
    """One thing that is needed; `fix` says how to get it where it is missing."""

    what: str
    ok: bool
    fix: str = ""


@dataclass(frozen=True)
class ShellStep:
    """One command of docs/deploy.md; `text` goes to its standard input.

    `done` says that it need not be run again.
    """

    command: Sequence[str]
    text: str | None = None
    done: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return shlex.join(self.command)


def run_command(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command that may be absent or hang."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout


def resources_needed(settings: PlatformSettings) -> tuple[float, float]:
    """CPUs and GiB of memory that all pods ask for at rest, and one training worker beside them."""
    room = total_requests(
        totals_by_namespace(
            [one for group in all_objects(settings, Bindings()).values() for one in group]
        )
    )
    # And KubeRay's operator (.1 and .5), and what Kubernetes asks for on kind's node (.95 and .3).
    cpu = room["cpu"] + settings.train_cpu + 0.1 + 0.95
    memory = room["memory"] / 2**30 + settings.train_memory_gib + 0.5 + 0.3
    return cpu, memory


def total_requests(found: Mapping[str, PodTotals]) -> dict[str, float]:
    """What is requested over all namespaces, by resource."""
    return {
        kind: sum(room.sums.get(("requests", kind), 0.0) for room in found.values())
        for kind in ("cpu", "memory")
    }


def check_prerequisites(
    settings: PlatformSettings, run: CommandRunner = run_command
) -> list[Prerequisite]:
    """Tools, cluster, image and room, in the order in which they are needed."""
    code, text = run(["kubectl", "config", "current-context"])
    context = text.strip()
    create = f"kind create cluster --name {KIND_CLUSTER}"
    is_kind = code == 0 and context.startswith("kind-")
    return [
        *check_tools(run),
        Prerequisite("kubectl points at a kind cluster", is_kind, create),
        Prerequisite("the cluster answers", run(["kubectl", "get", "nodes"])[0] == 0, create),
        _storage(settings, run),
        _image(settings, context.removeprefix("kind-") or KIND_CLUSTER, run),
        _room(settings),
    ]


def check_tools(run: CommandRunner = run_command) -> list[Prerequisite]:
    """The programs that have to be installed."""
    found = [
        Prerequisite(tool, run(["which", tool])[0] == 0, f"install it: {url}")
        for tool, url in _TOOLS.items()
    ]
    return [
        *found,
        Prerequisite("docker runs", run(["docker", "info"])[0] == 0, "start the Docker daemon"),
    ]


def _storage(settings: PlatformSettings, run: CommandRunner) -> Prerequisite:
    names = run(["kubectl", "get", "storageclass", "-o", "name"])[1].split()
    wanted = f"storageclass.storage.k8s.io/{settings.home_storage_class}"
    fix = "set vigil:homeStorageClass to one of: " + " ".join(names)
    return Prerequisite(f"storage class {settings.home_storage_class}", wanted in names, fix)


def _image(settings: PlatformSettings, cluster: str, run: CommandRunner) -> Prerequisite:
    image = settings.image_ref
    node = f"{cluster}-control-plane"
    loaded = image in run(["docker", "exec", node, "crictl", "images", "-o", "json"])[1]
    fix = f"docker build -t {image} . && kind load docker-image {image} --name {cluster}"
    return Prerequisite(f"image {image} is on the node", loaded, fix)


def _room(settings: PlatformSettings) -> Prerequisite:
    cpu, memory = resources_needed(settings)
    have_cpu = os.cpu_count() or 1
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    what = f"{cpu:g} CPU and {memory:g} GiB of memory (here: {have_cpu} and {have:.0f})"
    fix = "a larger machine, or smaller pods in the stack's file"
    return Prerequisite(what, have_cpu >= cpu and have >= memory, fix)


def up_steps(
    image: str, keys: Callable[[], str], run: CommandRunner = run_command, root: Path = ROOT
) -> Iterator[ShellStep]:
    """From nothing to a platform that answers.

    `keys` makes an API key and gives the file that knows it.
    """
    clusters = run(["kind", "get", "clusters"])[1].split()
    yield ShellStep(
        ["kind", "create", "cluster", "--name", KIND_CLUSTER], done=KIND_CLUSTER in clusters
    )
    yield _use_context()
    yield ShellStep(["docker", "build", "-t", image, "."])
    yield ShellStep(["kind", "load", "docker-image", image, "--name", KIND_CLUSTER])
    file = root / f"Pulumi.{KIND_STACK}.yaml"
    yield ShellStep(["mkdir", "-p", "state"])
    yield ShellStep(["cp", f"Pulumi.{_TEMPLATE_STACK}.yaml", file.name], done=file.exists())
    yield _pulumi("stack", "select", "--create", KIND_STACK)
    text = file.read_text() if file.exists() else ""
    for key in _RANDOM_SECRETS:
        there = f"{PROJECT}:{key}:" in text
        yield _secret(key, "" if there else secrets.token_hex(24), done=there)
    there = f"{PROJECT}:apiKeys:" in text
    yield _secret("apiKeys", "" if there else keys(), done=there)
    yield _pulumi("up", "--yes", "--stack", KIND_STACK)


def down_steps(run: CommandRunner = run_command) -> Iterator[ShellStep]:
    """All of it again. A cluster that was deleted by hand takes what the stack made along."""
    gone = KIND_CLUSTER not in run(["kind", "get", "clusters"])[1].split()
    yield replace(_use_context(), done=gone)
    yield replace(_pulumi("destroy", "--yes", "--stack", KIND_STACK), done=gone)
    yield ShellStep(["kind", "delete", "cluster", "--name", KIND_CLUSTER], done=gone)


def _use_context() -> ShellStep:
    """Pulumi goes where kubectl points: that must be no other cluster."""
    return ShellStep(["kubectl", "config", "use-context", f"kind-{KIND_CLUSTER}"])


def _pulumi(*arguments: str) -> ShellStep:
    return ShellStep(["pulumi", *arguments], environment=_STATE_BACKEND)


def _secret(key: str, value: str, *, done: bool) -> ShellStep:
    """A secret is told by standard input: an argument can be read by everybody on the machine."""
    arguments = ["pulumi", "config", "set", "--secret", f"{PROJECT}:{key}", "--stack", KIND_STACK]
    return ShellStep(arguments, text=value, done=done, environment=_STATE_BACKEND)


def carry_out(steps: Iterator[ShellStep]) -> None:
    """Print each command and run it; raises StepFailed with the first that fails."""
    for name, value in _STATE_BACKEND.items():
        click.echo(f"$ export {name}={value}", err=True)
    for step in steps:
        click.echo(f"$ {step}{'   # done before' if step.done else ''}", err=True)
        if not step.done:
            _run(step)


def _run(step: ShellStep, stdout: IO[str] | None = None) -> None:
    # The engine looks for uv on the PATH; `make dev` puts one into .tools where there is none.
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}:{ROOT / '.tools' / 'bin'}"
    environment = {**os.environ, **step.environment, "PATH": path}
    done = subprocess.run(
        step.command,
        input=step.text,
        stdout=stdout,
        env=environment,
        cwd=ROOT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StepFailed(
            f"`{step}` has failed: mend what it says, then run this again; "
            "what is done is not done twice"
        )


def create_operator_key(root: Path = ROOT) -> str:
    """An operator's API key, in the file `key` that only its owner reads.

    Gives the hashes among which its own is. Raises StepFailed where the home has a key `me`
    already, which nobody can read any more.
    """
    home = root / ".vigil"
    file = root / "key"
    if not file.exists():
        step = ShellStep(
            ["vigil", "keys", "new", "me", "--operator"], environment={"VIGIL_HOME": str(home)}
        )
        click.echo(f"$ {step} > key", err=True)
        file.touch(mode=0o600)
        with file.open("w") as written:
            _run(step, written)
    return (home / "keys.json").read_text()


@click.group()
def main() -> None:
    """Vigil on a kind cluster."""


@main.command("check")
@report_errors
def check_command() -> None:
    """Print what is there and what is not; exit 0 when nothing is missing."""
    found = check_prerequisites(read_files(_TEMPLATE_STACK))
    _tell(found)
    sys.exit(int(not all(one.ok for one in found)))


@main.command("up")
@report_errors
def up_command() -> None:
    """Cluster, image, stack, secrets, `pulumi up`."""
    if missing := [one for one in check_tools() if not one.ok]:
        _tell(missing)
        sys.exit(1)
    carry_out(up_steps(read_files(_TEMPLATE_STACK).image_ref, create_operator_key))
    click.echo("it serves; docs/deploy.md, 'On kind', goes on with a table to train on", err=True)


@main.command("down")
@report_errors
def down_command() -> None:
    """`pulumi destroy`, and the cluster goes."""
    carry_out(down_steps())


def _tell(found: Sequence[Prerequisite]) -> None:
    for one in found:
        click.echo(
            f"{'ok     ' if one.ok else 'missing'}  {one.what}{'' if one.ok else f': {one.fix}'}"
        )


if __name__ == "__main__":
    main()
