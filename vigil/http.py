"""The HTTP client of Vigil: httpx, with timeouts, proxies, certificates and errors decided once.

Proxies of the environment are for other machines only. Certificates are those that the machine
trusts. Answers come uncompressed, as between processes of one machine compression only costs.
"""

from __future__ import annotations

import functools
import ipaddress
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx  # imported where it is used: most commands ask nobody, and it takes its time

_HEADERS = {"User-Agent": "vigil", "Accept-Encoding": "identity"}


class ErrorStatus(OSError):
    """An answer whose status is none of 2xx."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"HTTP Error {response.status_code}: {response.reason_phrase}")
        self.status = response.status_code


def request(
    method: str,
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> httpx.Response:
    """The whole answer, whatever its status; redirects are followed.

    No step of the exchange may take longer than `timeout_s`. Raises OSError when there is no
    answer.
    """
    with open_client(url, timeout_s=timeout_s, follow_redirects=True) as client, os_errors():
        return client.request(
            method,
            url,
            headers=headers,
            content=content,
        )


@contextmanager
def open_response(
    method: str,
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    follow_redirects: bool = False,
    use_proxy: bool = True,
) -> Iterator[httpx.Response]:
    """The answer as soon as its headers are there; its body is read by who wants it.

    Raises OSError when there is none.
    """
    client = open_client(
        url,
        timeout_s=timeout_s,
        follow_redirects=follow_redirects,
        use_proxy=use_proxy,
    )
    with (
        client,
        os_errors(),
        client.stream(
            method,
            url,
            headers=headers,
            content=content,
        ) as response,
    ):
        yield response


def check_status(response: httpx.Response) -> None:
    """Raise ErrorStatus unless the status is one of 2xx."""
    if not response.is_success:
        raise ErrorStatus(response)


def open_client(
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    follow_redirects: bool = False,
    use_proxy: bool = True,
) -> httpx.Client:
    """A client for `url` that keeps its connections open until it is closed.

    Its requests raise errors of httpx: make them within `os_errors`.
    """
    import httpx

    return httpx.Client(
        timeout=timeout_s,
        headers={**_HEADERS, **(headers or {})},
        follow_redirects=follow_redirects,
        proxy=environment_proxy(url) if use_proxy else None,
        trust_env=False,  # what it would read is decided here
        verify=_tls_context(url),
        limits=httpx.Limits(keepalive_expiry=None),
    )


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for `url` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_this_machine(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_context(url: str) -> ssl.SSLContext:
    """Certificates that this machine trusts, as they are now: they may have been renewed."""
    if urlsplit(url).scheme == "https":
        return ssl.create_default_context()
    return _context_of_redirects()


@functools.cache
def _context_of_redirects() -> ssl.SSLContext:
    """Kept, as most URLs are not https, and to read the certificates takes 20 ms."""
    return ssl.create_default_context()


@contextmanager
def os_errors() -> Iterator[None]:
    """Errors of httpx in the block become the OSError that caused them.

    ConnectionRefusedError, TimeoutError, socket.gaierror, ssl.SSLError and so on; ConnectionError
    when an answer breaks off or is not HTTP, or a URL is none.
    """
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _os_error(error) from error


def _os_error(error: Exception) -> OSError:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return TimeoutError("timed out")
    if isinstance(error, httpx.NetworkError):
        cause = _cause(_cause(error))  # between the two is one of httpcore
        if isinstance(cause, OSError):
            return cause
    return ConnectionError(str(error) or type(error).__name__)


def _cause(error: BaseException | None) -> BaseException | None:
    return error and (error.__cause__ or error.__context__)
