"""`/docs`: Swagger UI from a package, so that it works without the internet."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from serve.http.messages import Handler, Request, Response

_FILES = {"swagger-ui.css": b"text/css", "swagger-ui-bundle.js": b"text/javascript"}
_PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Vigil API</title>\
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>\
SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", tryItOutEnabled: true})</script></body>
</html>
"""


def docs_routes() -> dict[str, Handler]:
    """Return GET handlers by path."""
    routes: dict[str, Handler] = {"/docs": _page}
    for name, content_type in _FILES.items():
        routes[f"/docs/{name}"] = _file_handler(name, content_type)
    return routes


async def _page(request: Request) -> Response:
    return Response(_PAGE, b"text/html; charset=utf-8")


def _file_handler(name: str, content_type: bytes) -> Handler:
    path = _swagger_folder() / name

    async def answer(request: Request) -> Response:
        return Response(
            path.read_bytes(),
            content_type + b"; charset=utf-8",
            headers=((b"cache-control", b"max-age=86400"),),
        )

    return answer


def _swagger_folder() -> Path:
    # Found without importing the package: that would import FastAPI.
    spec = importlib.util.find_spec("fastapi_swagger")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "resources"
