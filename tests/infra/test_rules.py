"""Every alert fires when it should, is quiet when it nearly should, and has its page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.dashboards.metric_names import HAPROXY_METRICS, METRIC_NAME, RAY_METRICS, exposed_metrics
from infra.dashboards.rules import ALERTS, RUNBOOKS, rule_groups
from infra.dashboards.slo import FAULTS
from infra.manifests.monitoring import monitoring_manifests
from serve.http import caller, refusals, replica
from serve.model import reporting as reports
from tests.infra.recorded import ROOT
from tests.infra.test_manifests import settings_of
from tests.prometheus import needs_prometheus, promtool
from vigil import errors
from vigil.commands import COMMANDS
from vigil.errors import VigilError

OK, BROKEN = 'vigil_requests_total{outcome="ok"}', 'vigil_requests_total{outcome="InternalError"}'
OVERLOADED, NO_MODEL = (
    'vigil_requests_total{outcome="Overloaded"}',
    'vigil_requests_total{outcome="NoModel"}',
)
LE = 'vigil_request_seconds_bucket{{le="{}"}}'
FAST = LE.format("0.01")
WINDOWS, BREAKS = (
    'vigil_drift_windows_total{verdict="none"}',
    'vigil_drift_windows_total{verdict="data break"}',
)
INFO = 'vigil_model_info{version="1",digest="0123456789ab"}'
AGE, LAG = 'vigil_stream_checkpoint_age_seconds{shard="a"}', 'vigil_stream_lag{shard="a"}'
ROWS, OPEN, LEFT = (
    "vigil_rows_scored_total",
    "vigil_drift_episode_open",
    "vigil_governor_retrains_left",
)
SWAPS, POLLS = "vigil_model_swap_failures_total", "vigil_registry_failures_total"
EVICTED = "vigil_context_evicted_total"
DROPPED, UNWRITTEN = "vigil_capture_dropped_rows_total", "vigil_capture_write_failures_total"
FAILED = 'vigil_retrains_total{outcome="failed"}'
UP = 'up{job="vigil"}'
PROXIED, PROXY_BAD = (
    f'haproxy_backend_http_responses_total{{proxy="http-vigil",code="{code}"}}'
    for code in ("2xx", "5xx")
)
REPLICA_BAD, FALLBACK_BAD = (
    f'haproxy_server_http_responses_total{{proxy="http-vigil",server="{server}-a",code="5xx"}}'
    for server in ("SERVE_REPLICA_vigil", "SERVE_PROXY_ACTOR-fallback")
)
NOWHERE = 'haproxy_backend_http_responses_total{proxy="default_backend",code="4xx"}'
WANTED, TARGET = (
    f'ray_serve_autoscaling_{name}_replicas{{application="vigil"}}'
    for name in ("desired", "target")
)

UNSENT = 'vigil_notify_oldest_seconds{channel="slack-1"}'
UNSTORED = "vigil_incident_store_failures_total"

# A platform of which there is nothing to tell: the first value of each series, and what it grows by
# in a step.
HEALTHY: dict[str, tuple[float, float]] = {
    UP: (1, 0),
    PROXIED: (0, 6000),
    PROXY_BAD: (0, 0),
    REPLICA_BAD: (0, 0),
    NOWHERE: (0, 0),
    OK: (0, 6000),
    BROKEN: (0, 0),
    OVERLOADED: (0, 0),
    FAST: (0, 6000),
    LE.format("0.1"): (0, 6000),
    LE.format("0.25"): (0, 6000),
    LE.format("+Inf"): (0, 6000),
    ROWS: (0, 6000),
    WINDOWS: (0, 1),
    BREAKS: (0, 0),
    "vigil_drift_severity": (0.5, 0),
    OPEN: (0, 0),
    LEFT: (4, 0),
    INFO: (1, 0),
    "vigil_model_disagreement": (0, 0),
    SWAPS: (0, 0),
    POLLS: (0, 0),
    DROPPED: (0, 0),
    UNWRITTEN: (0, 0),
    EVICTED: (0, 0),
    AGE: (10, 0),
    LAG: (0, 0),
    FAILED: (0, 0),
    "vigil_incidents_open": (0, 0),
    UNSENT: (0, 0),
    UNSTORED: (0, 0),
    WANTED: (3, 0),
    TARGET: (3, 0),
}


@dataclass
class Case:
    """`alert` fires at minute `at` of a platform that is healthy but for `fires`.

    It does not fire where `quiet` is what differs.

    Both as promtool writes series, a value every `step` minutes; None: there is no such series.
    """

    alert: str
    at: float
    fires: dict[str, str | None]
    quiet: dict[str, str | None]
    shown: str = ""  # how the description tells the value
    labels: dict[str, str] = field(default_factory=dict)
    step: float = 1


CASES = [
    # Three scrapes in a row fail, which is an outage of 45 s, and all is well again when it is
    # told; two do.
    Case("VigilDown", 6.5, {UP: "1x20 0x2 1x20"}, {UP: "1x20 0x1 1x20"}, step=0.25),
    Case("VigilDown", 9, {UP: "1x20 0x20"}, {UP: "0x20 1x20"}, step=0.25),
    Case("VigilDown", 9, {UP: None}, {UP: "_x33 1x5"}, step=0.25),
    # In 45 s 100 requests a second fail, then replicas answer again; or they had told so
    # themselves, or HAProxy retried.
    Case(
        "VigilProxyErrors",
        6.5,
        {PROXY_BAD: "0x10 2250x1 4500x20", PROXIED: "0+3000x10 30000x2 33000+3000x20"},
        {PROXY_BAD: "0x10 2250x1 4500x20", REPLICA_BAD: "0x10 2250x1 4500x20"},
        "60%",
        step=0.5,
    ),
    Case(
        "VigilProxyErrors",
        6.5,
        {PROXY_BAD: "0+60x20", FALLBACK_BAD: "0+60x20", PROXIED: "0x20"},
        {PROXY_BAD: "0+1x20", PROXIED: "0+1x20"},
        "100%",
        step=0.5,
    ),
    Case(
        "VigilProxyErrors",
        6.5,
        {NOWHERE: "0+60x20", PROXIED: "5x20"},
        {PROXY_BAD: None, REPLICA_BAD: None, PROXIED: None, NOWHERE: None},
        "100%",
        step=0.5,
    ),
    Case("VigilErrorBudgetFast", 75, {BROKEN: "0+200x80"}, {BROKEN: "0+50x80"}, "3.226%"),
    Case(
        "VigilErrorBudgetFast", 75, {NO_MODEL: "0+200x80"}, {BROKEN: "0+400x50 20000x40"}, "3.226%"
    ),  # it is over by now
    Case(
        "VigilErrorBudgetFast",
        75,
        {BROKEN: "0+1x80", OK: "0x80"},
        {BROKEN: "0x70 1x10", OK: "0+1x80"},
        "100%",
    ),  # only one
    Case(
        "VigilErrorBudgetFast",
        75,
        {PROXY_BAD: "0+200x80"},
        {PROXY_BAD: "0+200x80", REPLICA_BAD: "0+200x80"},
        "3.226%",
    ),
    Case("VigilErrorBudgetSlow", 400, {BROKEN: "0+50x50"}, {BROKEN: "0+20x50"}, "0.8264%", step=10),
    Case(
        "VigilErrorBudgetLeak", 4800, {BROKEN: "0+10x500"}, {BROKEN: "0+5x500"}, "0.1664%", step=10
    ),
    Case(
        "VigilSlow",
        20,
        {FAST: "0+5000x30", LE.format("0.1"): "0+5900x30"},
        {FAST: "0+5000x30"},
        "160ms",
    ),
    Case("VigilOverloaded", 20, {OVERLOADED: "0+600x30"}, {OVERLOADED: "0+200x30"}, "9.091%"),
    Case(
        "VigilReplicasAtMax",
        25,
        {WANTED: "6x30", TARGET: "4x30"},
        {WANTED: "6x30", TARGET: "4x10 6x20"},
        "6",
    ),
    Case(
        "VigilNoChampion", 10, {INFO: None}, {INFO: None, "vigil_drift_severity": None}
    ),  # without a monitor nobody knows
    Case("VigilNoChampion", 20, {NO_MODEL: "0+1x30"}, {NO_MODEL: "0+1x5 5x30"}),
    Case(
        "VigilVersionsDiffer",
        8,
        {"vigil_model_disagreement": "0x5 1x10"},
        {"vigil_model_disagreement": "0x6 1 0x10"},
    ),
    Case("VigilSwapFails", 10, {SWAPS: "0x5 1x10"}, {SWAPS: "3x20"}),
    Case("VigilRegistryAway", 25, {POLLS: "0+1x30"}, {POLLS: "0+1x8 8x30"}),
    Case("VigilDataBreak", 15, {BREAKS: "0+1x30"}, {BREAKS: "0x10 1x20"}),
    Case("VigilDriftEpisode", 70, {OPEN: "1x80"}, {OPEN: "1x50 0 1x30"}),
    Case("VigilBlind", 170, {WINDOWS: "5x100"}, {WINDOWS: "0x30 1x30 2x30"}, step=2),
    Case(
        "VigilBlind", 170, {WINDOWS: None, BREAKS: None}, {WINDOWS: "5x100", ROWS: "9x100"}, step=2
    ),
    Case("VigilCaptureDrops", 25, {DROPPED: "0+9x30"}, {DROPPED: "0x5 99x30"}),
    Case("VigilContextEvicts", 25, {EVICTED: "0+9x30"}, {EVICTED: "99x30"}),
    Case("VigilCaptureDrops", 25, {UNWRITTEN: "0+1x30"}, {UNWRITTEN: "7x30"}),
    Case(
        "VigilStreamLags",
        15,
        {AGE: "0+60x20", LAG: "100x20"},
        {AGE: "0+60x20"},
        "15m 0s",
        {"shard": "a"},
    ),
    Case(
        "VigilIncidentOpen",
        20,
        {"vigil_incidents_open": "2x25"},
        {"vigil_incidents_open": "0x10 2x10"},
        "2",
    ),
    Case(
        "VigilMessagesNotDelivered",
        10,
        {UNSENT: "0+60x15"},
        {UNSENT: "60x15"},
        "10m 0s",
        {"channel": "slack-1"},
    ),
    Case("VigilIncidentsNotStored", 15, {UNSTORED: "0+2x20"}, {UNSTORED: "0x10 1x10"}),
    Case("VigilRetrainingFails", 10, {FAILED: "0x5 1x10"}, {FAILED: "2x20"}),
    Case("VigilRetrainingBudget", 15, {LEFT: "0x20", OPEN: "1x20"}, {LEFT: "0x20"}),
]


def expected(case: Case) -> dict[str, Any]:
    (rule,) = (rule for rule in rule_groups()[0]["rules"] if rule.get("alert") == case.alert)
    told = {
        key: re.sub(r"{{ \$value.*?}}", case.shown, text)
        for key, text in rule["annotations"].items()
    }
    told = {
        key: re.sub(r"{{ \$labels.(\w+) }}", lambda name: case.labels[name[1]], text)
        for key, text in told.items()
    }
    return {"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": told}


def trial(case: Case, other: dict[str, str | None], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    steps = int(case.at / case.step) + 1
    series = {
        name: f"{start}+{growth}x{steps}" for name, (start, growth) in HEALTHY.items()
    } | other
    asked = {"eval_time": f"{case.at * 60:g}s", "alertname": case.alert, "exp_alerts": alerts}
    told = [
        {"series": name, "values": values} for name, values in series.items() if values is not None
    ]
    return {"interval": f"{case.step * 60:g}s", "input_series": told, "alert_rule_test": [asked]}


@needs_prometheus
def test_each_alert_fires_and_is_quiet(tmp_path: Path) -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in ALERTS}
    healthy = trial(Case("VigilDown", 75, {}, {}), {}, [])
    healthy["alert_rule_test"] = [
        {"eval_time": "75m", "alertname": alert.name, "exp_alerts": []} for alert in ALERTS
    ]
    trials: dict[float, list[Any]] = {1: [healthy]} | {
        case.step: [] for case in CASES if case.step != 1
    }
    for case in CASES:
        trials[case.step] += [
            trial(case, case.fires, [expected(case)]),
            trial(case, case.quiet, []),
        ]
    rules, *files = [tmp_path / "rules.yml", *(tmp_path / f"every-{step}m.yml" for step in trials)]
    rules.write_text(yaml.safe_dump({"groups": rule_groups()}))
    for file, (step, some) in zip(files, trials.items(), strict=True):
        file.write_text(
            yaml.safe_dump(
                {
                    "rule_files": [rules.name],
                    "evaluation_interval": f"{step * 60:g}s",
                    "tests": some,
                }
            )
        )
    promtool("check", "rules", rules)
    promtool("test", "rules", *files)


def test_what_counts_as_the_services_own_fault() -> None:
    """Every error of 5xx that a scoring request can be answered with, but for being overloaded."""
    found = {
        value.__name__
        for module in (caller, refusals, replica, reports)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, VigilError) and value.status >= 500
    }
    assert found - {"Overloaded", "NoMonitor", "NotRefreshed"} == set(FAULTS)
    assert errors.NoModel.status == 503


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    files = {file.stem: file.read_text() for file in (ROOT / RUNBOOKS).glob("*.md")}
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1.md\) \| (\w+) \| (.*) \|$", files.pop("README"), re.MULTILINE
    )
    assert listed == [(alert.name, alert.severity, alert.summary) for alert in ALERTS]
    assert files.keys() == {alert.name for alert in ALERTS}
    for name, text in files.items():
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert text.startswith(f"# {name}\n"), name
        assert headings == ["What it means", "Look here", "Do this", "When to silence"], name
        assert (
            set(METRIC_NAME.findall(text)) <= exposed_metrics() | RAY_METRICS | HAPROXY_METRICS
        ), name
        assert {
            words.split()[0] for words in re.findall(r"`vigil ([a-z][^`]*)`", text)
        } <= COMMANDS.keys(), name


def test_the_link_leads_to_the_repository_where_it_is_known() -> None:
    def links(**changes: Any) -> set[str]:
        (rule,) = (
            one
            for one in monitoring_manifests(settings_of("prod", **changes))
            if one["kind"] == "PrometheusRule"
        )
        return {
            r["annotations"]["runbook_url"]
            for r in rule["spec"]["groups"][0]["rules"]
            if r.get("alert") == "VigilSlow"
        }

    assert links(github_repository="") == {"docs/runbooks/VigilSlow.md"}
    assert links(github_repository="a/b") == {
        "https://github.com/a/b/blob/HEAD/docs/runbooks/VigilSlow.md"
    }
