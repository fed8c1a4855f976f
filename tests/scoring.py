"""A scoring service without Ray: the real protocol code behind a plain HTTP server.

It can be told to be busy.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np

from serve.http.open_inference import (
    JSON_LENGTH_HEADER,
    InferRequest,
    decode_infer,
    encode_infer,
)
from serve.model.loaded import LoadedModel
from serve.model.prepared import already_made, as_they_are
from serve.model.report import RowContext
from serve.model.scored_batch import ScoredBatch
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from vigil.errors import VigilError


def small_model(features: int = 4, seed: int = 0) -> LoadedModel:
    """A forest of 20 trees on the features f0, f1, ..."""
    X = np.random.default_rng(seed).normal(10, 1, (1000, features))
    forest = CompiledForest.compile(
        fit_part(X, trees=20, max_samples=64, max_features=1.0, seed=seed)
    )
    scores = forest.score(X)
    names = tuple(f"f{j}" for j in range(features))
    ref = reference.build_reference(X, names, scores, window_rows=100)
    return LoadedModel.warm(
        "7",
        "d" * 64,
        ModelBundle(names, forest, threshold.to_alert_rate(scores, 0.01), ref, X[:8], {}),
    )


def _scored(model: LoadedModel, request: InferRequest) -> ScoredBatch:
    """Rows as they are, or as the client has made them."""
    rows = as_they_are(request.rows, request.context)
    if request.made is not None:
        rows = already_made(request.rows, request.context, request.made)
    return model.scored(rows, model.bundle.forest.score(request.rows))


class ScoringServer(ThreadingHTTPServer):
    """`refusals` are answered first: (status, Retry-After) each."""

    daemon_threads = True

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.refusals: deque[tuple[int, str | None]] = deque()
        self.sizes: list[int] = []  # rows of each request that was scored
        self.contexts: list[RowContext | None] = []  # whose rows they were

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def scoring(model: LoadedModel) -> Iterator[ScoringServer]:
    """The service for the length of a block."""
    with ScoringServer(model) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScoringServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._answer(200, json.dumps(self.server.model.row_format.to_wire()).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refusals:
            status, after = self.server.refusals.popleft()
            self._answer(status, b"{}", {"retry-after": after} if after else {})
            return
        model = self.server.model
        try:
            request = decode_infer(
                body,
                self.headers[JSON_LENGTH_HEADER],
                model.row_format.names,
                50_000,
                row_format=model.row_format,
            )
        except VigilError as error:
            self._answer(error.status, json.dumps({"error": error.message}).encode())
            return
        self.server.sizes.append(len(request.rows))
        self.server.contexts.append(request.context)
        answer, head = encode_infer(
            request,
            "vigil",
            model,
            scored=_scored(model, request),
            request_id="r",
            max_reasons=0,
        )
        self._answer(200, answer, {JSON_LENGTH_HEADER: str(head)} if head else {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
