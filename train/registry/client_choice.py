"""Which client asks a registry: ours, or MLflow's own for what only that can speak to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from train.registry.library_client import LibraryClient
from train.registry.rest_client import RestClient
from train.registry.tracking_client import TrackingClient

# What only the library knows how to do with a server.
_LIBRARY_VARIABLES = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
_CREDENTIALS = Path(".mlflow/credentials")  # in the folder of the user


def can_speak_to(tracking_uri: str) -> bool:
    """Return whether our client can: over HTTP, with at most a password or token."""
    is_http = urlsplit(tracking_uri).scheme in ("http", "https")
    return is_http and not _needs_library()


def _needs_library() -> bool:
    """Whether the user has set what only the library knows how to do."""
    return any(map(os.environ.get, _LIBRARY_VARIABLES)) or (Path.home() / _CREDENTIALS).exists()


def client_of(tracking_uri: str) -> TrackingClient:
    """Return the client of a server or database.

    That of a database is the library's, whose methods no type checker sees: a test does.
    """
    if can_speak_to(tracking_uri):
        return RestClient(tracking_uri)
    return cast(TrackingClient, LibraryClient(tracking_uri))
