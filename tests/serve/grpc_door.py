"""The gRPC door of a service without Ray: its methods behind a server on this machine."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from serve.http.infer_messages import add_open_inference
from serve.http.infer_rpc import InferenceServicer
from tests.serve.contexts import EntityRows
from tests.serve.service import Service


class _Methods:
    """The methods as Serve calls them: with the context where they take it."""

    def __init__(self, service: Service) -> None:
        self._servicer = InferenceServicer()
        self._servicer.rpc = service.rpc

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._servicer, name)

        async def unary(request: Any, context: Any) -> Any:
            if "grpc_context" in inspect.signature(method).parameters:
                return await method(request, grpc_context=context)
            return await method(request)

        return unary

    async def ModelStreamInfer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in self._servicer.ModelStreamInfer(request, grpc_context=context):
            yield answer


@asynccontextmanager
async def grpc_door(service: Service) -> AsyncIterator[str]:
    """The address of a server for the length of a block."""
    server = grpc.aio.server()
    add_open_inference(_Methods(service), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def grpc_client(service: Service) -> AsyncIterator[Any]:
    """tritonclient's client of such a server; its answers have more types than tests need."""
    async with grpc_door(service) as address, InferenceServerClient(address) as client:
        yield client


def infer_inputs(rows: EntityRows) -> list[InferInput]:
    """Rows with their entities and times as tritonclient sends them."""
    columns = {
        ("features", "FP64"): rows.X,
        ("entity", "BYTES"): np.array(rows.entities, object),
        ("time", "INT64"): (np.array(rows.seconds) * 1000).astype(np.int64),
    }
    inputs = []
    for (name, datatype), column in columns.items():
        inputs.append(InferInput(name, list(column.shape), datatype))
        inputs[-1].set_data_from_numpy(column)
    return inputs
