"""The parts of a running platform over HTTP: its service, Ray's dashboard, MLflow."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vigil.errors import PlatformError
from vigil.home import RunningPlatform

REQUEST_TIMEOUT_S = 30.0
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
) -> dict[str, Any]:
    """JSON over HTTP with the credentials of the part that is asked.

    With `accept_errors` an error's body is returned like any other. Raises PartUnready for a 5xx,
    and PlatformError for other errors and where nobody answers.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    request.headers.update(_credentials(url, platform) | {"Content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:
            return json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        if accept_errors:
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(text)
        kind = PartUnready if error.code >= 500 else PlatformError
        raise kind(f"{method} {url} answered {error.code}: {text[-500:]}") from error
    except OSError as error:
        raise PlatformError(f"{url} does not answer: {error}") from error


def is_answering(url: str, platform: RunningPlatform | None = None) -> bool:
    """Whether a GET, with the credentials of `platform`, is answered with a 2xx."""
    request = urllib.request.Request(url)
    if platform is not None:
        request.headers.update(_credentials(url, platform))
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def _credentials(url: str, platform: RunningPlatform) -> dict[str, str]:
    """The service wants its API key, Ray's dashboard its token."""
    if url.startswith(f"{platform.url}/"):
        return platform.headers
    return {"Authorization": f"Bearer {Path(platform.token_path).read_text().strip()}"}


def wait_until(condition: Callable[[], bool], timeout_s: float, failure: str) -> None:
    """Poll `condition` until it holds; raises PlatformError with `failure` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise PlatformError(f"{failure} (waited {timeout_s:.0f} s)")
        time.sleep(_PROBE_INTERVAL_S)
