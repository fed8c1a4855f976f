"""A way to the API server that can be cut: bytes in, bytes out, until it is closed."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Way:
    """Connections to a port of this machine are led on to `target`; after `cut` nobody is there."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and take no new one."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._open += [near, far]
                threading.Thread(target=_lead, args=(near, far), daemon=True).start()


def _lead(near: socket.socket, far: socket.socket) -> None:
    """Copy both ways until either side ends."""
    other = {near: far, far: near}
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
        for one in other:
            selector.register(one, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if not (data := source.recv(65536)):
                    return
                other[source].sendall(data)


@contextmanager
def way_to(kubeconfig: Path, folder: Path) -> Iterator[tuple[Path, Way]]:
    """A kubeconfig in `folder` that goes through a Way to the API server of the present one."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    server = urlsplit(cluster["server"])
    assert server.hostname is not None
    way = Way((server.hostname, server.port or 443))
    # The certificate is for the name that the server has, not for the way to it.
    cluster |= {"server": f"https://127.0.0.1:{way.port}", "tls-server-name": server.hostname}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    try:
        yield file, way
    finally:
        way.cut()
