"""GitHub's REST API, as far as the workflows need it: a comment that is kept up to date, and a pull request."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from vigil import http
from vigil.errors import VigilError

GITHUB_TIMEOUT_S = 30.0
MAX_COMMENT_CHARACTERS = 60_000  # of a comment; GitHub takes 65,536


class GitHubFailed(VigilError):
    """GitHub does not do what was asked."""


class GitHubSettings(BaseSettings):
    """What GitHub Actions puts into the environment."""

    github_api_url: str = Field(default="https://api.github.com")
    github_repository: str = Field(default="", description="owner/name")
    github_token: SecretStr = Field(default=SecretStr(""))


class GitHubClient:
    """One repository. The token is in no message."""

    def __init__(self, settings: GitHubSettings) -> None:
        if not settings.github_repository or not settings.github_token.get_secret_value():
            raise GitHubFailed(
                "GITHUB_REPOSITORY and GITHUB_TOKEN must be set: a step gets the token by `${{ github.token }}`"
            )
        self._settings = settings

    def comment(self, number: int, mark: str, text: str) -> str:
        """Have one comment with this `mark` at the pull request, and `text` in it; returns its URL."""
        hidden = f"<!-- {mark} -->"
        body = {"body": f"{hidden}\n{text[:MAX_COMMENT_CHARACTERS]}"}
        found: list[dict[str, Any]] = self._ask("GET", f"issues/{number}/comments?per_page=100")
        mine = next((one for one in found if one["body"].startswith(hidden)), None)
        if mine is not None:
            return str(self._ask("PATCH", f"issues/comments/{mine['id']}", body)["html_url"])
        return str(self._ask("POST", f"issues/{number}/comments", body)["html_url"])

    def pull_request(self, branch: str, base: str, title: str, text: str) -> str:
        """Have an open pull request from `branch` to `base`; returns its URL."""
        owner = self._settings.github_repository.partition("/")[0]
        query = urlencode({"head": f"{owner}:{branch}", "base": base, "state": "open"})
        found: list[dict[str, Any]] = self._ask("GET", f"pulls?{query}")
        body = {"title": title, "body": text[:MAX_COMMENT_CHARACTERS]}
        if found:
            return str(self._ask("PATCH", f"pulls/{found[0]['number']}", body)["html_url"])
        return str(self._ask("POST", "pulls", {**body, "head": branch, "base": base})["html_url"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        settings = self._settings
        url = f"{settings.github_api_url.rstrip('/')}/repos/{settings.github_repository}/{path}"
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "vigil",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {settings.github_token.get_secret_value()}",
        }
        content = json.dumps(body).encode() if body else None
        resource = path.partition("?")[0]
        try:
            response = http.request(
                method, url, headers=headers, content=content, timeout_s=GITHUB_TIMEOUT_S
            )
            if response.is_success:
                return response.json()
        except (OSError, ValueError) as error:
            raise GitHubFailed(f"GitHub does not answer {method} {resource}: {error}") from error
        message = response.content[:300].decode(errors="replace")
        raise GitHubFailed(
            f"GitHub answered {response.status_code} to {method} {resource}: {message}"
        )
