"""Vigil on a kind cluster: `python -m infra.kind check` says what is missing, `up` and `down` do what docs/deploy.md has step by step."""

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

from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.preflight import Room, rooms
from infra.settings import PROJECT, ROOT, PlatformSettings, read_files
from vigil.errors import VigilError
from vigil.terminal import command

Run = Callable[[Sequence[str]], tuple[int, str]]
TOOLS = {
    "docker": "https://docs.docker.com/get-docker",
    "kind": "https://kind.sigs.k8s.io",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "pulumi": "https://www.pulumi.com/docs/install",
}
NAME, STACK, LIKE = "vigil", "kind", "local"
RANDOM = ("rayToken", "mlflowPassword", "mlflowSecretKey")
# The state of a trial is in the checkout, and its secrets are locked with a word that everybody knows.
BACKEND = {"PULUMI_BACKEND_URL": f"file://{ROOT / 'state'}", "PULUMI_CONFIG_PASSPHRASE": "local"}


class StepFailed(VigilError):
    """A command of `up` or `down` has ended with an error, which it has printed."""


@dataclass(frozen=True)
class Need:
    """One thing that is needed; `fix` says how to get it where it is missing."""

    what: str
    ok: bool
    fix: str = ""


@dataclass(frozen=True)
class Step:
    """One command of docs/deploy.md; `text` goes to its standard input. `done` says that it need not be run again."""

    command: Sequence[str]
    text: str | None = None
    done: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return shlex.join(self.command)


def run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command that may be absent or hang."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout


def needs(settings: PlatformSettings) -> tuple[float, float]:
    """CPUs and GiB of memory that all pods ask for at rest, and one training worker beside them."""
    room = sum_of(
        rooms([one for group in all_objects(settings, Bindings()).values() for one in group])
    )
    # And KubeRay's operator (.1 and .5), and what Kubernetes itself asks for on kind's node (.95 and .3).
    cpu = room["cpu"] + settings.train_cpu + 0.1 + 0.95
    memory = room["memory"] / 2**30 + settings.train_memory_gib + 0.5 + 0.3
    return cpu, memory


def sum_of(found: Mapping[str, Room]) -> dict[str, float]:
    """What is requested over all namespaces, by resource."""
    return {
        kind: sum(room.sums.get(("requests", kind), 0.0) for room in found.values())
        for kind in ("cpu", "memory")
    }


def check(settings: PlatformSettings, run: Run = run) -> list[Need]:
    """Tools, cluster, image and room, in the order in which they are needed."""
    code, text = run(["kubectl", "config", "current-context"])
    context = text.strip()
    create = f"kind create cluster --name {NAME}"
    is_kind = code == 0 and context.startswith("kind-")
    return [
        *tools(run),
        Need("kubectl points at a kind cluster", is_kind, create),
        Need("the cluster answers", run(["kubectl", "get", "nodes"])[0] == 0, create),
        _storage(settings, run),
        _image(settings, context.removeprefix("kind-") or NAME, run),
        _room(settings),
    ]


def tools(run: Run = run) -> list[Need]:
    """The programs that have to be installed."""
    found = [
        Need(tool, run(["which", tool])[0] == 0, f"install it: {url}")
        for tool, url in TOOLS.items()
    ]
    return [*found, Need("docker runs", run(["docker", "info"])[0] == 0, "start the Docker daemon")]


def _storage(settings: PlatformSettings, run: Run) -> Need:
    names = run(["kubectl", "get", "storageclass", "-o", "name"])[1].split()
    wanted = f"storageclass.storage.k8s.io/{settings.home_storage_class}"
    fix = "set vigil:homeStorageClass to one of: " + " ".join(names)
    return Need(f"storage class {settings.home_storage_class}", wanted in names, fix)


def _image(settings: PlatformSettings, cluster: str, run: Run) -> Need:
    image, node = settings.image_ref, f"{cluster}-control-plane"
    loaded = image in run(["docker", "exec", node, "crictl", "images", "-o", "json"])[1]
    fix = f"docker build -t {image} . && kind load docker-image {image} --name {cluster}"
    return Need(f"image {image} is on the node", loaded, fix)


