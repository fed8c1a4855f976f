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
from contextlib import contextmanager, suppress
from functools import partial

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from serve.local.status_view import (
    Scrape,
    ScrapedTraffic,
    parse_scrape,
    percent,
    timestamp,
    top_view,
)
from vigil import http
from vigil.errors import PlatformError
from vigil.json_types import JsonObject
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, printable, report_errors, stdout_console

REFRESH_INTERVAL_S = 1.0
# Replicas report about once a second: less than two tell nothing of a rate.
ONCE_INTERVAL_S = 2.0
MAX_SCRAPES = 11  # rates are over the last ten seconds
HALF_BAR = 20  # characters of a bar up to the floor
_MAX_FEATURES = 12
_REQUEST_TIMEOUT_S = 10.0
_ALARM = "bold red"


class ServicePoller:
    """Asks a service for its figures, and remembers the scrapes of the last seconds."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url.rstrip("/")
        self._headers = headers
        self._scrapes: deque[tuple[float, Scrape]] = deque(maxlen=MAX_SCRAPES)

    def poll(self) -> JsonObject:
        """The figures as of now; raises PlatformError when the service does not answer."""
        status, scrape = self._ask()
        traffic = self._traffic(scrape, time.monotonic())
        return {"url": self._url, **top_view(status, traffic)}

    def _ask(self) -> tuple[JsonObject, Scrape]:
        try:
            status = json.loads(self._get("/drift"))
            metrics = self._get("/metrics").decode()
            return status, parse_scrape(metrics)
        except (OSError, ValueError) as error:
            raise PlatformError(f"{self._url} does not answer: {error}") from error

    def _traffic(self, scrape: Scrape, now: float) -> ScrapedTraffic:
        self._scrapes.append((now, scrape))
        then, before = self._scrapes[0]
        seconds = max(now - then, 1e-3)
        return ScrapedTraffic(before, scrape, seconds)

    def _get(self, path: str) -> bytes:
        response = http.request(
            "GET",
            self._url + path,
            headers=self._headers,
            timeout_s=_REQUEST_TIMEOUT_S,
        )
        http.check_status(response)
        return response.content


@click.command()
@click.option(
    "--once",
    is_flag=True,
    help="print one frame and end; so it is where there is no terminal",
)
@service_options
@json_option
@report_errors
def top(
    once: bool,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Traffic, latency, anomalies, drift, governor and replicas, live; q or Ctrl-C ends it."""
    target = service.require(HomeSettings().open())
    poller = ServicePoller(target.url, target.headers)
    if as_json or once or not stdout_console.is_terminal:
        print_once(poller, as_json=as_json)
        return
    with suppress(KeyboardInterrupt):
        _show_live(poller)


def print_once(
    poller: ServicePoller, *, as_json: bool, interval_s: float = ONCE_INTERVAL_S
) -> None:
    """Print the figures once, with rates over `interval_s` seconds."""
    poller.poll()
    time.sleep(interval_s)
    figures = poller.poll()
    if as_json:
        print_json(figures)
    else:
        stdout_console.print(frame(figures))


def _show_live(poller: ServicePoller) -> None:
    screen = Live(
        console=stdout_console,
        screen=True,
        auto_refresh=False,
    )
    figures: JsonObject | None = None
    with _keyboard() as read_key, screen as live:
        while True:
            problem = ""
            try:
                figures = poller.poll()
            except PlatformError as error:  # what was seen last stays, and is said to be old
                problem = error.message
            picture = _picture(figures, problem)
            live.update(picture, refresh=True)
            if read_key(REFRESH_INTERVAL_S) == "q":
                return


def _picture(figures: JsonObject | None, problem: str) -> RenderableType:
    if figures:
        return frame(figures, problem)
    return Text(printable(problem), _ALARM)


