"""GitHub's REST API, as far as the workflows need it.

A comment that is kept up to date, and a pull request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from vigil import http
from vigil.errors import VigilError
from vigil.json_types import JsonObject

if TYPE_CHECKING:
    import httpx

GITHUB_TIMEOUT_S = 30.0
MAX_COMMENT_CHARACTERS = 60_000  # of a comment; GitHub takes 65,536
_HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "vigil",
    "Content-Type": "application/json",
}


class GitHubFailed(VigilError):
    """GitHub does not do what was asked."""


class GitHubSettings(BaseSettings):
    """What GitHub Actions puts into the environment."""

    github_api_url: str = Field(default="https://api.github.com")
    github_repository: str = Field(default="", description="owner/name")
    github_token: SecretStr = Field(default=SecretStr(""))

    @property
    def owner(self) -> str:
        return self.github_repository.partition("/")[0]

    @property
    def token(self) -> str:
        return self.github_token.get_secret_value()

    def url(self, path: str) -> str:
        """The address of something in the repository."""
        return f"{self.github_api_url.rstrip('/')}/repos/{self.github_repository}/{path}"


class GitHubClient:
    """One repository. The token is in no message."""

    def __init__(self, settings: GitHubSettings) -> None:
        if not settings.github_repository or not settings.token:
            raise GitHubFailed(
                "GITHUB_REPOSITORY and GITHUB_TOKEN must be set: a step gets the token by"
                " `${{ github.token }}`"
            )
        self._settings = settings

    def comment(
        self,
        number: int,
        mark: str,
        text: str,
    ) -> str:
        """Have one comment with this `mark` at the pull request, and `text` in it.

        Returns its URL.
        """
        hidden = f"<!-- {mark} -->"
        body = {"body": f"{hidden}\n{text[:MAX_COMMENT_CHARACTERS]}"}
        comment = self._find_comment(number, hidden)
        if comment is None:
            return self._write("POST", f"issues/{number}/comments", body)
        return self._write("PATCH", f"issues/comments/{comment}", body)

    def _find_comment(self, number: int, begin: str) -> int | None:
        """The id of the first comment that begins so."""
        comments = self._ask("GET", f"issues/{number}/comments?per_page=100")
        own = (each["id"] for each in comments if each["body"].startswith(begin))
        return next(own, None)

    def pull_request(
        self,
        branch: str,
        base: str,
        *,
        title: str,
        text: str,
    ) -> str:
        """Have an open pull request from `branch` to `base`; returns its URL."""
        body = {"title": title, "body": text[:MAX_COMMENT_CHARACTERS]}
        requests = self._open_requests(branch, base)
        if requests:
            return self._write("PATCH", f"pulls/{requests[0]['number']}", body)
        return self._write("POST", "pulls", {**body, "head": branch, "base": base})

    def _open_requests(self, branch: str, base: str) -> list[JsonObject]:
        head = f"{self._settings.owner}:{branch}"
        query = urlencode({"head": head, "base": base, "state": "open"})
        return self._ask("GET", f"pulls?{query}")

    def _write(
        self,
        method: str,
        path: str,
        body: JsonObject,
    ) -> str:
        """Make or change something; returns its URL."""
        return str(self._ask(method, path, body)["html_url"])

    def _ask(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
    ) -> Any:
        what = f"{method} {path.partition('?')[0]}"
        content = json.dumps(body).encode() if body else None
        try:
            response = self._send(method, path, content)
            if response.is_success:
                return response.json()
        except (OSError, ValueError) as error:
            raise GitHubFailed(f"GitHub does not answer {what}: {error}") from error
        message = response.content[:300].decode(errors="replace")
        raise GitHubFailed(f"GitHub answered {response.status_code} to {what}: {message}")

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
    ) -> httpx.Response:
        headers = _HEADERS | {"Authorization": f"Bearer {self._settings.token}"}
        url = self._settings.url(path)
        return http.request(
            method,
            url,
            headers=headers,
            content=content,
            timeout_s=GITHUB_TIMEOUT_S,
        )
