"""`/` and `/console/...`: the live console, static files that ask for no key; what they show does."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from serve.http.gateway import NOT_MODIFIED, Handler, Headers, Request, Response

FOLDER = Path(__file__).parents[1] / "console"
KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# Styles that a script sets by themselves (element.style.x) need no permission; text of a style does, and has none.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE: Headers = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


def console_routes() -> dict[str, Handler]:
    """GET handlers by path; the files are read once, now."""
    files = {
        path.relative_to(FOLDER).as_posix(): _file(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in KINDS
    }
    return {
        "/": files["index.html"],
        **{f"/console/{name}": handler for name, handler in files.items() if name != "index.html"},
    }


def _file(path: Path) -> Handler:
    body, kind = path.read_bytes(), KINDS[path.suffix]
    packed, etag = (
        gzip.compress(body, mtime=0),
        f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode(),
    )
    head: Headers = (
        (b"etag", etag),
        (b"cache-control", b"no-cache"),
        (b"vary", b"accept-encoding"),
        *SAFE,
    )

    async def answer(call: Request) -> Response:
        if call.headers.get(b"if-none-match") == etag:
            return Response(b"", kind, head, NOT_MODIFIED)
        if b"gzip" in call.headers.get(b"accept-encoding", b""):
            return Response(packed, kind, (*head, (b"content-encoding", b"gzip")))
        return Response(body, kind, head)

    return answer
