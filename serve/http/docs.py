"""`/docs`: Swagger UI from a package, so that it works without the internet."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from serve.http.gateway import Handler, Request, Response

FILES = {"swagger-ui.css": b"text/css", "swagger-ui-bundle.js": b"text/javascript"}
PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Vigil API</title><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", tryItOutEnabled: true})</script></body>
</html>
"""


def docs_routes() -> dict[str, Handler]:
    """GET handlers by path."""
    return {"/docs": _page, **{f"/docs/{name}": _file(name, kind) for name, kind in FILES.items()}}


async def _page(call: Request) -> Response:
    return Response(PAGE, b"text/html; charset=utf-8")


def _file(name: str, kind: bytes) -> Handler:
    # Found without importing the package: that would import FastAPI.
    spec = importlib.util.find_spec("fastapi_swagger")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "resources" / name

    async def answer(call: Request) -> Response:
        return Response(
            path.read_bytes(), kind + b"; charset=utf-8", ((b"cache-control", b"max-age=86400"),)
        )

    return answer
