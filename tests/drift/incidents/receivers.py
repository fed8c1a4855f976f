"""Channels that remember what they took, and a receiver of HTTP deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from drift.incidents.channels.channel import Channel, ChannelContext
from drift.incidents.message import OutboxMessage, StormSummary
from vigil.webhook import Delivery


class Inbox(Channel):
    """A channel in memory. `answer` is what it says to the next deliveries."""

    def __init__(self, name: str = "inbox-1", batch: int = 1) -> None:
        super().__init__(name, f"memory://{name}", ChannelContext())
        self.batch = batch  # pyright: ignore[reportAttributeAccessIssue]
        self.answer = Delivery(200)
        self.taken: list[OutboxMessage] = []
        self.times: list[float] = []

    def deliver(self, messages: Sequence[OutboxMessage], now: float) -> Delivery:
        if self.answer.is_taken:
            self.taken += messages
            self.times.append(now)
        return self.answer

    def down(self) -> None:
        self.answer = Delivery(503, "503")

    def up(self) -> None:
        self.answer = Delivery(200)

    def ids(self) -> list[str]:
        """What was told, in order and once: also what a summary sums up."""
        told: dict[str, None] = {}
        for message in self.taken:
            told |= dict.fromkeys(_changes(message))
        return list(told)


def _changes(message: OutboxMessage) -> Sequence[str]:
    if isinstance(message.content, StormSummary):
        return message.content.messages
    return [message.id]


class HttpReceiver:
    """What was posted to a port: headers and bodies in order. It answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for _, body in self.posts]

    def ids(self) -> list[str]:
        """Ids of CloudEvents, each once."""
        return list(dict.fromkeys(event["id"] for event in self.documents))


@contextmanager
def http_receiver() -> Iterator[tuple[HttpReceiver, str]]:
    """A receiver, and its HOST:PORT."""
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # whoever sent it was killed meanwhile: nobody has taken it
            headers = {name.lower(): value for name, value in self.headers.items()}
            if receiver.status < 300:
                receiver.posts.append((headers, body))
                receiver.paths.append(self.path)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing of it is for the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver, f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
