"""The ASGI application in front of the handlers: route, limits, caller, handler, response."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import chain

from serve.http.auth import Authenticator
from serve.http.bodies import BodyReader
from serve.http.messages import Message, Receive, Request, Response, Send, StreamedResponse
from serve.http.observe import RequestObserver
from serve.http.refusals import HeadersTooLarge, InternalError, refusal
from serve.http.routes import Route, RouteTable
from serve.metrics import ServeMetrics
from serve.settings import ServeSettings
from vigil.errors import VigilError

RawHeaders = list[tuple[bytes, bytes]]  # as ASGI has them: a name may come twice
_FAULT = "the service failed on this request; its log says why"

log = logging.getLogger("ray.serve")


class Gateway:
    """The ASGI callable. Whatever a handler raises becomes a response."""

    def __init__(
        self,
        routes: RouteTable,
        settings: ServeSettings,
        metrics: ServeMetrics,
        observer: RequestObserver,
        *,
        bodies: BodyReader,
    ) -> None:
        self.routes = routes
        self._settings = settings
        self._metrics = metrics
        self._ok = metrics.requests.labels("ok")
        self._observer = observer
        self._authenticator = Authenticator(settings)
        self._bodies = bodies

    def follow_settings(self, settings: ServeSettings) -> None:
        """Apply other limits from the next request on; who is let in stays."""
        self._settings = settings
        self._bodies.follow_settings(settings)

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        if scope["type"] != "http":
            await _handle_other_scope(scope["type"], receive, send)
            return
        request = Request(dict(scope["headers"]), method=scope["method"], path=scope["path"])
        request.query_string = scope.get("query_string", b"")
        observation = request.observation = self._observer.begin(request)
        if observation is None:
            await self._send(request, await self._respond(request, scope, receive), send)
            return
        try:
            response = await self._respond(request, scope, receive)
            observation.status = response.status
            await self._send(request, response, send)
        finally:
            self._observer.end(request, observation)

    async def _respond(
        self,
        request: Request,
        scope: Message,
        receive: Receive,
    ) -> Response | StreamedResponse:
        """The response, whatever the handler raises."""
        try:
            route = self.routes.find(request)
            self._check_header_size(scope["headers"])
            if not route.is_open:
                await self._check_caller(request, route)
            if route.line_handler is not None and route.takes_lines(request):
                return await route.line_handler(request, receive)
            if request.method == "POST":
                return await self._handle_body(request, route, receive)
            return await route.handler(request)
        except VigilError as error:
            return self._refuse(request, error)
        except Exception:
            log.exception("%s %r failed", request.method, request.path, extra=request.log_fields)
            return self._refuse(request, InternalError(_FAULT))

    async def _handle_body(
        self,
        request: Request,
        route: Route,
        receive: Receive,
    ) -> Response:
        held_bytes = self._bodies.hold(request)
        try:
            request.body = await self._bodies.read(request, receive)
            if route.is_scoring:
                return await self._score(request, route)
            return await route.handler(request)
        finally:
            if held_bytes:
                self._bodies.release(held_bytes)

    def _check_header_size(self, headers: RawHeaders) -> None:
        size = len(b"".join(chain.from_iterable(headers)))  # quicker than to add them up
        limit = self._settings.max_header_bytes
        if size > limit:
            raise HeadersTooLarge(f"the headers have {size} bytes, the limit is {limit}")

    async def _check_caller(self, request: Request, route: Route) -> None:
        if self._authenticator.required:
            request.caller = await self._authenticator.caller(request.headers)
        if route.check_caller is not None:
            route.check_caller(request)

    async def _score(self, request: Request, route: Route) -> Response:
        observation = request.observation
        if observation is not None:
            observation.begin_handling()
        response = await route.handler(request)
        if observation is not None:
            observation.end_handling()
        self._ok.inc()
        self._metrics.latency.observe(time.perf_counter() - request.began)
        return response

    def _refuse(self, request: Request, error: VigilError) -> Response:
        self._metrics.requests.labels(type(error).__name__).inc()
        return refusal(error, request.path)

    async def _send(
        self,
        request: Request,
        response: Response | StreamedResponse,
        send: Send,
    ) -> None:
        if isinstance(response, Response):
            await _send_response(request, response, send)
            return
        async with aclosing(response.parts) as parts:
            try:
                await self._send_parts(response.start_message, parts, send)
            except TimeoutError:
                log.warning("a client read no answer in time", extra=request.log_fields)

    async def _send_parts(
        self,
        start: Message,
        parts: AsyncGenerator[bytes],
        send: Send,
    ) -> None:
        """Send what comes. Raises TimeoutError where the client does not take a part in time.

        The server closes the connection of an answer that has no end.
        """
        await send(start)
        async for part in parts:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _send_response(request: Request, response: Response, send: Send) -> None:
    await send(response.start_message)
    body = b"" if request.method == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})


async def _handle_other_scope(scope_type: str, receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol; close a websocket."""
    if scope_type != "lifespan":
        await send({"type": "websocket.close", "code": 1003})
        return
    message_type = ""
    while message_type != "lifespan.shutdown":
        message_type = (await receive())["type"]
        await send({"type": f"{message_type}.complete"})
