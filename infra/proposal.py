"""Pull requests that propose files of this checkout."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from infra.github import GitHubClient, GitHubSettings
from vigil.errors import VigilError
from vigil.terminal import say

_AUTHOR = ("-c", "user.name=vigil", "-c", "user.email=vigil@users.noreply.github.com")


class ShippingFailed(VigilError):
    """A step of delivery cannot be done."""


@dataclass(frozen=True)
class Proposal:
    """Changed `paths` on a branch of their own, and what a pull request says of them."""

    branch: str
    title: str
    text: str
    paths: tuple[str, ...]

    def open(self) -> str:
        """Commit, push over what is there, and open a pull request; returns its URL.

        It goes to the branch that was checked out. Empty where nothing changes.
        """
        base = _git("rev-parse", "--abbrev-ref", "HEAD")
        _git("checkout", "-B", self.branch)
        try:
            if not self._commit():
                say("nothing changes: no pull request")
                return ""
            _git("push", "--force", "origin", f"HEAD:refs/heads/{self.branch}")
        finally:
            _git("checkout", base)
        github = GitHubClient(GitHubSettings())
        return github.pull_request(
            self.branch,
            base,
            title=self.title,
            text=self.text,
        )

    def _commit(self) -> bool:
        """Commit the paths; False where they have not changed."""
        _git("add", "--all", "--", *self.paths)
        if not _git("status", "--porcelain", "--", *self.paths):
            return False
        _git(
            *_AUTHOR,
            "commit",
            "--message",
            self.title,
            "--",
            *self.paths,
        )
        return True


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise ShippingFailed(f"git {arguments[0]}: {ended.stderr.strip()[-300:]}")
    return ended.stdout.strip()
