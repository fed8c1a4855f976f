"""Says what is missing before the Kubernetes part can be put on a kind cluster: `python -m infra.kind`. Changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.settings import PlatformSettings, read_files

Run = Callable[[Sequence[str]], tuple[int, str]]
TOOLS = {
    "docker": "https://docs.docker.com/get-docker", "kind": "https://kind.sigs.k8s.io", "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "pulumi": "https://www.pulumi.com/docs/install",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is needed; `fix` says how to get it where it is missing."""

    what: str
    ok: bool
    fix: str = ""


def run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command that may be absent or hang."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout


def needs(settings: PlatformSettings) -> tuple[float, float]:
    """CPUs and GiB of memory that all pods ask for at rest, the operator and MLflow among them."""
    cpu = 2 * settings.head_cpu + settings.min_workers * settings.worker_cpu + 0.5 + 2 * 0.5 + 0.75 + 0.1
    memory = 2 * settings.head_memory_gib + settings.min_workers * settings.worker_memory_gib + 2 + 2 * 1 + 3 + 0.5
    return cpu, memory


def check(settings: PlatformSettings, run: Run = run) -> list[Finding]:
    """Tools, cluster, image and room, in the order in which they are needed."""
    found = [Finding(tool, run(["which", tool])[0] == 0, f"install it: {url}") for tool, url in TOOLS.items()]
    found.append(Finding("docker runs", run(["docker", "info"])[0] == 0, "start the Docker daemon"))
    code, text = run(["kubectl", "config", "current-context"])
    context = text.strip()
    fix = "kind create cluster --name vigil"
    found.append(Finding("kubectl points at a kind cluster", code == 0 and context.startswith("kind-"), fix))
    found.append(Finding("the cluster answers", run(["kubectl", "get", "nodes"])[0] == 0, fix))
    names = run(["kubectl", "get", "storageclass", "-o", "name"])[1].split()
    wanted = f"storageclass.storage.k8s.io/{settings.home_storage_class}"
    found.append(
        Finding(
            f"storage class {settings.home_storage_class}",
            wanted in names,
            "set vigil:homeStorageClass to one of: " + " ".join(names),
        )
    )
    image = settings.image_ref
    node = f"{context.removeprefix('kind-')}-control-plane"
    loaded = image in run(["docker", "exec", node, "crictl", "images", "-o", "json"])[1]
    fix = f"docker build -t {image} . && kind load docker-image {image} --name {context.removeprefix('kind-') or 'vigil'}"
    return [*found, Finding(f"image {image} is on the node", loaded, fix), _room(settings)]


def _room(settings: PlatformSettings) -> Finding:
    cpu, memory = needs(settings)
    have_cpu, have = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    what = f"{cpu:g} CPU and {memory:g} GiB of memory (here: {have_cpu} and {have:.0f})"
    return Finding(what, have_cpu >= cpu and have >= memory, "a larger machine, or smaller pods in Pulumi.local.yaml")


def main() -> int:
    """Print what is there and what is not; 0 when nothing is missing."""
    found = check(read_files("local"))
    for one in found:
        sys.stdout.write(f"{'ok     ' if one.ok else 'missing'}  {one.what}{'' if one.ok else f': {one.fix}'}\n")
    return int(not all(one.ok for one in found))


if __name__ == "__main__":
    sys.exit(main())
