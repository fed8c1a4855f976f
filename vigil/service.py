"""A running service, on this machine or elsewhere: how a command finds it, and asks it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from vigil import http
from vigil.errors import PlatformError, VigilError
from vigil.json_types import JsonObject

if TYPE_CHECKING:
    import httpx


_NO_SERVICE = (
    "no platform runs here: start one with `vigil up`, or name a service elsewhere with --url "
    "(VIGIL_URL), and its key with VIGIL_API_KEY"
)
KEY_REFUSED = (401, 403)


class Unanswered(VigilError, OSError):
    """The service does not answer (`code` None), or with an error: HTTP status and body of that."""

    status = 503

    def __init__(
        self,
        message: str,
        code: int | None = None,
        answer: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.answer = answer or {}


@dataclass(frozen=True)
class Service:
    """The service at `url`, and the API key that it is shown."""

    url: str
    key: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the service must carry."""
        if self.key:
            return {"Authorization": f"Bearer {self.key}"}
        return {}

    def get(self, path: str, timeout_s: float = 10.0) -> JsonObject:
        """The JSON that the service answers to a GET; raises Unanswered."""
        return self._ask(
            "GET",
            path,
            timeout_s,
            headers=self.headers,
        )

    def post(
        self,
        path: str,
        timeout_s: float = 10.0,
        body: Any = None,
    ) -> JsonObject:
        """The JSON that it answers to a POST of `body` (or nothing); raises Unanswered."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        return self._ask(
            "POST",
            path,
            timeout_s,
            headers=headers,
            content=content,
        )

    def _ask(
        self,
        method: str,
        path: str,
        timeout_s: float,
        **request: Any,
    ) -> JsonObject:
        try:
            response = http.request(
                method,
                self.url + path,
                timeout_s=timeout_s,
                **request,
            )
            if response.is_success:
                return response.json()
        except (OSError, ValueError) as error:
            raise Unanswered(f"{self.url} does not answer: {error}") from error
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> Unanswered:
        """What an answer that is an error says, and what to do where a key is missing."""
        code = response.status_code
        answer: JsonObject = {}
        reason = response.reason_phrase
        with suppress(ValueError, LookupError, TypeError):
            answer = response.json()
            reason = answer["error"]["message"]
        if code in KEY_REFUSED:
            reason += " (commands show the key of VIGIL_API_KEY, or of the file VIGIL_API_KEY_FILE)"
        return Unanswered(f"{self.url} answers {code}: {reason}", code, answer)


class _RunningPlatform(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def service(self) -> Service: ...


class _Home(Protocol):
    """A `Home`, as far as it is asked here: vigil/home.py imports this module."""

    def platform(self) -> _RunningPlatform | None: ...


@dataclass(frozen=True)
class ServiceOptions:
    """The service that somebody has named, by options or by the environment.

    `url` None: nobody has.
    """

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None

    def find(self, home: _Home) -> Service | None:
        """The service that is named, else that of the platform that runs in `home`, if one does.

        A key that is named is shown to either. Raises PlatformError for a key that cannot be read.
        """
        key = self._key()
        if self.url is not None:
            return Service(self.url.rstrip("/"), key)
        platform = home.platform()
        if platform is None or key is None:
            if platform:
                return platform.service
            return None
        return Service(platform.url, key)

    def require(self, home: _Home) -> Service:
        """The same; raises PlatformError where there is none."""
        found = self.find(home)
        if found is None:
            raise PlatformError(_NO_SERVICE)
        return found

    def _key(self) -> str | None:
        if self.key or self.key_file is None:
            return self.key
        try:
            return self.key_file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise PlatformError(f"the key file {self.key_file} cannot be read: {error}") from error


def service_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --url, --api-key and --api-key-file, as `service`: ServiceOptions."""

    @click.option(
        "--url",
        envvar="VIGIL_URL",
        help="service to ask (or VIGIL_URL; default: the platform that runs here)",
    )
    @click.option("--api-key", envvar="VIGIL_API_KEY", help="key to show to it (or VIGIL_API_KEY)")
    @click.option(
        "--api-key-file",
        envvar="VIGIL_API_KEY_FILE",
        type=click.Path(path_type=Path),
        help="file with that key (or VIGIL_API_KEY_FILE)",
    )
    @functools.wraps(function)
    def asked(
        *args: Any,
        url: str | None,
        api_key: str | None,
        api_key_file: Path | None,
        **named: Any,
    ) -> None:
        # An empty variable is one that somebody did not set.
        service = ServiceOptions(url or None, api_key or None, api_key_file or None)
        function(*args, service=service, **named)

    return asked
