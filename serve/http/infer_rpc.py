"""The Open Inference Protocol v2 over gRPC: the same rows, scores, limits and keys as over HTTP.

Serve's gRPC server calls the methods by their names in the protocol.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Protocol

import grpc

from serve.http.auth import Authenticator
from serve.http.bodies import BodyReader
from serve.http.entity_thresholds import find_thresholds
from serve.http.infer_messages import MESSAGES
from serve.http.infer_proto import answer_message, document_of, metadata_message
from serve.http.messages import MAX_REQUEST_ID, Request
from serve.http.open_inference import infer_request, model_metadata, server_metadata
from serve.http.refusals import InternalError
from serve.http.replica import Replica
from serve.http.scoring import ModelScorer
from serve.http.stream_slots import StreamSlots
from vigil.errors import BodyTooLarge, VigilError
from vigil.release import installed_version

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_FAULT = "the service failed on this request; its log says why"

log = logging.getLogger("ray.serve")


class CallContext(Protocol):
    """What Serve tells of a call, and where its status is set."""

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]: ...

    def set_code(self, code: grpc.StatusCode) -> None: ...

    def set_details(self, details: str) -> None: ...


class InferenceRpc:
    """Answers the calls of one replica. Raises VigilError for what is refused."""

    def __init__(
        self,
        replica: Replica,
        scorer: ModelScorer,
        bodies: BodyReader,
        slots: StreamSlots,
    ) -> None:
        self.replica = replica
        self.slots = slots
        self._scorer = scorer
        self._bodies = bodies
        self._authenticator = Authenticator(replica.settings)

    async def caller_headers(self, context: CallContext) -> dict[bytes, bytes]:
        """Return the metadata of a call as headers; raises Unauthorized without a key."""
        headers = {
            name.encode(): value.encode() if isinstance(value, str) else value
            for name, value in context.invocation_metadata()
        }
        await self._authenticator.caller(headers)
        return headers

    async def infer(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        """Return the answer to a ModelInferRequest, and count it."""
        began = time.perf_counter()
        metrics = self.replica.metrics
        try:
            answer = await self._infer_within_limits(message, headers)
        except VigilError as error:
            metrics.requests.labels(type(error).__name__).inc()
            raise
        except Exception as error:
            log.exception("ModelInfer failed")
            metrics.requests.labels(InternalError.__name__).inc()
            raise InternalError(_FAULT) from error
        metrics.requests.labels("ok").inc()
        metrics.latency.observe(time.perf_counter() - began)
        return answer

    async def _infer_within_limits(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        size = message.ByteSize()
        limit = self.replica.settings.max_body_bytes
        if size > limit:
            raise BodyTooLarge(f"the message is larger than {limit} bytes: send fewer rows in it")
        self._bodies.hold_bytes(size)
        try:
            return await self._infer(message, headers)
        finally:
            self._bodies.release(size)

    async def _infer(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        settings = self.replica.settings
        model = self.replica.named_model(message.model_name, message.model_version or None)
        document, binary = document_of(message)
        inference = infer_request(
            document,
            binary,
            model.row_format,
            max_rows=settings.max_rows,
        )
        rows = await self._scorer.prepare_any(
            model, inference.rows, inference.context, made=inference.made
        )
        if model.has_entity_thresholds:
            await find_thresholds(self.replica.context, rows)
        request = self._request(message, headers)
        model, scored = self._scorer.score(model, rows, request)
        return answer_message(
            inference,
            settings.model_name,
            model,
            scored=scored,
            request_id=request.request_id,
            max_reasons=settings.reasons,
            is_raw=bool(message.raw_input_contents),
        )

    def _request(self, message: Any, headers: dict[bytes, bytes]) -> Request:
        """What capture and canary know of the call."""
        request_id = headers.get(b"x-request-id") or message.id.encode()[:MAX_REQUEST_ID]
        body = b"" if self.replica.watch.canary is None else message.SerializeToString()
        known = {b"x-request-id": request_id or uuid.uuid4().hex.encode()}
        request = Request(known, body)
        request.model_version = message.model_version or None
        return request


class InferenceServicer:
    """Methods of the protocol's service, by their names there; `rpc` answers."""

    rpc: InferenceRpc

    async def ServerLive(self, request: Any) -> Any:
        """Alive."""
        return MESSAGES["ServerLiveResponse"](live=True)

    async def ServerReady(self, request: Any) -> Any:
        """Whether a verified model is loaded."""
        is_ready = self.rpc.replica.watch.model is not None
        return MESSAGES["ServerReadyResponse"](ready=is_ready)

    async def ModelReady(self, request: Any, grpc_context: Any) -> Any:
        """Whether the model is served."""
        answer = MESSAGES["ModelReadyResponse"]()
        try:
            await self.rpc.caller_headers(grpc_context)
            self.rpc.replica.named_model(request.name, request.version or None)
            answer.ready = True
        except VigilError as error:
            _refuse(grpc_context, error)
        return answer

    async def ServerMetadata(self, request: Any, grpc_context: Any) -> Any:
        """Name and version of the server."""
        answer = MESSAGES["ServerMetadataResponse"]
        try:
            await self.rpc.caller_headers(grpc_context)
        except VigilError as error:
            _refuse(grpc_context, error)
            return answer()
        metadata = server_metadata(installed_version())
        return answer(name=metadata["name"], version=metadata["version"])

    async def ModelMetadata(self, request: Any, grpc_context: Any) -> Any:
        """Inputs and outputs of the model."""
        replica = self.rpc.replica
        try:
            await self.rpc.caller_headers(grpc_context)
            model = replica.named_model(request.name, request.version or None)
        except VigilError as error:
            _refuse(grpc_context, error)
            return MESSAGES["ModelMetadataResponse"]()
        return metadata_message(model_metadata(replica.settings.model_name, model))

    async def ModelInfer(self, request: Any, grpc_context: Any) -> Any:
        """Score the rows of one message."""
        try:
            headers = await self.rpc.caller_headers(grpc_context)
            return await self.rpc.infer(request, headers)
        except VigilError as error:
            _refuse(grpc_context, error)
            return MESSAGES["ModelInferResponse"]()

    async def ModelStreamInfer(
        self,
        request: AsyncIterator[Any],
        grpc_context: Any,
    ) -> AsyncGenerator[Any]:
        """Score the rows of each message as it comes; one that is refused ends no stream."""
        try:
            headers = await self.rpc.caller_headers(grpc_context)
            self.rpc.slots.require_one()
        except VigilError as error:
            _refuse(grpc_context, error)
            return
        with self.rpc.slots.taken():
            async for message in request:
                yield await self._stream_answer(message, headers)

    async def _stream_answer(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        answer = MESSAGES["ModelStreamInferResponse"]()
        try:
            answer.infer_response.CopyFrom(await self.rpc.infer(message, headers))
        except VigilError as error:
            answer.error_message = error.message
            answer.infer_response.id = message.id
        return answer


def _refuse(context: CallContext, error: VigilError) -> None:
    """Set the status of a call. Raising would have Serve log each refusal as a fault."""
    context.set_code(_CODES.get(error.status, grpc.StatusCode.INTERNAL))
    context.set_details(error.message)
