"""All dashboards, and all that a Prometheus and a Grafana of one's own need."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import yaml

from infra.dashboards import cost, data, incidents, models, rules, service, stream, training
from infra.dashboards.layout import RAY_TAG, VIGIL_TAG, Page, dashboard_menu
from vigil.json_types import JsonObject

_PAGES: tuple[Page, ...] = (
    service.SERVICE_PAGE,
    models.MODELS_PAGE,
    data.DATA_PAGE,
    incidents.INCIDENTS_PAGE,
    training.TRAINING_PAGE,
    cost.COST_PAGE,
    stream.STREAM_PAGE,
)
_RAY_PAGES = ("default", "serve", "serve_deployment", "train")  # of those that Ray makes


def vigil_dashboards() -> list[JsonObject]:
    """Return Vigil's dashboards, as Grafana's JSON."""
    return [page.json() for page in _PAGES]


@cache
def render_dashboards() -> dict[str, str]:
    """Return the text of every dashboard by uid: Vigil's own, and those of the pinned Ray."""
    dashboards = [*vigil_dashboards(), *map(_ray_dashboard, _RAY_PAGES)]
    return {dashboard["uid"]: _as_text(dashboard) for dashboard in dashboards}


def _as_text(dashboard: JsonObject) -> str:
    return json.dumps(dashboard, indent=1, sort_keys=True) + "\n"


def _ray_dashboard(name: str) -> JsonObject:
    """Return a dashboard of Ray as it makes it, under a title and a menu that fit Vigil's."""
    # Only who renders waits for Ray.
    from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory

    generate = getattr(factory, f"generate_{name}_grafana_dashboard")
    # Ray leaves its template open.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        dashboard = json.loads(generate()[0])
    own = {
        "title": f"Ray / {dashboard['title']}",
        "tags": [*dashboard["tags"], RAY_TAG],
        "links": [dashboard_menu("Vigil", VIGIL_TAG)],
    }
    return dashboard | own


def write_dashboards(
    out: Path,
    prometheus: JsonObject,
    sources: JsonObject,
) -> list[Path]:
    """Write `dashboards/UID.json`, `rules.yml`, `prometheus.yml` and `datasources.yml` below `out`.

    Return the files. `prometheus` is the configuration of the Prometheus that reads the rules,
    `sources` that of a Grafana's data sources.
    """
    texts = {f"dashboards/{uid}.json": text for uid, text in render_dashboards().items()}
    groups = {"groups": rules.rule_groups()}
    texts["rules.yml"] = yaml.safe_dump(groups, sort_keys=False, width=130)
    texts["prometheus.yml"] = yaml.safe_dump(prometheus, sort_keys=False)
    texts["datasources.yml"] = yaml.safe_dump(sources, sort_keys=False)
    return [_write(out / name, text) for name, text in texts.items()]


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file
