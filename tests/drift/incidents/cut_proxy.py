"""A way to a PostgreSQL server that breaks around a commit."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

from sqlalchemy import make_url

Side = Literal["before", "after"]
_COMMIT = b"COMMIT"


class CutProxy:
    """Passes on what a client and a server say, until a planned break.

    Before: the server does not hear of the commit. After: it commits, and nobody hears of that.
    The commit is that of a transaction which begins to write into `table`.
    """

    def __init__(self, url: str, table: str) -> None:
        server = make_url(url)
        self._write = f"INSERT INTO {table}".encode()
        self._server = (server.host or "", server.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._planned: Side | None = None
        self.cuts = 0
        port = self._listener.getsockname()[1]
        self.url = server.set(port=port).render_as_string(hide_password=False)
        threading.Thread(target=self._serve, daemon=True).start()

    def cut_next_commit(self, side: Side) -> None:
        self._planned = side

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """Pass each request on, and its answer back."""
        answers = threading.Thread(target=_pass, args=(server, client), daemon=True)
        answers.start()
        has_written = False
        with client, server, suppress(OSError):
            while request := client.recv(65536):
                if self._planned and has_written and _COMMIT in request:
                    self._cut(client, server, request)
                    break
                has_written |= self._write in request
                server.sendall(request)
            _end(server)
            answers.join()

    def _cut(self, client: socket.socket, server: socket.socket, request: bytes) -> None:
        side = self._planned
        self._planned = None
        self.cuts += 1
        _end(client)
        if side == "after":
            server.sendall(request)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while answer := source.recv(65536):
            target.sendall(answer)
    _end(target)


def _end(connection: socket.socket) -> None:
    """Say no more; what was said arrives."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
