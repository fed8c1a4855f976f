"""A gRPC stream of the Open Inference Protocol that answers at once: the most that Python's gives.

`python -m tests.bench.peer_stream PORT`, neither Serve nor a model in it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from serve.http.infer_messages import MESSAGES, add_open_inference


class AnsweringAtOnce:
    """Every message has the same answer: one row's score."""

    def __init__(self) -> None:
        self._answer = MESSAGES["ModelStreamInferResponse"]()
        scored = self._answer.infer_response
        scored.outputs.add(name="anomaly_score", datatype="FP64", shape=[1])
        scored.raw_output_contents.append(bytes(8))

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return self.unary

    async def unary(self, request: Any, context: Any) -> Any:
        """Refuse whatever is no stream."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server answers streams alone")

    async def ModelStreamInfer(  # noqa: N802
        self,
        request: Any,
        context: Any,
    ) -> AsyncIterator[Any]:
        """Answer each message as it comes."""
        async for _ in request:
            yield self._answer


async def serve_at(port: int) -> None:
    server = grpc.aio.server()
    add_open_inference(AnsweringAtOnce(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve_at(int(sys.argv[1])))
