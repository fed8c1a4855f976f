"""`vigil top` and `vigil status`: what they make of a platform's answers.

The answers give no orders to a terminal.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from serve.exposition import collect_metrics, render_exposition
from serve.local.status_view import (
    ScrapedTraffic,
    parse_scrape,
    status_lines,
    top_view,
)
from serve.local.top import HALF_BAR, ServicePoller, bar, frame, print_once, top
from serve.metrics import ServeMetrics
from tests.running import ROOT
from vigil.terminal import print_table

HOSTILE = "disk\x1b[2J\x1b]0;owned\x07[bold]\u202e\x9b"
STATUS: dict[str, Any] = {
    "model_version": "3",
    "desired_version": "3",
    "lagging": ["b"],
    "canary": {"version": "4", "share": 0.25},
    "verdict": {
        "verdict": "population drift",
        "sentence": f"1 of 2 features have drifted: {HOSTILE}",
    },
    "scores": {"alert_rate": 0.05},
    "alert_budget": 0.01,
    "features": [
        {"feature": "cpu", "ks": 0.05, "floor": 0.1},
        {"feature": HOSTILE, "ks": 0.4, "floor": 0.1},
    ],
    "governor": {"mode": "auto", "phase": "collecting", "reason": HOSTILE, "retrains_left": 3},
    "replicas": [
        {"replica": "a", "version": "3", "source": "registry", "canary": None, "refused": {}},
        {
            "replica": "b",
            "version": "2",
            "source": "registry",
            "canary": None,
            "refused": {"3": f"damaged {HOSTILE}"},
        },
    ],
    "timeline": [
        {"at": 1_700_000_000.0 + i, "phase": "collecting", "reason": f"{HOSTILE} {i}"}
        for i in range(9)
    ],
    "last_retraining": {
        "outcome": "kept",
        "reason": HOSTILE,
        "at": 1_700_000_000.0,
        "cause": "drift",
        "version": "2",
    },
}
ORDERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


def counted(requests: int, seconds: float = 0.002) -> str:
    metrics = ServeMetrics()
    for _ in range(requests):
        metrics.requests.labels("ok").inc()
        metrics.latency.observe(seconds)
    metrics.requests.labels("InvalidFeatures").inc(requests / 10)
    metrics.rows.inc(requests * 3)
    metrics.anomalies.inc(requests / 2)
    return render_exposition([collect_metrics(metrics.registry)]).decode()


def test_rates_and_latency_are_of_what_came_between_two_looks() -> None:
    before = parse_scrape(counted(20, seconds=1.0))
    found = top_view(STATUS, ScrapedTraffic(before, parse_scrape(counted(120)), 10.0))
    assert (found["requests_per_s"], found["refused_per_s"], found["rows_per_s"]) == (10, 1, 30)
    assert (found["anomalies_per_s"], found["anomalies"]) == (5, 60)
    assert found["alert_rate"] == 0.05
    assert [f["feature"] for f in found["features"]] == [HOSTILE, "cpu"]
    assert [event["reason"][-1] for event in found["events"]] == list("345678")
    json.dumps(found, allow_nan=False)


def test_a_monitor_that_begins_anew_gives_no_negative_rates() -> None:
    before = parse_scrape(counted(50))
    found = top_view({}, ScrapedTraffic(before, parse_scrape(counted(10)), 1.0))
    assert (found["requests_per_s"], found["rows_per_s"], found["p99_ms"], found["features"]) == (
        0,
        0,
        None,
        [],
    )
    shown = io.StringIO()
    Console(file=shown, width=100).print(frame({"url": "u", **found}))
    assert "no full window yet" in shown.getvalue()


def test_a_bar_reaches_its_mark_at_the_floor() -> None:
    assert bar(0.5) == "█" * (HALF_BAR // 2) + "·" * (HALF_BAR // 2) + "|"
    assert bar(1.0) == "█" * HALF_BAR + "|"
    assert bar(1.5) == "█" * HALF_BAR + "|" + "█" * (HALF_BAR // 2)
    assert len(bar(1e9)) == 2 * HALF_BAR + 1


def test_status_says_what_a_person_asks() -> None:
    lines = list(status_lines(STATUS))
    assert lines[0] == "desired version 3; lagging: b"
    assert "canary 4 answers 25% of the requests" in lines
    assert "alerts: 5.00% of the last window's rows; the budget is 1.00%" in lines
    assert any(
        line.startswith("governor (auto): collecting: disk")
        and line.endswith("3 retrainings left today")
        for line in lines
    )
    assert any(line.startswith("last retraining: kept at 2023-11-14T22:13:20Z: ") for line in lines)


def test_status_with_every_part_away() -> None:
    assert list(status_lines(dict.fromkeys(STATUS))) == [
        "desired version none; lagging: none",
        "drift: no full window yet",
    ]


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        if self.headers["Authorization"] != "Bearer k":
            self.send_error(401)
            return
        text = json.dumps(STATUS) if self.path == "/drift" else counted(self.server.asked * 10)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service that answers `/drift` and `/metrics`, to who shows the key k."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.asked = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def poller(url: str) -> ServicePoller:
    return ServicePoller(url, {"Authorization": "Bearer k"})


def test_a_table_shows_what_is_in_it_and_obeys_none_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("feature",), [(HOSTILE,), ("[/nothing] to close",)])
    shown = capsys.readouterr().out
    assert ORDERS.findall(shown) == []
    assert "[bold]" in shown
    assert "[/nothing]" in shown


def test_without_a_terminal_one_frame_is_printed_that_gives_no_orders(
    poller: ServicePoller, capsys: pytest.CaptureFixture[str]
) -> None:
    print_once(poller, as_json=False, interval_s=0.01)
    shown = capsys.readouterr().out
    assert "version 3" in shown
    assert "█|" in shown
    assert "[bold]" in shown
    assert ORDERS.findall(shown) == []


def test_as_json_it_is_one_object(
    poller: ServicePoller, capsys: pytest.CaptureFixture[str]
) -> None:
    print_once(poller, as_json=True, interval_s=0.01)
    figures = json.loads(capsys.readouterr().out)
    assert figures["requests_per_s"] > 0
    assert figures["governor"]["reason"] == HOSTILE


def test_a_service_that_refuses_or_is_away_is_named(url: str) -> None:
    refused = CliRunner().invoke(top, ["--url", url, "--json"])
    assert (refused.exit_code, "401" in json.loads(refused.output)["error"]["message"]) == (1, True)
    assert CliRunner().invoke(top, ["--url", "http://127.0.0.1:9", "--once"]).exit_code == 1


def test_live_in_a_terminal_until_q(url: str) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "vigil", "top", "--url", url, "--api-key", "k"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "60"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=child, stdout=child, stderr=child, env=environment
    )
    os.close(child)
    seen, deadline = b"", time.monotonic() + 60
    while seen.count(b"version 3") < 2 and time.monotonic() < deadline:
        if select.select([parent], [], [], 1)[0]:
            seen += os.read(parent, 65536)
    os.write(parent, b"q")
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([parent], [], [], 0.1)[0]:
            try:
                seen += os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
    assert process.wait(10) == 0
    os.close(parent)
    assert seen.count(b"version 3") >= 2
    assert b"\x1b[?1049l" in seen  # the screen is as it was
    assert b"owned" in seen
    assert b"]0;owned\x07" not in seen
