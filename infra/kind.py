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
from itertools import chain
from pathlib import Path
from typing import IO

import click

from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.place_fields import PROJECT
from infra.preflight import PodTotals, totals_by_namespace
from infra.settings import PlatformSettings
from infra.stack_settings import ROOT, read_files
from vigil.errors import VigilError
from vigil.json_types import JsonObject
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


# KubeRay's operator, and what Kubernetes asks for on kind's node.
_OTHERS_CPU = 0.1 + 0.95
_OTHERS_GIB = 0.5 + 0.3


class StepFailed(VigilError):
    """A command of `up` or `down` has ended with an error, which it has printed."""


@dataclass(frozen=True)
class Prerequisite:
    """One thing that is needed; `fix` says how to get it where it is missing."""

    what: str
    ok: bool
    fix: str = ""

    def __str__(self) -> str:
        return f"ok       {self.what}" if self.ok else f"missing  {self.what}: {self.fix}"


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

    @property
    def line(self) -> str:
        """The step as it is printed."""
        return f"$ {self}{'   # done before' if self.done else ''}"


def run_command(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command that may be absent or hang."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout


def resources_needed(settings: PlatformSettings) -> tuple[float, float]:
    """CPUs and GiB of memory that all pods ask for at rest, and one training worker beside them."""
    groups = all_objects(settings, Bindings()).values()
    requests = total_requests(totals_by_namespace([*chain.from_iterable(groups)]))
    cpu = requests["cpu"] + settings.train_cpu + _OTHERS_CPU
    memory = requests["memory"] / 2**30 + settings.train_memory_gib + _OTHERS_GIB
    return cpu, memory


def total_requests(totals: Mapping[str, PodTotals]) -> dict[str, float]:
    """What is requested over all namespaces, by resource."""
    return {resource: _requested(totals, resource) for resource in ("cpu", "memory")}


def _requested(totals: Mapping[str, PodTotals], resource: str) -> float:
    key = ("requests", resource)
    return sum(room.sums.get(key, 0.0) for room in totals.values())


def check_prerequisites(
    settings: PlatformSettings, run: CommandRunner = run_command
) -> list[Prerequisite]:
    """Tools, cluster, image and room, in the order in which they are needed."""
    code, text = run(["kubectl", "config", "current-context"])
    context = text.strip() if code == 0 else ""
    return [
        *check_tools(run),
        *_cluster(context, run),
        _storage(settings, run),
        _image(settings, context.removeprefix("kind-") or KIND_CLUSTER, run),
        _room(settings),
    ]


def check_tools(run: CommandRunner = run_command) -> list[Prerequisite]:
    """The programs that have to be installed."""
    tools = [_tool(tool, url, run) for tool, url in _TOOLS.items()]
    runs = _succeeds(run, "docker", "info")
    return [*tools, Prerequisite("docker runs", runs, "start the Docker daemon")]


def _succeeds(run: CommandRunner, *command: str) -> bool:
    return run(command)[0] == 0


def _tool(
    tool: str,
    url: str,
    run: CommandRunner,
) -> Prerequisite:
    return Prerequisite(tool, _succeeds(run, "which", tool), f"install it: {url}")


def _cluster(context: str, run: CommandRunner) -> Iterator[Prerequisite]:
    create = f"kind create cluster --name {KIND_CLUSTER}"
    is_kind = context.startswith("kind-")
    yield Prerequisite("kubectl points at a kind cluster", is_kind, create)
    answers = _succeeds(run, "kubectl", "get", "nodes")
    yield Prerequisite("the cluster answers", answers, create)


def _storage(settings: PlatformSettings, run: CommandRunner) -> Prerequisite:
    name = settings.home_storage_class
    _, names = run(["kubectl", "get", "storageclass", "-o", "name"])
    offered = names.split()
    is_offered = f"storageclass.storage.k8s.io/{name}" in offered
    fix = "set vigil:homeStorageClass to one of: " + " ".join(offered)
    return Prerequisite(f"storage class {name}", is_offered, fix)


def _image(
    settings: PlatformSettings,
    cluster: str,
    run: CommandRunner,
) -> Prerequisite:
    image = settings.image_ref
    node = f"{cluster}-control-plane"
    _, images = run(["docker", "exec", node, "crictl", "images", "-o", "json"])
    fix = f"docker build -t {image} . && kind load docker-image {image} --name {cluster}"
    return Prerequisite(f"image {image} is on the node", image in images, fix)


def _room(settings: PlatformSettings) -> Prerequisite:
    cpu, memory = resources_needed(settings)
    cpu_here, memory_here = _machine()
    here = f"(here: {cpu_here} and {memory_here:.0f})"
    what = f"{cpu:g} CPU and {memory:g} GiB of memory {here}"
    fix = "a larger machine, or smaller pods in the stack's file"
    return Prerequisite(what, cpu_here >= cpu and memory_here >= memory, fix)


def _machine() -> tuple[int, float]:
    """CPUs and GiB of memory of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return os.cpu_count() or 1, memory / 2**30


def up_steps(
    image: str,
    keys: Callable[[], str],
    run: CommandRunner = run_command,
    root: Path = ROOT,
) -> Iterator[ShellStep]:
    """From nothing to a platform that answers.

    `keys` makes an API key and gives the file that knows it.
    """
    yield from _cluster_steps(_has_cluster(run))
    yield from _image_steps(image)
    file = root / f"Pulumi.{KIND_STACK}.yaml"
    yield from _stack_steps(file)
    text = file.read_text() if file.exists() else ""
    yield from _secret_steps(text, keys)
    yield _pulumi("up", "--yes", "--stack", KIND_STACK)


def _has_cluster(run: CommandRunner) -> bool:
    _, names = run(["kind", "get", "clusters"])
    return KIND_CLUSTER in names.split()


def _cluster_steps(exists: bool) -> Iterator[ShellStep]:
    create = ["kind", "create", "cluster", "--name", KIND_CLUSTER]
    yield ShellStep(create, done=exists)
    yield _use_context()


def _image_steps(image: str) -> Iterator[ShellStep]:
    yield ShellStep(["docker", "build", "-t", image, "."])
    yield ShellStep(["kind", "load", "docker-image", image, "--name", KIND_CLUSTER])


def _stack_steps(file: Path) -> Iterator[ShellStep]:
    yield ShellStep(["mkdir", "-p", "state"])
    copy = ["cp", f"Pulumi.{_TEMPLATE_STACK}.yaml", file.name]
    yield ShellStep(copy, done=file.exists())
    yield _pulumi("stack", "select", "--create", KIND_STACK)


def _secret_steps(stack: str, keys: Callable[[], str]) -> Iterator[ShellStep]:
    """Secrets that the text of the stack's file does not have yet."""
    for key in _RANDOM_SECRETS:
        yield _secret_step(key, stack, _random_secret)
    yield _secret_step("apiKeys", stack, keys)


def _random_secret() -> str:
    """A secret that nobody chose."""
    return secrets.token_hex(24)


def _secret_step(
    key: str,
    stack: str,
    create: Callable[[], str],
) -> ShellStep:
    """A secret is told by standard input: an argument can be read by everybody on the machine."""
    exists = f"{PROJECT}:{key}:" in stack
    set_secret = _pulumi(
        "config",
        "set",
        "--secret",
        f"{PROJECT}:{key}",
        "--stack",
        KIND_STACK,
    )
    return replace(set_secret, text="" if exists else create(), done=exists)


def down_steps(run: CommandRunner = run_command) -> Iterator[ShellStep]:
    """All of it again. A cluster that was deleted by hand takes what the stack made along."""
    gone = not _has_cluster(run)
    destroy = _pulumi("destroy", "--yes", "--stack", KIND_STACK)
    delete = ShellStep(["kind", "delete", "cluster", "--name", KIND_CLUSTER])
    for step in (_use_context(), destroy, delete):
        yield replace(step, done=gone)


def _use_context() -> ShellStep:
    """Pulumi goes where kubectl points: that must be no other cluster."""
    return ShellStep(["kubectl", "config", "use-context", f"kind-{KIND_CLUSTER}"])


def _pulumi(*arguments: str) -> ShellStep:
    return ShellStep(["pulumi", *arguments], environment=_STATE_BACKEND)


def carry_out(steps: Iterator[ShellStep]) -> None:
    """Print each command and run it; raises StepFailed with the first that fails."""
    for name, value in _STATE_BACKEND.items():
        click.echo(f"$ export {name}={value}", err=True)
    for step in steps:
        click.echo(step.line, err=True)
        if not step.done:
            _run(step)


def _run(step: ShellStep, stdout: IO[str] | None = None) -> None:
    environment = {
        **os.environ,
        **step.environment,
        "PATH": _search_path(),
    }
    how: JsonObject = {
        "cwd": ROOT,
        "env": environment,
        "text": True,
        "check": False,
    }
    if subprocess.run(
        step.command,
        input=step.text,
        stdout=stdout,
        **how,
    ).returncode:
        again = "mend what it says, then run this again; what is done is not done twice"
        raise StepFailed(f"`{step}` has failed: {again}")


def _search_path() -> str:
    """The engine looks for uv on it; `make dev` puts one into .tools where there is none."""
    folders = (ROOT / ".venv" / "bin", os.environ["PATH"], ROOT / ".tools" / "bin")
    return ":".join(map(str, folders))


def create_operator_key(root: Path = ROOT) -> str:
    """An operator's API key, in the file `key` that only its owner reads.

    Gives the hashes among which its own is. Raises StepFailed where the home has a key `me`
    already, which nobody can read any more.
    """
    home = root / ".vigil"
    file = root / "key"
    if not file.exists():
        _write_key(file, home)
    return (home / "keys.json").read_text()


def _write_key(file: Path, home: Path) -> None:
    new_key = ["vigil", "keys", "new", "me", "--operator"]
    step = ShellStep(new_key, environment={"VIGIL_HOME": str(home)})
    click.echo(f"$ {step} > key", err=True)
    file.touch(mode=0o600)
    with file.open("w") as output:
        _run(step, output)


@click.group()
def main() -> None:
    """Vigil on a kind cluster."""


@main.command("check")
@report_errors
def check_command() -> None:
    """Print what is there and what is not; exit 0 when nothing is missing."""
    needed = check_prerequisites(read_files(_TEMPLATE_STACK))
    _print_prerequisites(needed)
    sys.exit(_exit_code(needed))


def _exit_code(needed: Sequence[Prerequisite]) -> int:
    return 0 if all(each.ok for each in needed) else 1


@main.command("up")
@report_errors
def up_command() -> None:
    """Cluster, image, stack, secrets, `pulumi up`."""
    if missing := [tool for tool in check_tools() if not tool.ok]:
        _print_prerequisites(missing)
        sys.exit(1)
    image = read_files(_TEMPLATE_STACK).image_ref
    carry_out(up_steps(image, create_operator_key))
    click.echo("it serves; docs/deploy.md, 'On kind', goes on with a table to train on", err=True)


@main.command("down")
@report_errors
def down_command() -> None:
    """`pulumi destroy`, and the cluster goes."""
    carry_out(down_steps())


def _print_prerequisites(needed: Sequence[Prerequisite]) -> None:
    for each in needed:
        click.echo(str(each))


if __name__ == "__main__":
    main()
