"""Which handler answers a path, and who may call it.

Not Starlette's router: a request whose row is scored in microseconds would spend most of its time
in there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from serve.http.messages import LINES_TYPE, Handler, Request, StreamHandler
from serve.http.refusals import MethodNotAllowed, NotFound, UnsupportedMediaType

_MODEL_PATH_PATTERN = re.compile(r"(/v2/models/)([^/]+)((?:/versions/)([^/]+))?(/infer|/ready)?")
MODEL_PATH = "/v2/models/{name}"  # of the Open Inference Protocol
VERSION_PATH = "/v2/models/{name}/versions/{version}"
_INCIDENT_PATH_PATTERN = re.compile(r"/incidents/([^/]+)(/verdict)?")
INCIDENT_PATH = "/incidents/{id}"
_GET = ("GET", "HEAD")
_POST = ("POST",)

CallerCheck = Callable[[Request], None]  # raises VigilError


@dataclass(frozen=True, slots=True)
class Route:
    """One path and its handler.

    `is_open` asks for no key; the requests of `is_scoring` are counted; `check_caller` has the last
    word on who may come in; `line_handler` answers a body of lines, of a row each, as they come.
    """

    path: str
    handler: Handler
    methods: tuple[str, ...] = _GET
    is_open: bool = False
    is_scoring: bool = False
    check_caller: CallerCheck | None = None
    line_handler: StreamHandler | None = None

    def takes_lines(self, request: Request) -> bool:
        """Return whether the body is answered line by line."""
        return self.line_handler is not None and request.content_type == LINES_TYPE


def scoring_route(
    path: str,
    handler: Handler,
    line_handler: StreamHandler | None = None,
) -> Route:
    """Return the route of an endpoint that scores rows."""
    return Route(
        path,
        handler,
        _POST,
        is_scoring=True,
        line_handler=line_handler,
    )


def action_route(path: str, handler: Handler, check_caller: CallerCheck) -> Route:
    """Return the route of an endpoint that changes something."""
    return Route(path, handler, _POST, check_caller=check_caller)


def open_route(path: str, handler: Handler) -> Route:
    """Return the route of a page or probe that asks for no key."""
    return Route(path, handler, is_open=True)


class RouteTable:
    """Routes by path; those with a name in it by `/v2/models/{name}/...`, `/incidents/{id}`."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.by_path = {route.path: route for route in routes}

    def find(self, request: Request) -> Route:
        """Return the route of a request; raises NotFound or MethodNotAllowed.

        Sets name and version of the model, or the id of the incident, where the path has them.
        """
        path = request.path
        route = self.by_path.get(path) or self._find_named_route(request)
        if request.method not in route.methods:
            allowed = ", ".join(route.methods)
            raise MethodNotAllowed(
                f"{request.method} is not for {path}; it has {allowed}", route.methods
            )
        return route

    def _find_named_route(self, request: Request) -> Route:
        match = _INCIDENT_PATH_PATTERN.fullmatch(request.path)
        if match is None:
            return self._find_model_route(request)
        request.incident_id = match[1]
        return self.by_path[f"{INCIDENT_PATH}{match[2] or ''}"]

    def _find_model_route(self, request: Request) -> Route:
        match = _MODEL_PATH_PATTERN.fullmatch(request.path)
        route = self.by_path.get(_model_path_template(match)) if match else None
        if match is None or route is None:
            raise NotFound(f"there is no {request.path}; /docs describes what there is")
        request.model_name = match[2]
        request.model_version = match[4]
        return route


def _model_path_template(match: re.Match[str]) -> str:
    prefix, _, versions, _, action = match.groups()
    version = "/versions/{version}" if versions else ""
    return f"{prefix}{{name}}{version}{action or ''}"


def require_content_type(request: Request, *types: str) -> None:
    """Raise UnsupportedMediaType unless the body says it is one of `types`, or says nothing."""
    content_type = request.content_type
    if content_type and content_type not in types:
        raise UnsupportedMediaType(f"content type {content_type!r}; send {' or '.join(types)}")
