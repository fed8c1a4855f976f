"""Retraining by GitHub Actions instead of a Ray job: a `repository_dispatch`, or a `workflow_dispatch` of one workflow."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from drift.settings import DriftSettings
from vigil.errors import JobsUnavailable, VigilError

RETRAIN_EVENT = "vigil-retrain"
_TIMEOUT_S = 20.0


class DispatchRefused(VigilError):
    """GitHub does not take the event."""


def dispatch(payload: dict[str, str], settings: DriftSettings) -> None:
    """Send the event with this payload.

    Raises JobsUnavailable when GitHub is away or asks for patience, DispatchRefused when it says no.
    """
    base = f"{settings.github_url.rstrip('/')}/repos/{settings.github_repository}"
    body: dict[str, Any] = {"event_type": RETRAIN_EVENT, "client_payload": payload}
    url = f"{base}/dispatches"
    if settings.github_workflow:
        url = f"{base}/actions/workflows/{settings.github_workflow}/dispatches"
        body = {"ref": settings.github_ref, "inputs": payload}
    token = DriftSettings.read_secret(
        "github_token"
    )  # it may have been renewed since the monitor began
    if not token.get_secret_value():
        raise DispatchRefused(
            f"backend github needs a token that may dispatch: {DriftSettings.variable('github_token')}"
        )
    headers = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "vigil",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token.get_secret_value()}",
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        error.close()
        told = f"GitHub answered {error.code} to {url}"
        if error.code == 429 or error.code >= 500:
            raise JobsUnavailable(told) from error
        raise DispatchRefused(
            f"{told}: look at VIGIL_DRIFT_GITHUB_REPOSITORY, _WORKFLOW and _TOKEN"
        ) from error
    except OSError as error:
        raise JobsUnavailable(f"{url} does not answer: {error}") from error
