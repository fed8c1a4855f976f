"""Debian's Prometheus, started for a test and ended by its pid; and promtool."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from infra.dashboards.rules import rule_groups
from infra.dashboards.scrape import scrape_configuration
from tests.running import eventually, free_port
from vigil.home import RunningPlatform

HERE = bool(shutil.which("prometheus") and shutil.which("promtool"))
needs_prometheus = pytest.mark.skipif(
    not HERE and not os.environ.get("CI"),
    reason="no `prometheus` and `promtool` here: Debian's package prometheus has both",
)


@dataclass
class Prometheus:
    """One that runs."""

    url: str

    def api(self, path: str, **parameters: Any) -> Any:
        """The `data` of an answer; an error's message is raised as AssertionError."""
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now."""
        found = self.api("query", query=expression)
        return (
            found["result"]
            if found["resultType"] == "vector"
            else [{"metric": {}, "value": found["result"]}]
        )

    def targets(self) -> dict[str, str]:
        """Health by job."""
        return {
            target["labels"]["job"]: target["health"]
            for target in self.api("targets")["activeTargets"]
        }

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@dataclass
class Watched(Prometheus):
    """One that watches a platform: where a stream consumer is looked for, and since when."""

    stream_port: int
    since: float

    def history(self, expression: str) -> list[dict[str, Any]]:
        """What a panel of the whole run is given: every series with a value that is a number."""
        now = time.time()
        step = max(1.0, (now - self.since) / 300)
        since = now - (now - self.since) // step * step  # so that the last of the steps is now
        found = self.api("query_range", query=expression, start=since, end=now, step=step)
        return [one for one in found["result"] if any(value != "NaN" for _, value in one["values"])]


@contextmanager
def prometheus(
    folder: Path, scrape_configuration: dict[str, Any], rules: dict[str, Any]
) -> Iterator[Prometheus]:
    """A Prometheus on a free loopback port with its files in `folder`."""
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scrape_configuration))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        one = Prometheus(f"http://{address}")

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            return one.ready()

        eventually(ready, 30)
        yield one
    finally:
        process.terminate()
        process.wait(30)


def promtool(*arguments: str | Path, code: int = 0, given: bytes | None = None) -> str:
    """What promtool says; it must exit with `code`."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(
        command, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == code, done.stdout.decode()
    return done.stdout.decode()


def queries(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and PromQL of a dashboard's panels and annotations.

    They are as Grafana would send them, with variables filled in.
    """
    known = {
        "__rate_interval": "1m",
        "__interval": "15s",
        "__range": "1h",
        "interval": "15s",
        "window": "1m",
    }
    known |= {
        one["name"]: _first(one)
        for one in dashboard["templating"]["list"]
        if one["name"] not in known
    }
    found = [
        (panel["title"], target["expr"])
        for panel in _panels(dashboard["panels"])
        for target in panel.get("targets", [])
    ]
    found += [
        (mark["name"], mark["expr"]) for mark in dashboard["annotations"]["list"] if "expr" in mark
    ]
    return [
        (title, re.sub(r"\$\{?(\w+)(?::\w+)?\}?", lambda name: known[name[1]], asked))
        for title, asked in found
        if asked
    ]


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels") or [])


def _first(variable: dict[str, Any]) -> str:
    """What a variable stands for when nobody has chosen: all, or its default."""
    value = (variable.get("current") or {}).get("value")
    if variable["type"] == "query" or value in (None, "$__all", ["$__all"]):
        return ".*"
    return str(value)


@contextmanager
def scraping(platform: RunningPlatform) -> Iterator[Watched | None]:
    """Scrapes a platform that begins, its Ray, and a stream consumer that may come.

    It scrapes every second; None where there is none.
    """
    if not HERE and not os.environ.get("CI"):
        yield None
        return
    stream = free_port()
    told = scrape_configuration(
        platform.url,
        platform.dashboard_url,
        platform.token_path,
        streams=(f"127.0.0.1:{stream}",),
        every="1s",
    )
    with (
        TemporaryDirectory() as folder,
        prometheus(Path(folder), told, {"groups": rule_groups()}) as one,
    ):
        yield Watched(one.url, stream, time.time())
