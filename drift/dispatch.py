"""Retraining by GitHub Actions instead of a Ray job.

It sends a `repository_dispatch`, or a `workflow_dispatch` of one workflow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from drift.settings import DriftSettings
from vigil import http
from vigil.errors import JobsUnavailable, VigilError
from vigil.json_types import JsonObject

RETRAIN_EVENT = "vigil-retrain"
_TIMEOUT_S = 20.0
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class DispatchRefused(VigilError):
    """GitHub does not take the event."""


@dataclass(frozen=True)
class _DispatchEvent:
    """What is posted to GitHub."""

    url: str
    body: JsonObject

    @classmethod
    def of(cls, payload: dict[str, str], settings: DriftSettings) -> _DispatchEvent:
        """A workflow_dispatch where a workflow is named, else a repository_dispatch."""
        api = settings.github_url.rstrip("/")
        repository = f"{api}/repos/{settings.github_repository}"
        workflow = settings.github_workflow
        if not workflow:
            event = {"event_type": RETRAIN_EVENT, "client_payload": payload}
            return cls(f"{repository}/dispatches", event)
        run = {"ref": settings.github_ref, "inputs": payload}
        return cls(f"{repository}/actions/workflows/{workflow}/dispatches", run)

    def post(self, token: str) -> httpx.Response:
        """Post it; raises JobsUnavailable when nobody answers."""
        content = json.dumps(self.body).encode()
        headers = _headers(token)
        try:
            return http.request(
                "POST",
                self.url,
                headers=headers,
                content=content,
                timeout_s=_TIMEOUT_S,
            )
        except OSError as error:
            raise JobsUnavailable(f"{self.url} does not answer: {error}") from error


def dispatch(payload: dict[str, str], settings: DriftSettings) -> None:
    """Send the event with this payload.

    Raises JobsUnavailable when GitHub is away or asks for patience, DispatchRefused when it
    says no.
    """
    event = _DispatchEvent.of(payload, settings)
    response = event.post(_read_token())
    if not response.is_success:
        raise _refusal(event.url, response.status_code)


def _read_token() -> str:
    # It may have been renewed since the monitor began.
    token = DriftSettings.read_secret("github_token").get_secret_value()
    if not token:
        variable = DriftSettings.variable("github_token")
        raise DispatchRefused(f"backend github needs a token that may dispatch: {variable}")
    return token


def _headers(token: str) -> dict[str, str]:
    return {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "vigil",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token}",
    }


def _refusal(url: str, status: int) -> VigilError:
    message = f"GitHub answered {status} to {url}"
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        return JobsUnavailable(message)
    advice = "look at VIGIL_DRIFT_GITHUB_REPOSITORY, _WORKFLOW and _TOKEN"
    return DispatchRefused(f"{message}: {advice}")
