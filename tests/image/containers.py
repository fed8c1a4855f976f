"""Containers of the image under test, by podman or Docker.

VIGIL_TEST_IMAGE names an image that was built: `make test ARGS=tests/image` then runs it.
VIGIL_TEST_BUILD=1 also builds (its value may be options for that, as `--network host`).
VIGIL_TEST_RUNNER is the command where it is not plain `podman` or `docker`, and
VIGIL_TEST_RUN are options for its `run`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from infra.manifests.parts import HOME_PATH, VIGIL_USER_ID

IMAGE = os.environ.get("VIGIL_TEST_IMAGE", "")
BUILD = os.environ.get("VIGIL_TEST_BUILD", "")
# What a pod under Pod Security `restricted` has, with Docker's own /dev/shm and its `--tmpfs /tmp`.
CONFINED = [
    "--read-only",
    "--tmpfs=/tmp:rw,noexec,nosuid,nodev",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--shm-size=64m",
    f"--user={VIGIL_USER_ID}:{VIGIL_USER_ID}",
    "--network=none",
    "--no-healthcheck",
]
LIMITS = ["--memory=4g", "--cpus=2"]


def runner() -> list[str]:
    """The command that runs containers, or an empty list."""
    if given := os.environ.get("VIGIL_TEST_RUNNER"):
        return shlex.split(given)
    found = next((name for name in ("podman", "docker") if shutil.which(name)), None)
    return [found] if found else []


needs_image = pytest.mark.skipif(
    not (IMAGE and runner()),
    reason="needs podman or docker, and VIGIL_TEST_IMAGE: the name of an image that they have",
)
needs_build = pytest.mark.skipif(
    not (BUILD and runner()),
    reason="needs podman or docker, and VIGIL_TEST_BUILD=1: it builds twice",
)


def call(*arguments: str, code: int | None = 0, timeout_s: float = 120) -> str:
    """What podman or Docker say; they must exit with `code`, or with any where that is None."""
    command = [*runner(), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    said = done.stdout + done.stderr
    if code is not None:
        assert done.returncode == code, f"{shlex.join(command)}: {done.returncode}\n{said}"
    return done.stdout if code == 0 else said


def run(
    *command: str,
    options: list[str] | None = None,
    code: int = 0,
    timeout_s: float = 120,
) -> str:
    """Output of a command in a container of the image that is gone afterwards."""
    given = [*_confined(), "--rm", *(options or [])]
    return call("run", *given, IMAGE, *command, code=code, timeout_s=timeout_s)


def _confined() -> list[str]:
    return [*CONFINED, *shlex.split(os.environ.get("VIGIL_TEST_RUN", ""))]


@contextmanager
def volume() -> Iterator[list[str]]:
    """Options that mount a volume as the home, which is gone afterwards."""
    name = f"vigil-{uuid.uuid4().hex}"
    call("volume", "create", name)
    try:
        yield [f"--volume={name}:{HOME_PATH}"]
    finally:
        call("volume", "rm", name)


@dataclass(frozen=True)
class Container:
    """One that runs in the background."""

    name: str

    def ask(self, *command: str, code: int | None = 0) -> str:
        return call("exec", self.name, *command, code=code)

    def said(self) -> str:
        return call("logs", self.name, code=None)


@contextmanager
def background(*command: str, options: list[str]) -> Iterator[Container]:
    """A container that runs for the length of a block, with a home in a volume."""
    name = f"vigil-{uuid.uuid4().hex}"
    with volume() as home:
        call("create", f"--name={name}", *_confined(), *home, *options, IMAGE, *command)
        try:
            call("start", name)
            yield Container(name)
        finally:
            call("stop", "--time=60", name, code=None)
            call("rm", "--force", name)
