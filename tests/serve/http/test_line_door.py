"""What Serve is told of a stream of lines, and of no other request."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.http_util import (
    parse_disconnect_disabled_header,
    parse_request_timeout_header,
)

from serve.http.line_door import middlewares

ALONE = (b"x-request-disconnect-disabled", b"?1")
LASTING = (b"x-request-timeout-seconds", b"0")


async def passed_on(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    middleware: Any = middlewares()[0]
    door = middleware.cls(app)
    given = {"type": "http", "headers": list(headers)}
    await door(given, None, None)
    assert given["headers"] == list(headers)
    return seen[0]["headers"][len(headers) :]


@pytest.mark.parametrize("kind", [b"application/x-ndjson", b"Application/X-NDJSON; charset=utf-8"])
async def test_a_stream_reads_its_body_itself_and_lasts(kind: bytes) -> None:
    assert await passed_on((b"content-type", kind)) == [ALONE, LASTING]


async def test_serve_understands_the_headers() -> None:
    kind = (b"content-type", b"application/x-ndjson")
    headers = dict(await passed_on(kind))
    assert parse_disconnect_disabled_header(headers)
    assert parse_request_timeout_header(headers, 30.0) is None


async def test_a_timeout_of_the_clients_own_stays() -> None:
    given = (b"x-request-timeout-seconds", b"9")
    assert await passed_on((b"content-type", b"application/x-ndjson"), given) == [ALONE]


async def test_other_requests_are_as_they_were() -> None:
    assert await passed_on((b"content-type", b"application/json")) == []
    assert await passed_on() == []
