"""A small API server on loopback: answers from a table, can hang, refuse or go away."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from infra.observe import CLUSTER_KINDS, NAMESPACED_KINDS

Object = dict[str, Any]
Reply = tuple[int, Object | str]
READYZ = "/api/v1/namespaces/vigil/services/vigil-serve-svc:8000/proxy/readyz"


def status(code: int, message: str) -> Reply:
    """The API server's own answer."""
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "message": message,
    }


class FakeApi:
    """`replies`: path -> answer, or a function that gives one; another path is a 404."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[], Reply]] = {"/version": (200, {"minor": "35"})}
        self.asked: list[str] = []
        self.tokens: list[str] = []
        self.hang = threading.Event()
        self.drops: set[str] = set()
        """Paths that are never answered."""
        self._ended = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        run = self._server.serve_forever
        self._thread = threading.Thread(target=run, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        self.asked.append(request.path)
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.hang.is_set() or path in self.drops:
            self._ended.wait()
            return
        reply = self.replies.get(path, status(404, f"{path} not found"))
        code, body = reply() if callable(reply) else reply
        text = body if isinstance(body, str) else json.dumps(body)
        request.send_response(code)
        request.end_headers()
        request.wfile.write(text.encode())

    def shows(self, objects: Mapping[str, list[Object]]) -> None:
        """Answer with these objects wherever they are asked for."""
        spaces = [one["metadata"]["name"] for one in objects.get("Namespace", [])]
        for kind, (api, plural) in NAMESPACED_KINDS.items():
            for space in spaces:
                some = objects.get(kind, [])
                own = [one for one in some if one["metadata"].get("namespace") == space]
                self.replies[f"{api}/namespaces/{space}/{plural}"] = 200, {"items": own}
        for kind, path in CLUSTER_KINDS.items():
            self.replies[path] = 200, {"items": objects.get(kind, [])}
        for one in objects.get("Namespace", []):
            self.replies[f"/api/v1/namespaces/{one['metadata']['name']}"] = 200, one
        for one in objects.get("CustomResourceDefinition", []):
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            self.replies[f"{path}/{one['metadata']['name']}"] = 200, one

    def stop(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    try:
        yield server
    finally:
        server.stop()


def kubeconfig(url: str, user: Object | None = None, current: str | None = "kind-vigil") -> str:
    """The text of a kubeconfig with one cluster and two contexts."""
    both = {"cluster": "c", "user": "u"}
    contexts = [{"name": name, "context": both} for name in ("kind-vigil", "other")]
    found: Object = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": "t0ken"}}],
        "contexts": contexts,
    }
    return yaml.safe_dump(found | ({"current-context": current} if current else {}))


def kubeconfig_file(folder: Path, text: str) -> str:
    file = folder / "kubeconfig"
    file.write_text(text)
    return str(file)
