"""The parts of a running platform over HTTP: its service, Ray's dashboard, MLflow."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vigil import http
from vigil.deadline import poll_until
from vigil.errors import PlatformError
from vigil.home import RunningPlatform
from vigil.json_types import JsonObject

_REQUEST_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 5.0
_PROBE_INTERVAL_S = 0.25


class PartUnready(PlatformError):
    """A part of the platform cannot do what it was asked for, yet."""


def request_json(
    method: str,
    url: str,
    platform: RunningPlatform,
    *,
    body: Any = None,
    accept_errors: bool = False,
) -> JsonObject:
    """JSON over HTTP with the credentials of the part that is asked.

    With `accept_errors` an error's body is returned like any other. Raises PartUnready for a 5xx,
    and PlatformError for other errors and where nobody answers.
    """
    try:
        response = http.request(
            method,
            url,
            headers={**_credentials(url, platform), "Content-Type": "application/json"},
            content=None if body is None else json.dumps(body).encode(),
            timeout_s=_REQUEST_TIMEOUT_S,
        )
    except OSError as error:
        raise PlatformError(f"{url} does not answer: {error}") from error
    if response.is_success:
        return json.loads(response.content or b"{}")
    if accept_errors:
        with contextlib.suppress(ValueError):
            return response.json()
    kind = PartUnready if response.status_code >= 500 else PlatformError
    text = response.content.decode(errors="replace")
    raise kind(f"{method} {url} answered {response.status_code}: {text[-500:]}")


def is_answering(url: str, platform: RunningPlatform | None = None) -> bool:
    """Whether a GET, with the credentials of `platform`, is answered with a 2xx."""
    headers = _credentials(url, platform) if platform is not None else None
    try:
        with http.open_response(
            "GET",
            url,
            headers=headers,
            timeout_s=PROBE_TIMEOUT_S,
            follow_redirects=True,
        ) as response:
            return response.is_success
    except OSError:
        return False


def _credentials(url: str, platform: RunningPlatform) -> dict[str, str]:
    """The service wants its API key, Ray's dashboard its token."""
    if url.startswith(f"{platform.url}/"):
        return platform.headers
    return {"Authorization": f"Bearer {_read_token(platform)}"}


def _read_token(platform: RunningPlatform) -> str:
    return Path(platform.token_path).read_text("utf-8").strip()


def wait_until(
    condition: Callable[[], bool],
    timeout_s: float,
    failure: str,
) -> None:
    """Poll `condition` until it holds; raises PlatformError with `failure` after `timeout_s`."""
    if not poll_until(condition, timeout_s, _PROBE_INTERVAL_S):
        raise PlatformError(f"{failure} (waited {timeout_s:.0f} s)")
