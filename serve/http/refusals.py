"""Requests that are refused: the errors of the gateway, in the form of each protocol."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from serve.http.messages import Headers, Response
from vigil.errors import VigilError

RETRY_AFTER_S = 2  # where the settings do not say it
GRAPHITE_PATH = "/incidents/graphite"  # the URL of Grafana's data source ends with it
_MLFLOW_CODES = {
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class NotFound(VigilError):
    """There is no such path."""

    status = 404


class MethodNotAllowed(VigilError):
    """The path has other methods, which are `allowed`."""

    status = 405

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


class HeadersTooLarge(VigilError):
    """The headers are over the limit."""

    status = 431


class UnsupportedMediaType(VigilError):
    """The body is of a kind that this path does not read."""

    status = 415


class TooSlow(VigilError):
    """The client did not send its body in time."""

    status = 408


class Overloaded(VigilError):
    """More is being read and scored than the replica can do soon."""

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(
            "the service is overloaded: try again after Retry-After, with a pause that grows"
        )
        self.status = status
        self.retry_after_s = max(1, round(retry_after_s))


class InternalError(VigilError):
    """A fault of the service."""


class ErrorDetail(msgspec.Struct):
    """The error's class and message, with the feature and the row where it has them."""

    type: str
    message: str
    field: str | UnsetType = UNSET
    row: int | UnsetType = UNSET


class ErrorBody(msgspec.Struct):
    """Vigil's own form of an error: that of `VigilError.body`."""

    error: ErrorDetail


class MlflowErrorBody(msgspec.Struct):
    """MLflow's form of an error."""

    error_code: str
    message: str


class OpenInferenceErrorBody(msgspec.Struct):
    """The Open Inference Protocol's form of an error."""

    error: str


class GraphiteErrorBody(msgspec.Struct):
    """Vigil's own form, and the message where Grafana looks for it."""

    error: ErrorDetail
    message: str


def refusal(error: VigilError, path: str) -> Response:
    """Return the response to a request that failed, in the form of the path's protocol."""
    body = msgspec.json.encode(_error_body(error, path))
    return Response(body, headers=_refusal_headers(error), status=error.status)


def _error_body(
    error: VigilError, path: str
) -> ErrorBody | MlflowErrorBody | OpenInferenceErrorBody | GraphiteErrorBody:
    if path.startswith("/v2"):
        return OpenInferenceErrorBody(error.message)
    if path in ("/invocations", "/ping"):
        code = _MLFLOW_CODES.get(error.status, "BAD_REQUEST")
        return MlflowErrorBody(code, error.message)
    if path.startswith(GRAPHITE_PATH):
        return GraphiteErrorBody(error_detail(error), error.message)
    return ErrorBody(error_detail(error))


def error_detail(error: VigilError) -> ErrorDetail:
    """Return Vigil's own form of an error."""
    field = UNSET if error.field is None else error.field
    row = UNSET if error.row is None else error.row
    return ErrorDetail(type(error).__name__, error.message, field=field, row=row)


def _refusal_headers(error: VigilError) -> Headers:
    if isinstance(error, Overloaded):
        return ((b"retry-after", b"%d" % error.retry_after_s),)
    if isinstance(error, MethodNotAllowed):
        return ((b"allow", ", ".join(error.allowed).encode()),)
    if error.status == 503:
        return ((b"retry-after", b"%d" % RETRY_AFTER_S),)
    if error.status == 401:
        return ((b"www-authenticate", b"Bearer"),)
    return ()
