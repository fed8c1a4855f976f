"""The gateway as an ASGI application: what comes in, what is refused, and in which form."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from serve.auth import KeyRing
from serve.gateway import Answer, Call, Gateway, table
from serve.metrics import ServeMetrics
from serve.settings import ServeSettings

VERSION = "/v2/models/{name}/versions/{version}"


def gateway(tmp_path: Path, **settings: Any) -> Gateway:
    async def echo(call: Call) -> Answer:
        return Answer(json.dumps({"got": len(call.body), "name": call.name, "version": call.version}).encode())

    async def fail(call: Call) -> Answer:
        raise RuntimeError("secret detail")

    scoring = {"/predict": echo, "/invocations": echo, f"{VERSION}/infer": echo, "/fails": fail}
    routes = table(scoring, {"/drift": echo, VERSION: echo}, {"/healthz": echo})
    return Gateway(routes, ServeSettings(home=tmp_path, **settings), ServeMetrics())


async def ask(
    app: Gateway, method: str, path: str, chunks: list[bytes] | None = None, hang: bool = False, **headers: str
) -> tuple[int, dict[str, str], Any]:
    sent: list[dict[str, Any]] = []
    left = [b""] if chunks is None else list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or hang}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, json.loads(body["body"]) if body["body"] else None


async def test_paths_with_and_without_parameters(tmp_path: Path) -> None:
    app = gateway(tmp_path)
    assert (await ask(app, "POST", "/predict", [b"ab", b"cd"]))[2]["got"] == 4
    _, _, found = await ask(app, "POST", "/v2/models/vigil/versions/7/infer")
    assert (found["name"], found["version"]) == ("vigil", "7")
    status, headers, body = await ask(app, "HEAD", "/healthz")
    assert (status, body) == (200, None)
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize(("path", "message"), [
    ("/predict", lambda answer: answer["error"]["message"]), ("/invocations", lambda answer: answer["message"]),
    ("/v2/models/m/versions/1/infer", lambda answer: answer["error"]),
])  # fmt: skip
async def test_refusals_have_the_form_of_their_protocol(tmp_path: Path, path: str, message: Any) -> None:
    app = gateway(tmp_path, max_body_bytes=1024, body_timeout_s=0.05, auth="off")
    wrong: list[tuple[int, str, dict[str, Any]]] = [
        (405, "PUT", {}), (413, "POST", {"chunks": [b"x" * 600, b"x" * 600]}), (413, "POST", {"content_length": "5000"}),
        (415, "POST", {"content_encoding": "gzip"}), (408, "POST", {"chunks": [b"x"], "hang": True}),
        (431, "POST", {"x_long": "x" * 20_000}),
    ]  # fmt: skip
    for status, method, more in wrong:
        answered, headers, answer = await ask(app, method, path, **more)
        assert answered == status
        assert message(answer)
        assert headers.get("allow") == ("POST" if status == 405 else None)


async def test_unknown_paths_and_faults_tell_nothing_of_the_inside(tmp_path: Path) -> None:
    app = gateway(tmp_path)
    assert (await ask(app, "GET", "/nope"))[0] == 404
    assert "error" in (await ask(app, "GET", "/v2/nope"))[2]
    status, _, answer = await ask(app, "POST", "/fails")
    assert status == 500
    assert "secret" not in json.dumps(answer)


async def test_a_key_opens_what_is_closed(tmp_path: Path) -> None:
    app, key = gateway(tmp_path, auth="required"), KeyRing(tmp_path / "keys.json").new("team")
    for method, path in (("POST", "/predict"), ("GET", "/drift"), ("POST", "/invocations")):
        status, headers, _ = await ask(app, method, path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert (await ask(app, method, path, authorization=f"Bearer {key}"))[0] == 200
    assert (await ask(app, "GET", "/healthz"))[0] == 200
