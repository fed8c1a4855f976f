"""The built image as it is run: without rights, on a root that cannot be written."""

from __future__ import annotations

import json
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.containers import (
    BUILD,
    LIMITS,
    background,
    call,
    needs_build,
    needs_image,
    run,
    volume,
)
from tests.image.dockerfile import ROOT
from tests.image.test_dockerfile import from_context, last, variables
from tests.image.test_trim_libraries import STARTED, in_image
from tests.running import eventually

pytestmark = pytest.mark.timeout(1200)

# Modules without bytecode, of libraries and of Python itself, but for what nobody imports.
BARE = """
import importlib.util, pathlib, sysconfig
for name in ("purelib", "stdlib"):
    root = pathlib.Path(sysconfig.get_path(name))
    for file in root.rglob("*.py"):
        inside = set(file.relative_to(root).parts[:-1])
        unused = {"test", "tests", "idlelib", "turtledemo"}
        if inside & (unused | {"site-packages"} if name == "stdlib" else unused):
            continue
        if not pathlib.Path(importlib.util.cache_from_source(file)).exists():
            print(file)
"""
IMPORT = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
# Leaves an orphan that ends at once; prints how many zombies there are when it should be reaped.
ORPHAN = """
import os, pathlib, time
if os.fork() == 0:
    if os.fork() == 0:
        os._exit(0)
    time.sleep(0.5)
    os._exit(0)
os.wait()
def zombies():
    found = 0
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            found += "State:\\tZ" in status.read_text()
        except OSError:
            pass
    return found
deadline = time.monotonic() + 5
while zombies() and time.monotonic() < deadline:
    time.sleep(0.05)
print(zombies())
"""
HEALTH = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:5000/health", timeout=5).read().decode())
"""
TABLE = """
import sys
import pandas as pd
from serve.local.telemetry import telemetry
table = telemetry(6000, seed=1)
pd.DataFrame(table.X, columns=list(table.names)).to_csv(sys.argv[1], index=False)
"""
USED = """
import pathlib
root = pathlib.Path("/sys/fs/cgroup")
second = root / "memory.current"
folder = root if second.exists() else root / "memory"
used = int((second if second.exists() else folder / "memory.usage_in_bytes").read_text())
stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
print(used - int(stat.get("total_inactive_file", stat["inactive_file"])))
"""


@needs_image
def test_it_runs_without_rights_and_says_what_it_can() -> None:
    assert run("id", "-u").strip() == "1000"
    assert "train" in run()
    assert run("python", "-m", "serve.local.healthcheck") == ""


@needs_image
def test_every_module_has_its_bytecode() -> None:
    bare = run("python", "-c", BARE).split()
    assert [file for file in bare if "/lib2to3/" not in file] == []


@needs_image
def test_all_that_it_runs_can_be_imported() -> None:
    run("python", "-W", "ignore", "-c", IMPORT, *in_image(), *STARTED)


@needs_image
def test_orphans_are_reaped_by_process_1() -> None:
    assert run("python", "-c", ORPHAN).strip() == "0"
    bare = ["--entrypoint=python"]  # which does not reap
    assert run("-c", ORPHAN, options=bare).strip() == "1"


@needs_image
@pytest.mark.parametrize("command", ["up", "demo", "train --data x.csv", "models", "keys new x"])
def test_a_home_that_may_not_be_written_is_a_sentence(command: str) -> None:
    said = run("vigil", *command.split(), code=1)
    assert said.startswith("error: cannot write to /var/lib/vigil: Read-only file system.")
    assert "mount a volume" in said


@needs_image
def test_mlflow_starts_by_its_own_command() -> None:
    given = {name: value for name, value in variables("mlflow").items() if "MLFLOW" in name}
    options = [f"--env={name}={value}" for name, value in given.items()]
    with background(*last("mlflow", "CMD").words, options=options) as container:
        eventually(lambda: container.ask("python", "-c", HEALTH, code=None) == "OK\n", 180)
        assert "mlflow.db" in container.ask("ls", "/var/lib/vigil")


@needs_image
def test_the_whole_demo_runs_confined() -> None:
    with volume() as home:
        said = run("vigil", "demo", "--exit", "--json", options=[*LIMITS, *home], timeout_s=900)
    summary = json.loads(said.splitlines()[-1])
    assert summary["failed_requests"] == 0
    assert (summary["first_version"], summary["final_version"]) == ("1", "2")


@needs_image
def test_a_platform_at_rest_leaves_room_in_4_gib_and_is_healthy() -> None:
    prepare = f"python -c '{TABLE}' /tmp/table.csv && exec vigil up --data /tmp/table.csv"
    bare = ["--entrypoint=sh", *LIMITS]  # `vigil up` is process 1 itself, as in a pod's `command`
    with background("-c", prepare, options=bare) as container:
        eventually(lambda: "running at" in container.said(), 400)
        assert container.ask("cat", "/proc/1/comm").strip() == "dumb-init"
        assert "/dev/shm has 64 MB free" in container.said()
        assert container.ask("python", "-m", "serve.local.healthcheck") == ""
        assert json.loads(container.ask("vigil", "status", "--json"))["parts"]["serve"]
        eventually(lambda: int(container.ask("python", "-c", USED)) < 2.5 * 2**30, 120)


def layers(image: str) -> list[str]:
    return json.loads(call("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))


def context(folder: Path) -> Path:
    """What a build gets, in a folder of its own."""
    folder.mkdir()
    for name in [*from_context(), "Dockerfile", ".dockerignore"]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def build(folder: Path, tag: str, *options: str) -> list[str]:
    more = [] if BUILD == "1" else BUILD.split()
    call("build", *more, *options, "--tag", tag, str(folder), timeout_s=1100)
    return layers(tag)


@pytest.fixture
def tag() -> Iterator[str]:
    """The name of an image that is gone afterwards."""
    name = f"vigil:test-{uuid.uuid4().hex}"
    yield name
    call("rmi", name, code=None)


@needs_build
def test_a_commit_makes_one_small_layer_and_a_revision_none(tmp_path: Path, tag: str) -> None:
    tree = context(tmp_path / "context")
    first = build(tree, tag)
    assert build(tree, tag, "--build-arg", "REVISION=abc") == first
    module = tree / "train" / "revision.py"
    module.write_text(module.read_text() + "\n# changed\n")
    second = build(tree, tag)
    assert second != first
    assert second[:-1] == first[:-1]
    archive = tmp_path / "image.tar"
    call("save", "--output", str(archive), tag, timeout_s=600)
    assert _last_layer(archive) < 5 * 10**6


def _last_layer(archive: Path) -> int:
    """Bytes of the topmost layer, unpacked."""
    with tarfile.open(archive) as file:
        manifest = file.extractfile("manifest.json")
        assert manifest is not None
        return file.getmember(json.load(manifest)[0]["Layers"][-1]).size
