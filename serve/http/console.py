"""`/` and `/console/...`: the live console.

Its static files ask for no key; what they show does.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from serve.http.messages import NOT_MODIFIED, Handler, Headers, Request, Response

CONSOLE_FOLDER = Path(__file__).parents[1] / "console"
_CONTENT_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# Styles that a script sets by themselves (element.style.x) need no permission; text of a style
# does, and has none.
_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS: Headers = (
    (b"content-security-policy", _SECURITY_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


class StaticFile:
    """A file in memory, as it is and compressed."""

    def __init__(self, path: Path) -> None:
        self._body = path.read_bytes()
        self._packed = gzip.compress(self._body, mtime=0)
        self._content_type = _CONTENT_TYPES[path.suffix]
        self._etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'.encode()
        self._headers: Headers = (
            (b"etag", self._etag),
            (b"cache-control", b"no-cache"),
            (b"vary", b"accept-encoding"),
            *_SECURITY_HEADERS,
        )

    async def answer(self, request: Request) -> Response:
        """The file, or 304 where the browser has it already."""
        headers = self._headers
        if request.headers.get(b"if-none-match") == self._etag:
            return Response(b"", self._content_type, headers, status=NOT_MODIFIED)
        if request.accepts_gzip:
            headers = (*headers, (b"content-encoding", b"gzip"))
            return Response(self._packed, self._content_type, headers)
        return Response(self._body, self._content_type, headers)


def console_routes() -> dict[str, Handler]:
    """Return GET handlers by path; the files are read once, now."""
    return {_url_path(path): StaticFile(path).answer for path in _console_files()}


def _console_files() -> list[Path]:
    paths = sorted(CONSOLE_FOLDER.rglob("*"))
    return [path for path in paths if path.suffix in _CONTENT_TYPES]


def _url_path(path: Path) -> str:
    name = path.relative_to(CONSOLE_FOLDER).as_posix()
    if name == "index.html":
        return "/"
    return f"/console/{name}"
