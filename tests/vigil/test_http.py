"""The HTTP client: proxies, redirects, and errors of connections as the system's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.running import free_port
from vigil import http

PROXY = "http://proxy.example:3128"


class Server:
    """Answers with the path that was asked for, and `/old` with a redirect to `/new`."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.client_port = 0
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                recorded.headers = {name.lower(): value for name, value in self.headers.items()}
                recorded.client_port = self.client_address[1]
                is_old = self.path == "/old"
                self.send_response(302 if is_old else 200)
                if is_old:
                    self.send_header("Location", "/new")
                self.send_header("Content-Length", str(len(self.path)))
                self.end_headers()
                self.wfile.write(self.path.encode())

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


@pytest.fixture
def behind_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names a proxy, and one machine that is asked without it."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("no_proxy", "inside.example")


@pytest.mark.usefixtures("behind_proxy")
@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://far.example/", PROXY),
        ("https://far.example/", PROXY),
        ("http://inside.example/", None),
        ("http://127.0.0.1:8000/", None),
        ("http://[::1]:8000/", None),
        ("http://localhost:8000/", None),
    ],
)
def test_only_other_machines_are_asked_through_a_proxy(url: str, proxy: str | None) -> None:
    assert http.environment_proxy(url) == proxy


def test_a_proxy_may_be_named_without_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    assert http.environment_proxy("http://far.example/") == PROXY


def test_redirects_are_followed_where_that_is_meant(server: Server) -> None:
    assert http.request("GET", f"{server.url}/old", timeout_s=5).content == b"/new"
    with http.open_response("GET", f"{server.url}/old", timeout_s=5) as response:
        assert response.status_code == 302
        with pytest.raises(http.ErrorStatus, match=r"^HTTP Error 302: Found$"):
            http.check_status(response)


def test_answers_are_asked_for_uncompressed(server: Server) -> None:
    http.request("GET", server.url, headers={"X-Mine": "1"}, timeout_s=5)
    assert server.headers["accept-encoding"] == "identity"
    assert server.headers["user-agent"] == "vigil"
    assert server.headers["x-mine"] == "1"


def test_a_client_keeps_its_connection(server: Server) -> None:
    with http.open_client(server.url, timeout_s=5) as client:
        ports = set[int]()
        for path in "abc":
            client.get(f"{server.url}/{path}")
            ports.add(server.client_port)
    assert len(ports) == 1


def test_where_nobody_listens_the_connection_is_refused() -> None:
    with pytest.raises(ConnectionRefusedError):
        http.request("GET", f"http://127.0.0.1:{free_port()}", timeout_s=5)


@pytest.mark.parametrize("url", ["nonsense", "foo://127.0.0.1/", "http://127.0.0.1:port/"])
def test_what_is_no_url_is_not_reached(url: str) -> None:
    with pytest.raises(ConnectionError):
        http.request("GET", url, timeout_s=5)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (None, TimeoutError),
        (b"", ConnectionError),
        (b"nonsense\r\n\r\n", ConnectionError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ConnectionError),
    ],
)
def test_an_answer_that_does_not_come_or_breaks_off(
    reply: bytes | None, error: type[OSError]
) -> None:
    closed = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            if reply is None:
                closed.wait()
            else:
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with pytest.raises(error):
            http.request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)
        closed.set()
        thread.join()
