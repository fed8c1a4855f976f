"""`vigil top`: the running platform in the terminal, once a second."""

from __future__ import annotations

import json
import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from serve.local.status_view import Scrape, parse_scrape, percent, timestamp, top_view
from vigil import http
from vigil.errors import PlatformError
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, printable, report_errors, stdout_console

REFRESH_S, ONCE_S = (
    1.0,
    2.0,
)  # replicas report about once a second: less than two tell nothing of a rate
LOOKS = 11  # rates are over the last ten seconds
FEATURES, HALF = 12, 20  # shown; characters of a bar up to the floor
TIMEOUT_S = 10.0


class ServicePoller:
    """Looks at a service, and remembers the looks of the last seconds."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self._headers = url.rstrip("/"), headers
        self._looks: deque[tuple[float, Scrape]] = deque(maxlen=LOOKS)

    def look(self) -> dict[str, Any]:
        """The figures as of now; raises PlatformError when the service does not answer."""
        try:
            status = json.loads(self._get("/drift"))
            self._looks.append((time.monotonic(), parse_scrape(self._get("/metrics").decode())))
        except (OSError, ValueError) as error:
            raise PlatformError(f"{self.url} does not answer: {error}") from error
        (then, before), (now, after) = self._looks[0], self._looks[-1]
        return {"url": self.url, **top_view(status, after, before, max(now - then, 1e-3))}

    def _get(self, path: str) -> bytes:
        response = http.request("GET", self.url + path, headers=self._headers, timeout_s=TIMEOUT_S)
        http.check_status(response)
        return response.content


@click.command()
@click.option(
    "--once", is_flag=True, help="print one frame and end; so it is where there is no terminal"
)
@service_options
@json_option
@report_errors
def top(once: bool, service: ServiceOptions, as_json: bool) -> None:
    """Traffic, latency, anomalies, drift, governor and replicas, live; q or Ctrl-C ends it."""
    asked = service.require(HomeSettings().open())
    source = ServicePoller(asked.url, asked.headers)
    if as_json or once or not stdout_console.is_terminal:
        source.look()
        time.sleep(ONCE_S)
        found = source.look()
        print_json(found) if as_json else stdout_console.print(frame(found))
        return
    try:
        _live(source)
    except KeyboardInterrupt:
        pass


def _live(source: ServicePoller) -> None:
    shown: dict[str, Any] | None = None
    with _keys() as pressed, Live(console=stdout_console, screen=True, auto_refresh=False) as live:
        while True:
            problem = ""
            try:
                shown = source.look()
            except PlatformError as error:  # what was seen last stays, and is said to be old
                problem = error.message
            live.update(
                frame(shown, problem) if shown else Text(printable(problem), "bold red"),
                refresh=True,
            )
            if pressed(REFRESH_S) == "q":
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A callable that waits so many seconds for a key, and gives it back without its being shown."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds) or ""
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield (
            lambda seconds: (
                os.read(fd, 1).decode(errors="replace")
                if select.select([fd], [], [], seconds)[0]
                else ""
            )
        )
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def frame(found: dict[str, Any], problem: str = "") -> RenderableType:
    """One picture of the figures; whatever is in their names and reasons is shown, not obeyed."""
    title = Text(
        printable(f"Vigil {found['url']}  version {found['model_version'] or 'none'}"), "bold"
    )
    old = [Text(printable(f"not as of now: {problem}"), "bold red")] if problem else []
    return Group(title, *old, _traffic(found), _drift(found), _replicas(found), _events(found))


def _traffic(found: dict[str, Any]) -> RenderableType:
    over = (found["alert_rate"] or 0) > (found["alert_budget"] or 1)
    cells = (
        ("requests/s", f"{found['requests_per_s']:.1f}"),
        ("refused/s", f"{found['refused_per_s']:.1f}"),
        ("rows/s", f"{found['rows_per_s']:.1f}"),
        ("p50 ms", _number(found["p50_ms"])),
        ("p99 ms", _number(found["p99_ms"])),
        ("anomalies/s", f"{found['anomalies_per_s']:.2f}"),
        ("anomalies", f"{found['anomalies']:.0f}"),
        ("alert rate", percent(found["alert_rate"])),
        ("budget", percent(found["alert_budget"])),
    )
    made = Table(*(name for name, _ in cells), expand=True)
    made.add_row(
        *(Text(text, "bold red" if over and name == "alert rate" else "") for name, text in cells)
    )
    return made


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _drift(found: dict[str, Any]) -> RenderableType:
    made = Table.grid(padding=(0, 1))
    for feature in found["features"][:FEATURES]:
        ratio = feature["ks"] / max(feature["floor"], 1e-12)
        style = "red" if ratio >= 1 else "green"
        made.add_row(
            Text(printable(feature["feature"])),
            Text(bar(ratio), style),
            Text(f"{feature['ks']:.3f} of {feature['floor']:.3f}"),
        )
    if more := len(found["features"]) - FEATURES:
        made.add_row(Text(f"and {more} more, nearer to the reference") if more > 0 else Text(""))
    governor = found["governor"]
    told = Text(printable(found["verdict"] or "no full window yet"))
    said = Text(
        printable(f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}")
    )
    return Panel(
        Group(told, said, made), title="drift: KS distance against its floor", title_align="left"
    )


def bar(ratio: float) -> str:
    """How far a statistic is: the mark in the middle is the floor, the right end twice that."""
    filled = min(round(ratio * HALF), 2 * HALF)
    return "█" * min(filled, HALF) + "·" * (HALF - filled) + "|" + "█" * max(0, filled - HALF)


def _replicas(found: dict[str, Any]) -> RenderableType:
    made = Table("replica", "version", "from", "canary", expand=True)
    for replica in found["replicas"]:
        style = "bold red" if replica["replica"] in found["lagging"] else ""
        cells = (
            replica["replica"],
            replica["version"] or "none",
            replica["source"] or "",
            replica["canary"] or "",
        )
        made.add_row(*(Text(printable(cell), style) for cell in cells))
    return made


def _events(found: dict[str, Any]) -> RenderableType:
    made = Table.grid(padding=(0, 1))
    for event in found["events"]:
        made.add_row(
            Text(timestamp(event["at"]), "dim"),
            Text(printable(event["phase"]), "bold"),
            Text(printable(event["reason"])),
        )
    return Panel(made, title="events", title_align="left")
