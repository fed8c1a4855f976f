"""The service without Ray and without a socket: a replica whose gateway is called as ASGI."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from serve.http.bodies import BodyReader
from serve.http.endpoints import build_gateway
from serve.http.infer_rpc import InferenceRpc
from serve.http.observe import RequestObserver
from serve.http.open_inference import JSON_LENGTH_HEADER
from serve.http.replica import AskMonitor, RefreshReplicas, Replica, ReplicaGroup
from serve.http.scoring import ModelScorer
from serve.http.stream_slots import StreamSlots
from serve.metrics import ServeMetrics
from serve.model.capture import Capture
from serve.model.context_batch import LiftedRows
from serve.model.context_keeper import ContextKeeper, RawRows
from serve.model.context_limits import ContextLimits
from serve.model.loaded import LoadedModel
from serve.model.prepared import ContextSource
from serve.model.row_format import RowFormat
from serve.model.threshold_store import ThresholdStore, ToldMargins
from serve.settings import ServeSettings
from vigil.arrays import Floats


class LocalContext:
    """Context in this process, as a shard keeps it; `now` is its clock."""

    def __init__(self, limits: ContextLimits | None = None, now: float = 2e9) -> None:
        self.keeper = ContextKeeper(limits or ContextLimits())
        self.now = now
        self.thresholds = ThresholdStore()

    def follow_settings(self, settings: ServeSettings) -> None:
        """It is never waited for."""

    async def lift(self, formats: Sequence[RowFormat], rows: RawRows) -> list[LiftedRows]:
        for row_format in formats:
            if self.keeper.unknown([row_format.key]):
                assert row_format.transform is not None
                self.keeper.learn(row_format.key, row_format.transform)
        return self.keeper.lift([each.key for each in formats], rows, self.now)

    async def threshold_states(self, entities: Sequence[str]) -> Floats:
        return self.thresholds.states(entities)

    def tell(self, told: ToldMargins) -> None:
        self.thresholds.learn(told)


INFER = "/v2/models/vigil/infer"
SCORING = ("/predict", "/invocations", INFER)
Post = tuple[str, bytes, dict[str, Any]]  # path, body and headers of `Service.ask`


def as_json(path: str, document: Any) -> Post:
    return path, json.dumps(document).encode(), {"content_type": "application/json"}


def as_binary_tensors(inputs: list[dict[str, Any]], data: bytes) -> Post:
    """Inputs of the Open Inference Protocol whose `data` follow the JSON."""
    head = json.dumps({"inputs": inputs}).encode()
    return INFER, head + data, {JSON_LENGTH_HEADER.replace("-", "_"): str(len(head))}


def scores_of(answer: dict[str, Any]) -> list[float]:
    """The scores of an answer, in the form of whichever endpoint."""
    if "outputs" in answer:
        return answer["outputs"][0]["data"]
    if "predictions" in answer:
        return [row["anomaly_score"] for row in answer["predictions"]]
    return answer["anomaly_score"]


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """`ask` gives the answer to one request; `model` None is a service that has none yet."""

    def __init__(
        self,
        model: LoadedModel | None,
        registry: Any = None,
        *,
        ask_monitor: AskMonitor | None = None,
        refresh_replicas: RefreshReplicas | None = None,
        clock: Callable[[], float] = time.monotonic,
        context: ContextSource | None = None,
        **settings: Any,
    ) -> None:
        given = ServeSettings.from_values(**{"home": Path("/nowhere"), **settings})
        metrics = ServeMetrics()
        watch: Any = SimpleNamespace(model=model, canary=None, shadow=None, source="registry")
        reporter: Any = SimpleNamespace(drift_score=0.25)
        self.replica = Replica(
            name="r",
            settings=given,
            metrics=metrics,
            watch=watch,
            capture=Capture(1000),
            reporter=reporter,
            observer=RequestObserver.from_settings(given, metrics, "r"),
            registry=registry,
            ask_monitor=ask_monitor or self._monitor,
            refresh_replicas=refresh_replicas or ReplicaGroup("vigil").refresh,
            context=context or LocalContext(),
        )
        scorer = ModelScorer(self.replica)
        bodies = BodyReader(given, metrics)
        slots = StreamSlots(self.replica)
        self.gateway = build_gateway(self.replica, scorer, bodies=bodies, slots=slots, clock=clock)
        self.rpc = InferenceRpc(self.replica, scorer, bodies, slots)

    async def _monitor(self, method: str, *args: Any) -> Any:
        return {
            "status": {"governor": {}},
            "exposition": b"vigil_rows_scored_total 0\n",
            "console": b'{"epoch": "e"}',
        }[method]

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | list[bytes] = b"",
        *,
        query: Any = b"",
        stuck: Any = False,
        **headers: Any,
    ) -> Reply:
        """`body` as a list comes in chunks, of which the last never ends when `stuck`.

        x_name in `headers` is X-Name.
        """
        whole = json.dumps(body).encode() if isinstance(body, dict) else body
        chunks = list(whole) if isinstance(whole, list) else [whole]
        given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        if isinstance(body, dict):
            given = {"content-type": "application/json"} | given
        if not isinstance(body, list):
            given = {"content-length": str(len(chunks[0]))} | given
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()
            ],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not chunks:
                await asyncio.Event().wait()
            return {
                "type": "http.request",
                "body": chunks.pop(0),
                "more_body": bool(chunks) or stuck,
            }

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.gateway(scope, receive, send)
        start, end = sent
        assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
        return Reply(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            end["body"],
        )


class LineClient:
    """One stream of lines to `/predict`, whose client sends and reads when it likes.

    `window`: answers that may wait to be read before the service has to stop
    """

    def __init__(self, service: Service, window: int = 1000, **headers: str) -> None:
        self._chunks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue(window)
        self._text = b""
        given = {"content-type": "application/x-ndjson", "x-request-id": "s"} | headers
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in given.items()
            ],
        }
        running = service.gateway(scope, self._chunks.get, self._sent.put)
        self.running = asyncio.create_task(running)

    @property
    def unread(self) -> int:
        """Chunks that were sent, and that the service has not taken."""
        return self._chunks.qsize()

    def send(self, chunk: bytes, *, is_last: bool = False) -> None:
        message = {"type": "http.request", "body": chunk, "more_body": not is_last}
        self._chunks.put_nowait(message)

    def leave(self) -> None:
        self._chunks.put_nowait({"type": "http.disconnect"})

    async def status(self) -> int:
        message = await asyncio.wait_for(self._sent.get(), 10)
        return message["status"]

    async def part(self) -> bytes:
        """The next part of the answer; empty where it is the last one."""
        message = await asyncio.wait_for(self._sent.get(), 10)
        assert message["type"] == "http.response.body"
        return message["body"]

    async def rest(self) -> list[Any]:
        """All answers until the end."""
        while part := await self.part():
            self._text += part
        await self.running
        return [json.loads(line) for line in self._text.splitlines()]


async def predict_lines(service: Service, *chunks: bytes) -> list[Any]:
    """The answers to the lines of a whole stream that comes in these chunks."""
    client = LineClient(service)
    for number, chunk in enumerate(chunks, 1):
        client.send(chunk, is_last=number == len(chunks))
    assert await client.status() == 200
    return await client.rest()


def told(path: str, reply: Reply) -> str:
    """The message of an error.

    It must have the form of the protocol that `path` belongs to, and show nothing inside.
    """
    assert reply.headers["content-type"] == "application/json"
    assert int(reply.headers["content-length"]) == len(reply.body) < 2000
    assert b"Traceback" not in reply.body
    assert b".py" not in reply.body
    answer = reply.json
    if path.startswith("/v2"):
        assert list(answer) == ["error"]
        return str(answer["error"])
    if path in ("/invocations", "/ping"):
        assert list(answer) == ["error_code", "message"]
        return str(answer["message"])
    assert list(answer) == ["error"]
    assert answer["error"].keys() - {"field", "row"} == {"type", "message"}
    return str(answer["error"]["message"])
