"""The `vigil` command in a home of its own, and how to wait for what it does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from vigil import reaper
from vigil.home import Home, RunningPlatform

ROOT = Path(__file__).parent.parent


def eventually(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {timeout_s:.0f} s: {condition.__name__}"
        time.sleep(0.1)
    return found


def printed_by(program: str) -> str:
    """What a Python program in an interpreter of its own prints, in this checkout."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def left_of(home: Path) -> list[str]:
    """The processes that were started for this home and still live."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("VIGIL_HOME") == str(home)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def listening() -> set[int]:
    return {
        c.laddr.port
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr
    }


@dataclass
class Vigil:
    """The `vigil` command in a home of its own."""

    home: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "VIGIL_HOME": str(self.home),
            "VIGIL_SERVE_PORT": str(self.port),
            **self.environment,
        }
        command = [sys.executable, "-m", "vigil", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    @property
    def platform(self) -> RunningPlatform:
        """The platform that runs in its home."""
        found = Home(self.home).platform()
        assert found is not None
        return found

    @contextmanager
    def running(self, data: Path | None = None, *options: str) -> Iterator[Self]:
        """Its platform, trained on `data` with `options` of `up`, for the length of a block.

        It ends also when this process is killed in it.
        """
        self.run("up", "-d", *(("--data", str(data)) if data else ()), *options)
        with reaper.start_reaper(self.platform.id):
            try:
                yield self
            finally:
                self.run("down")

    def run(self, *arguments: str, code: int = 0) -> str:
        """Standard output of a command that must exit with `code`.

        Of a failing one it is standard error too.
        """
        process = self.start(*arguments)
        out, err = process.communicate(timeout=420)
        assert process.returncode == code, (
            f"vigil {' '.join(arguments)} exited {process.returncode}\n{out}\n{err}"
        )
        return out + err if code else out

    def json(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.run(*arguments, "--json"))

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: bytes | dict[str, Any]) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask(
            urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        )

    def drift(self) -> dict[str, Any]:
        """`/drift`, or nothing while it cannot be had.

        This very request may be in flight on what was killed.
        """
        with suppress(OSError):
            status, answer = self.get("/drift")
            if status == 200:
                return answer
        return {}

    def replicas(self) -> dict[int, dict[str, Any]]:
        """What each replica says of itself, by its pid; none while `/drift` cannot be had."""
        return {replica["pid"]: replica for replica in self.drift().get("replicas", [])}

    def processes(self, name: str = "") -> list[psutil.Process]:
        """The living processes of its platform whose command line holds `name`."""
        found = []
        for process in reaper.marked_processes(self.platform.id):
            with suppress(psutil.Error):  # it may end while it is looked at
                if name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def _ask(self, request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:  # HAProxy's own 500: the replica died with the request in its hands
                return error.code, {"text": text.decode()}
