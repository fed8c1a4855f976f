"""The image's health check: of a platform, of a raylet, of nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serve.local.healthcheck import find_trouble, main
from tests.running import free_port
from vigil.home import Home, RunningPlatform
from vigil.process_birth import own_birth


@dataclass
class Part:
    """Something that answers every GET with `status`."""

    url: str
    status: int = 200


@pytest.fixture
def part() -> Iterator[Part]:
    answering = Part("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answering.status if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answering.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield answering
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).create()


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


def runs(home: Home, url: str) -> None:
    """A platform of this process serves at `url`."""
    home.write_platform(RunningPlatform("id", os.getpid(), own_birth(), url, "x", "x", "x", "x"))


def test_a_platform_is_asked_and_not_a_raylet(home: Home, part: Part) -> None:
    runs(home, part.url)
    assert find_trouble(home, nobody()) is None
    part.status = 503
    assert "503" in (find_trouble(home, nobody()) or "")


def test_a_platform_that_does_not_answer_is_not_well(home: Home) -> None:
    runs(home, nobody())
    assert "refused" in (find_trouble(home, nobody()) or "")


def test_without_a_platform_the_raylet_is_asked(home: Home, part: Part) -> None:
    url = f"{part.url}/healthz"
    assert find_trouble(home, url) is None
    part.status = 500
    assert "500" in (find_trouble(home, url) or "")


def test_where_nothing_runs_nothing_is_wrong(home: Home) -> None:
    assert find_trouble(home, nobody()) is None


def test_it_exits_with_what_docker_reads(
    home: Home, part: Part, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIGIL_HOME", str(home.root))
    runs(home, part.url)
    assert main() == 0
    part.status = 500
    assert main() == 1
    assert part.url in capsys.readouterr().out
