"""Debian's Chromium, driven by Playwright, and what must never go wrong in a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser for the length of a block; without it tests skip, but not in CI."""
    found = shutil.which("chromium")
    if found is None:
        assert "CI" not in os.environ, "chromium is not installed: apt-get install chromium"
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


@dataclass
class Looked:
    """What a page does wrong.

    `away`: the server refuses or goes away, which the browser itself reports as an error.
    """

    page: Page
    url: str
    away: bool = False
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _dialog(self, dialog: Dialog) -> None:
        self.errors.append(f"a script ran: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not (
            self.away and message.text.startswith("Failed to load resource:")
        ):
            self.errors.append(f"{message.type}: {message.text}")

    def check(self) -> None:
        """Nothing was reported, and nothing but the service was asked."""
        assert self.errors == []
        assert self.hosts <= {urlsplit(self.url).netloc}
