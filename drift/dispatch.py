"""Retraining by GitHub Actions instead of a Ray job.

It sends a `repository_dispatch`, or a `workflow_dispatch` of one workflow.
"""

from __future__ import annotations

import json
from typing import Any

from drift.settings import DriftSettings
from vigil import http
from vigil.errors import JobsUnavailable, VigilError

RETRAIN_EVENT = "vigil-retrain"
_TIMEOUT_S = 20.0


class DispatchRefused(VigilError):
    """GitHub does not take the event."""


def dispatch(payload: dict[str, str], settings: DriftSettings) -> None:
    """Send the event with this payload.

    Raises JobsUnavailable when GitHub is away or asks for patience, DispatchRefused when it
    says no.
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
            "backend github needs a token that may dispatch: "
            f"{DriftSettings.variable('github_token')}"
        )
    headers = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "vigil",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token.get_secret_value()}",
    }
    try:
        response = http.request(
            "POST", url, headers=headers, content=json.dumps(body).encode(), timeout_s=_TIMEOUT_S
        )
    except OSError as error:
        raise JobsUnavailable(f"{url} does not answer: {error}") from error
    if response.is_success:
        return
    message = f"GitHub answered {response.status_code} to {url}"
    if response.status_code == 429 or response.status_code >= 500:
        raise JobsUnavailable(message)
    raise DispatchRefused(f"{message}: look at VIGIL_DRIFT_GITHUB_REPOSITORY, _WORKFLOW and _TOKEN")
