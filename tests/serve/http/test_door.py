"""What Serve is told of small rows and of streams of lines, and of no other request."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.http_util import (
    parse_disconnect_disabled_header,
    parse_request_timeout_header,
)

from serve.http.door import SMALL_BYTES, Door, middlewares

Header = tuple[bytes, bytes]
UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
LASTING = (b"x-request-timeout-seconds", b"0")
LINES = (b"content-type", b"application/x-ndjson")
SMALL = (b"content-length", b"60")


async def passed_on(
    *headers: Header,
    path: str = "/predict",
    in_replica: bool = True,
) -> list[Header]:
    """The headers that Serve sees beside those of the request."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    given: Any = {"type": "http", "path": path, "headers": list(headers)}
    door: Any = Door(app, in_replica)
    await door(given, None, None)
    assert given["headers"] == list(headers)
    return seen[0]["headers"][len(headers) :]


@pytest.mark.parametrize("kind", [b"application/x-ndjson", b"Application/X-NDJSON; charset=utf-8"])
@pytest.mark.parametrize("in_replica", [True, False])
async def test_a_stream_reads_its_body_itself_and_lasts(kind: bytes, in_replica: bool) -> None:
    found = await passed_on((b"content-type", kind), in_replica=in_replica)
    assert found == [UNWATCHED, LASTING]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/vigil/infer"])
async def test_nobody_watches_small_rows_in_a_replica(path: str) -> None:
    assert await passed_on(SMALL, path=path) == [UNWATCHED, LASTING]
    assert await passed_on(SMALL, path=path, in_replica=False) == []


async def test_serve_understands_the_headers() -> None:
    headers = dict(await passed_on(SMALL))
    assert parse_disconnect_disabled_header(headers)
    assert parse_request_timeout_header(headers, 30.0) is None


@pytest.mark.parametrize("of_request", [LINES, SMALL])
async def test_a_timeout_of_the_clients_own_stays(of_request: Header) -> None:
    given = (b"x-request-timeout-seconds", b"9")
    assert await passed_on(of_request, given) == [UNWATCHED]


@pytest.mark.parametrize("length", [b"", b"-1", b"1e3", b"%d" % (SMALL_BYTES + 1), b"9" * 30])
async def test_bodies_that_may_be_large_are_watched(length: bytes) -> None:
    assert await passed_on((b"content-length", length)) == []
    assert await passed_on((b"content-length", b"%d" % SMALL_BYTES)) != []


async def test_other_requests_are_as_they_were() -> None:
    assert await passed_on((b"content-type", b"application/json")) == []
    assert await passed_on(SMALL, path="/feedback") == []
    assert await passed_on() == []


async def test_a_process_that_is_no_replica_tells_serve_nothing_of_rows() -> None:
    middleware: Any = middlewares()[0]
    assert middleware.kwargs == {"in_replica": False}
