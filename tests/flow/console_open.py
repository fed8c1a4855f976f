"""The console in a browser while the demo runs: what it showed, twice a second.

VIGIL_SCREENSHOTS=FOLDER has pictures taken.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from serve.local.parts import is_answering
from tests.browser import Looked, chromium
from tests.running import eventually
from vigil.home import RunningPlatform

STEP_S = 0.5
READ = """() => {
  const text = (id) => document.getElementById(id).textContent;
  const events = [...document.querySelectorAll("#timeline > li")].reverse();
  return {
    status: document.body.dataset.state, age: text("age"),
    rate: Number(text("t-rate").replace(",", "")) || 0,
    anomalies: document.querySelectorAll("#latest button").length,
    drifted: document.querySelectorAll("#features .over").length,
    steady: document.querySelectorAll("#features .feature:not(.over)").length,
    kinds: events.map((li) => li.className),
    told: events.map((li) => li.querySelector("p").textContent),
    serving: text("serving"), convergence: text("convergence"),
  };
}"""
WIDE = {"viewport": {"width": 1220, "height": 850}}
PICTURES: dict[str, dict[str, Any]] = {
    "console-light": {"color_scheme": "light", **WIDE},
    "console-dark": {"color_scheme": "dark", **WIDE},
    "console-phone": {
        "color_scheme": "light",
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
    },
}
WHEN: dict[str, Callable[[dict[str, Any]], bool]] = {
    "console-light": lambda shown: shown["kinds"][-1] == "k-retrain",
    "console-dark": lambda shown: swapped(shown) and shown["drifted"] + shown["steady"] > 0,
    "console-phone": lambda shown: swapped(shown) and shown["drifted"] + shown["steady"] > 0,
}


def swapped(shown: dict[str, Any]) -> bool:
    """The second version is promoted, and served by all."""
    kinds = shown["kinds"]
    return kinds.count("k-promote") > 1 and kinds.count("k-swap") > 1


@dataclass
class Showing:
    """`records` are what the page showed, with the time.

    It goes on until `over` is set. `failure` is what went wrong.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None

    @property
    def now(self) -> dict[str, Any]:
        assert self.failure is None, self.failure
        return self.records[-1] if self.records else {}

    def watch(self, url: str) -> None:
        """Look on, in a thread of its own: a page of Playwright belongs to its thread."""
        try:
            eventually(lambda: self.over.is_set() or is_answering(f"{url}/healthz"), 240)
            with chromium() as browser:
                page = browser.new_page()
                looked = Looked(
                    page, url, away=True
                )  # the proxy of this platform is killed in the end
                page.goto(f"{url}/")
                drawn: set[str] = set()
                while not self.over.wait(STEP_S):
                    self.records.append({"at": time.time(), **page.evaluate(READ)})
                    draw(browser, url, self.now, drawn)
                looked.check()
        except BaseException as error:
            self.failure = error


def draw(browser: Browser, url: str, shown: dict[str, Any], drawn: set[str]) -> None:
    """Where a folder is named: the page as a visitor meets it, each picture at its moment."""
    folder = os.environ.get("VIGIL_SCREENSHOTS")
    for name, options in PICTURES.items() if folder and shown["kinds"] else ():
        if name in drawn or not WHEN[name](shown):
            continue
        drawn.add(name)
        context = browser.new_context(**options, reduced_motion="reduce")
        page = context.new_page()
        page.goto(f"{url}/")
        page.locator("#timeline > li").first.wait_for()
        page.wait_for_timeout(2500)
        open_course(page)
        page.screenshot(path=Path(str(folder)) / f"{name}.png", full_page="phone" not in name)
        context.close()


def open_course(page: Page) -> None:
    """Show the course of the oldest incident that has rows: it has come furthest."""
    entries = page.locator("#incidents > li").filter(has_not_text=" 0 rows")
    if entries.count():
        entries.last.locator("summary").click()
        entries.last.locator(".course li").first.wait_for()


@contextmanager
def console(platform: RunningPlatform) -> Iterator[Showing | None]:
    """What the console shows of `platform`, from its first answer on; None without a browser."""
    if shutil.which("chromium") is None:
        assert "CI" not in os.environ, "chromium is not installed: apt-get install chromium"
        yield None
        return
    made = Showing()
    thread = threading.Thread(target=made.watch, args=(platform.url,))
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        thread.join(60)
    assert made.failure is None, made.failure
