"""MLflow's own client, for databases and for servers that only the library can speak to.

MLflow reads a part of its environment when it is imported. It is therefore imported when the
first client is made, not with the modules of the registry.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from train.registry.entities import MlflowRefusal

_ENVIRONMENT = {
    # Few and short retries: whoever polls tries again anyway, and must notice soon that the
    # server is gone.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is the caller's
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_UV_AUTO_DETECT": "false",  # the lock file is not part of a model
}


def configure_mlflow() -> None:
    """Set what MLflow reads from the environment, as far as nobody has; call it before MLflow
    is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def translate_library_errors() -> Iterator[None]:
    """Raise MlflowRefusal for MLflow's own error."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise MlflowRefusal(error.error_code, str(error)) from error


class LibraryClient:
    """`MlflowClient` whose methods raise MlflowRefusal instead of MLflow's own error."""

    def __init__(self, tracking_uri: str) -> None:
        configure_mlflow()
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        @wraps(method)
        def translated(*args: Any, **kwargs: Any) -> Any:
            with translate_library_errors():
                return method(*args, **kwargs)

        return translated
