"""A local server that stands for GitHub's API.

It has comments and pull requests of one repository, and remembers each request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, cast

REPOSITORY = "acme/vigil"


@dataclass
class Double:
    """What is there, and what was asked: (method, path, Authorization, body)."""

    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)
    status: int = 0  # answer everything so

    def answer(self, method: str, path: str, body: Any) -> Any:
        kind = self.comments if "comments" in path else self.pulls
        if method == "GET":
            return kind
        if method == "POST":
            kind.append(
                {
                    **body,
                    "id": len(kind) + 1,
                    "number": len(kind) + 1,
                    "html_url": f"https://example/{len(kind) + 1}",
                }
            )
            return kind[-1]
        one = kind[int(path.rpartition("/")[2]) - 1]
        one |= body
        return one


class _Server(HTTPServer):
    double: Double


class _Handler(BaseHTTPRequestHandler):
    def _do(self) -> None:
        double = cast(_Server, self.server).double
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        path = self.path.removeprefix(f"/repos/{REPOSITORY}/")
        double.asked.append((self.command, path, self.headers["Authorization"], body))
        answer = json.dumps(
            {"message": "no"}
            if double.status
            else double.answer(self.command, path.partition("?")[0], body)
        ).encode()
        self.send_response(double.status or 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = _do  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def github() -> Iterator[Double]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.double = Double(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.double
        server.shutdown()
        thread.join()
