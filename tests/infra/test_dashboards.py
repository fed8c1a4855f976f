"""The dashboards as Grafana and Prometheus will read them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from infra.cli import render
from infra.dashboards import pages, rules
from infra.dashboards.metric_names import (
    HAPROXY_METRICS,
    METRIC_NAME,
    RAY_METRICS,
    check_metrics,
    exposed_metrics,
)
from infra.dashboards.sources import source_configuration
from infra.manifests.bindings import MONITORING_NAMESPACE
from infra.manifests.grafana import grafana_values
from infra.manifests.monitoring import monitoring_manifests
from infra.render import render_manifests
from infra.stack_settings import read_files
from serve.http.refusals import GRAPHITE_PATH
from tests.prometheus import needs_prometheus, promtool, queries

# What `kubectl apply` keeps of an object in an annotation; a ConfigMap itself holds 1 MiB.
CLIENT_SIDE_LIMIT = 262_144
OWN = {one["uid"]: one for one in pages.vigil_dashboards()}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("uid", OWN)
def test_every_panel_says_what_it_shows_and_none_lies_over_another(uid: str) -> None:
    dashboard = OWN[uid]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        steps = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert steps[0] is None, panel["title"]
        assert steps[1:] == sorted(steps[1:]), panel["title"]
        assert panel["targets"], panel["title"]
        if len(panel["targets"]) > 1:
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
    assert {link["tags"][0] for link in dashboard["links"]} == {"vigil", "ray"}
    assert dashboard["refresh"]
    assert dashboard["templating"]["list"][0]["type"] == "datasource"


def test_uids_titles_and_tags_are_told_apart() -> None:
    found = [json.loads(text) for text in pages.render_dashboards().values()]
    assert (
        len({one["uid"] for one in found})
        == len({one["title"] for one in found})
        == len(found)
        == 11
    )
    assert {tag for one in found for tag in one["tags"]} >= {"vigil", "ray"}
    assert all(len(one["uid"]) <= 40 for one in found)


def test_an_unknown_metric_is_refused_and_every_known_one_is_shown_or_judged() -> None:
    with pytest.raises(LookupError, match="vigil_nothing_total is no metric"):
        check_metrics("sum(rate(vigil_nothing_total[5m]))")
    texts = [expression for one in OWN.values() for _, expression in queries(one)]
    texts += [rule["expr"] for group in rules.rule_groups() for rule in group["rules"]]
    used = {name for text in texts for name in METRIC_NAME.findall(text)}
    assert used <= exposed_metrics() | RAY_METRICS | HAPROXY_METRICS
    assert used >= RAY_METRICS | HAPROXY_METRICS
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in exposed_metrics() - used} <= {
        re.sub("_(bucket|sum|count)$", "", name) for name in used
    }


@needs_prometheus
def test_every_expression_parses(tmp_path: Path) -> None:
    """Prometheus has no parser of its own to ask, but reads each as a recording rule."""
    found = [
        expression
        for text in pages.render_dashboards().values()
        for _, expression in queries(json.loads(text))
    ]
    recorded = [{"record": f"a:b{i}", "expr": expression} for i, expression in enumerate(found)]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]})
    )
    assert f"SUCCESS: {len(found)} rules found" in promtool(
        "check", "rules", tmp_path / "rules.yml"
    )


def test_each_dashboard_is_a_config_map_that_grafana_finds() -> None:
    objects = [
        yaml.safe_load(text)
        for path, text in render_manifests(read_files("prod")).items()
        if path.startswith("monitoring/")
    ]
    maps = [one for one in objects if one["kind"] == "ConfigMap"]
    assert {key for one in maps for key in one["data"]} == {
        f"{uid}.json" for uid in pages.render_dashboards()
    }
    for one in maps:
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["namespace"] == MONITORING_NAMESPACE
        assert len(json.dumps(one)) < CLIENT_SIDE_LIMIT, one["metadata"]["name"]


def test_they_can_be_had_without_a_cluster(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        render, ["dashboards", "--out", str(tmp_path), "--key", str(tmp_path / "key"), "--json"]
    )
    assert done.exit_code == 0, done.output
    files = {file: (tmp_path / file).read_text() for file in json.loads(done.output)["files"]}
    assert {file for file in files if file.startswith("dashboards/")} == {
        f"dashboards/{uid}.json" for uid in pages.render_dashboards()
    }
    assert yaml.safe_load(files["rules.yml"]) == {"groups": rules.rule_groups()}
    (source,) = yaml.safe_load(files["datasources.yml"])["datasources"]
    assert source["secureJsonData"]["httpHeaderValue1"] == f"$__file{{{tmp_path / 'key'}}}"
    jobs = {
        job["job_name"]: job for job in yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    }
    assert jobs["vigil"]["authorization"]["credentials_file"] == str(tmp_path / "key")
    assert jobs["ray"]["http_sd_configs"][0]["url"] == "http://127.0.0.1:8265/api/prometheus/sd"
    assert CliRunner().invoke(render, ["--json"]).exit_code == 2


def test_grafana_marks_incidents_by_a_data_source_of_its_own() -> None:
    marks = OWN["vigil-incidents"]["annotations"]["list"]
    assert {mark["name"]: mark["target"]["tags"] for mark in marks} == {
        "Incident opened": ["onset"],
        "Incident closed": ["end"],
    }
    (source,) = grafana_values()["additionalDataSources"]
    for mark in marks:
        assert mark["datasource"] == {"type": source["type"], "uid": source["uid"]}
        # As Grafana's own tests of the data source have it.
        assert mark["target"]["fromAnnotations"] is True
        assert mark["target"]["queryType"] == "tags"


def test_grafana_asks_the_service_with_the_key_of_prometheus() -> None:
    values = grafana_values()
    (source,) = values["additionalDataSources"]
    (scraped,) = (
        one for one in monitoring_manifests(read_files("prod")) if one["kind"] == "ScrapeConfig"
    )
    (target,) = scraped["spec"]["staticConfigs"][0]["targets"]
    assert source["url"] == f"http://{target}{GRAPHITE_PATH}"
    assert source["jsonData"]["httpHeaderName1"] == "X-API-Key"
    variable = source["secureJsonData"]["httpHeaderValue1"].removeprefix("$")
    assert (
        values["envValueFrom"][variable]["secretKeyRef"]
        == (scraped["spec"]["authorization"]["credentials"])
    )


def test_a_grafana_of_ones_own_reads_the_key_from_its_file() -> None:
    (keyless,) = source_configuration("http://127.0.0.1:8000/")["datasources"]
    (source,) = source_configuration("http://127.0.0.1:8000", "/etc/key")["datasources"]
    assert keyless["url"] == source["url"] == f"http://127.0.0.1:8000{GRAPHITE_PATH}"
    assert "secureJsonData" not in keyless
    assert source["secureJsonData"]["httpHeaderValue1"] == "$__file{/etc/key}"


@needs_prometheus
def test_prometheus_takes_what_is_written(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    words = [
        "--out",
        str(tmp_path),
        "--key",
        str(token),
        "--ray-token",
        str(token),
        "--stream",
        "127.0.0.1:9100",
    ]
    assert CliRunner().invoke(render, ["dashboards", *words]).exit_code == 0
    promtool("check", "config", tmp_path / "prometheus.yml")