@contextmanager
def _keyboard() -> Iterator[Callable[[float], str]]:
    """A callable that waits so many seconds for a key, and returns it without its being shown."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds) or ""
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield partial(_read_key, fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _read_key(fd: int, seconds: float) -> str:
    ready, _, _ = select.select([fd], [], [], seconds)
    if ready:
        return os.read(fd, 1).decode(errors="replace")
    return ""


def frame(figures: JsonObject, problem: str = "") -> RenderableType:
    """One picture of the figures; whatever is in their names and reasons is shown, not obeyed."""
    lines = [_heading(figures)]
    if problem:
        lines.append(Text(printable(f"not as of now: {problem}"), _ALARM))
    return Group(
        *lines,
        _traffic_table(figures),
        _drift_panel(figures),
        _replica_table(figures),
        _event_panel(figures["events"]),
    )


def _heading(figures: JsonObject) -> Text:
    version = figures["model_version"] or "none"
    return Text(printable(f"Vigil {figures['url']}  version {version}"), "bold")


def _traffic_table(figures: JsonObject) -> RenderableType:
    cells = {**_rate_cells(figures), **_anomaly_cells(figures)}
    table = Table(*cells, expand=True)
    table.add_row(*cells.values())
    return table


def _rate_cells(figures: JsonObject) -> dict[str, Text]:
    return {
        "requests/s": Text(f"{figures['requests_per_s']:.1f}"),
        "refused/s": Text(f"{figures['refused_per_s']:.1f}"),
        "rows/s": Text(f"{figures['rows_per_s']:.1f}"),
        "p50 ms": Text(_number(figures["p50_ms"])),
        "p99 ms": Text(_number(figures["p99_ms"])),
    }


def _anomaly_cells(figures: JsonObject) -> dict[str, Text]:
    rate = figures["alert_rate"]
    budget = figures["alert_budget"]
    is_over_budget = (rate or 0) > (budget or 1)
    return {
        "anomalies/s": Text(f"{figures['anomalies_per_s']:.2f}"),
        "anomalies": Text(f"{figures['anomalies']:.0f}"),
        "alert rate": Text(percent(rate), _ALARM if is_over_budget else ""),
        "budget": Text(percent(budget)),
    }


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}"


def _drift_panel(figures: JsonObject) -> RenderableType:
    content = Group(
        Text(printable(figures["verdict"] or "no full window yet")),
        Text(printable(_governor_state(figures["governor"]))),
        _feature_grid(figures["features"]),
    )
    return Panel(content, title="drift: KS distance against its floor", title_align="left")


def _governor_state(governor: JsonObject) -> str:
    return f"governor ({governor['mode']}): {governor['phase']}: {governor['reason']}"


def _feature_grid(features: list[JsonObject]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for feature in features[:_MAX_FEATURES]:
        grid.add_row(*_feature_cells(feature))
    hidden = len(features) - _MAX_FEATURES
    if hidden > 0:
        grid.add_row(Text(f"and {hidden} more, nearer to the reference"))
    elif hidden < 0:
        grid.add_row(Text(""))
    return grid


def _feature_cells(feature: JsonObject) -> tuple[Text, Text, Text]:
    ks = feature["ks"]
    floor = feature["floor"]
    ratio = ks / max(floor, 1e-12)
    return (
        Text(printable(feature["feature"])),
        Text(bar(ratio), "red" if ratio >= 1 else "green"),
        Text(f"{ks:.3f} of {floor:.3f}"),
    )


def bar(ratio: float) -> str:
    """How far a statistic is: the mark in the middle is the floor, the right end twice that."""
    filled = min(round(ratio * HALF_BAR), 2 * HALF_BAR)
    below = min(filled, HALF_BAR)
    above = filled - below
    empty = HALF_BAR - below
    return f"{'█' * below}{'·' * empty}|{'█' * above}"


def _replica_table(figures: JsonObject) -> RenderableType:
    table = Table(
        "replica",
        "version",
        "from",
        "canary",
        expand=True,
    )
    for replica in figures["replicas"]:
        is_late = replica["replica"] in figures["lagging"]
        style = _ALARM if is_late else ""
        cells = map(printable, _replica_cells(replica))
        table.add_row(*(Text(cell, style) for cell in cells))
    return table


def _replica_cells(replica: JsonObject) -> tuple[str, ...]:
    return (
        replica["replica"],
        replica["version"] or "none",
        replica["source"] or "",
        replica["canary"] or "",
    )


def _event_panel(events: list[JsonObject]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for event in events:
        grid.add_row(*_event_cells(event))
    return Panel(grid, title="events", title_align="left")


def _event_cells(event: JsonObject) -> tuple[Text, Text, Text]:
    at = timestamp(event["at"])
    phase = printable(event["phase"])
    reason = printable(event["reason"])
    return Text(at, "dim"), Text(phase, "bold"), Text(reason)
