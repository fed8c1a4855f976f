"""AWS: clients of one session, with timeouts and retries, and their errors as OSError.

Credentials, region and endpoint are those of the environment (AWS_ENDPOINT_URL, ..).
infra/manifests/pgpass.py has a client of its own: it runs in an image without Vigil.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

# Those of botocore itself.
_TIMEOUT_S = 60.0
_MAX_ATTEMPTS = 5


class AwsError(OSError):
    """AWS refuses a request, or cannot be reached: then `code` is empty and `status` 0."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def aws_client(
    service: str,
    *,
    region: str | None = None,
    timeout_s: float = _TIMEOUT_S,
    max_attempts: int = _MAX_ATTEMPTS,
) -> Any:
    """A client of a service, by its name in boto3.

    No connection, and no pause in an answer, may take longer than `timeout_s`; a request that fails
    is made at most `max_attempts` times.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": max_attempts},
    )
    return aws_session().client(service, region_name=region, config=config)


def aws_session() -> Any:
    """The session of the AWS_* variables as they are now; it renews its credentials itself."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _session(tuple(sorted(variables.items())))


@lru_cache(maxsize=1)
def _session(variables: tuple[tuple[str, str], ...]) -> Any:
    """Kept, as it takes long to make."""
    import boto3

    return boto3.Session()


@contextmanager
def aws_errors(place: str = "") -> Iterator[None]:
    """Errors of AWS in the block become AwsError; its message begins with `place`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise AwsError(
            _message(place, error),
            code=error.response.get("Error", {}).get("Code", ""),
            status=error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
        ) from error
    except BotoCoreError as error:  # no network, no endpoint, no credentials
        raise AwsError(_message(place, error)) from error


def _message(place: str, error: Exception) -> str:
    if place:
        return f"{place}: {error}"
    return str(error)