def _room(settings: PlatformSettings) -> Need:
    cpu, memory = needs(settings)
    have_cpu = os.cpu_count() or 1
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    what = f"{cpu:g} CPU and {memory:g} GiB of memory (here: {have_cpu} and {have:.0f})"
    fix = "a larger machine, or smaller pods in the stack's file"
    return Need(what, have_cpu >= cpu and have >= memory, fix)


def up_steps(
    image: str, keys: Callable[[], str], run: Run = run, root: Path = ROOT
) -> Iterator[Step]:
    """From nothing to a platform that answers. `keys` makes an API key and gives the file that knows it."""
    clusters = run(["kind", "get", "clusters"])[1].split()
    yield Step(["kind", "create", "cluster", "--name", NAME], done=NAME in clusters)
    yield _use_context()
    yield Step(["docker", "build", "-t", image, "."])
    yield Step(["kind", "load", "docker-image", image, "--name", NAME])
    file = root / f"Pulumi.{STACK}.yaml"
    yield Step(["mkdir", "-p", "state"])
    yield Step(["cp", f"Pulumi.{LIKE}.yaml", file.name], done=file.exists())
    yield _pulumi("stack", "select", "--create", STACK)
    text = file.read_text() if file.exists() else ""
    for key in RANDOM:
        there = f"{PROJECT}:{key}:" in text
        yield _secret(key, "" if there else secrets.token_hex(24), done=there)
    there = f"{PROJECT}:apiKeys:" in text
    yield _secret("apiKeys", "" if there else keys(), done=there)
    yield _pulumi("up", "--yes", "--stack", STACK)


def down_steps(run: Run = run) -> Iterator[Step]:
    """All of it again. A cluster that was deleted by hand takes what the stack made along."""
    gone = NAME not in run(["kind", "get", "clusters"])[1].split()
    yield replace(_use_context(), done=gone)
    yield replace(_pulumi("destroy", "--yes", "--stack", STACK), done=gone)
    yield Step(["kind", "delete", "cluster", "--name", NAME], done=gone)


def _use_context() -> Step:
    """Pulumi goes where kubectl points: that must be no other cluster."""
    return Step(["kubectl", "config", "use-context", f"kind-{NAME}"])


def _pulumi(*arguments: str) -> Step:
    return Step(["pulumi", *arguments], environment=BACKEND)


def _secret(key: str, value: str, *, done: bool) -> Step:
    """A secret is told by standard input: an argument can be read by everybody on the machine."""
    arguments = ["pulumi", "config", "set", "--secret", f"{PROJECT}:{key}", "--stack", STACK]
    return Step(arguments, text=value, done=done, environment=BACKEND)


def carry_out(steps: Iterator[Step]) -> None:
    """Print each command and run it; raises StepFailed with the first that fails."""
    for name, value in BACKEND.items():
        click.echo(f"$ export {name}={value}", err=True)
    for step in steps:
        click.echo(f"$ {step}{'   # done before' if step.done else ''}", err=True)
        if not step.done:
            _run(step)


def _run(step: Step, stdout: IO[str] | None = None) -> None:
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
            f"`{step}` has failed: mend what it says, then run this again; what is done is not done twice"
        )


def new_key(root: Path = ROOT) -> str:
    """An operator's API key, in the file `key` that only its owner reads; the hashes among which its own is.

    Raises StepFailed where the home has a key `me` already, which nobody can read any more.
    """
    home, file = root / ".vigil", root / "key"
    if not file.exists():
        step = Step(
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
@command
def check_command() -> None:
    """Print what is there and what is not; exit 0 when nothing is missing."""
    found = check(read_files(LIKE))
    _tell(found)
    sys.exit(int(not all(one.ok for one in found)))


@main.command()
@command
def up() -> None:
    """Cluster, image, stack, secrets, `pulumi up`."""
    if missing := [one for one in tools() if not one.ok]:
        _tell(missing)
        sys.exit(1)
    carry_out(up_steps(read_files(LIKE).image_ref, new_key))
    click.echo("it serves; docs/deploy.md, 'On kind', goes on with a table to train on", err=True)


@main.command()
@command
def down() -> None:
    """`pulumi destroy`, and the cluster goes."""
    carry_out(down_steps())


def _tell(found: Sequence[Need]) -> None:
    for one in found:
        click.echo(
            f"{'ok     ' if one.ok else 'missing'}  {one.what}{'' if one.ok else f': {one.fix}'}"
        )


if __name__ == "__main__":
    main()
