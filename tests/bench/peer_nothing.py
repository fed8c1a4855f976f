"""The do-nothing handler: what a request costs in Ray Serve itself, in any platform mode."""

from __future__ import annotations

from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response


class Nothing:
    async def __call__(self, request: Request) -> Response:
        return Response(b"{}", media_type="application/json")


def build(args: dict[str, Any]) -> serve.Application:
    deployment: Any = serve.deployment(Nothing, name="Nothing")
    return deployment.bind()
