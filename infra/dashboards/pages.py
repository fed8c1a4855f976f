"""All dashboards, and all that a Prometheus and a Grafana of one's own need."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.dashboards import cost, data, models, rules, service, stream, training
from infra.dashboards.panels import RAY_TAG, VIGIL_TAG, Page, dashboard_menu

_PAGES: tuple[Page, ...] = (
    service.SERVICE_PAGE,
    models.MODELS_PAGE,
    data.DATA_PAGE,
    training.TRAINING_PAGE,
    cost.COST_PAGE,
    stream.STREAM_PAGE,
)
_RAY_PAGES = ("default", "serve", "serve_deployment", "train")  # of those that Ray makes


def vigil_dashboards() -> list[dict[str, Any]]:
    """Vigil's dashboards, as Grafana's JSON."""
    return [page.json() for page in _PAGES]


@cache
def render_dashboards() -> dict[str, str]:
    """uid -> text of every dashboard: Vigil's own, and Ray's as the pinned release makes them."""
    return {
        one["uid"]: json.dumps(one, indent=1, sort_keys=True) + "\n"
        for one in [*vigil_dashboards(), *_of_ray()]
    }


def _of_ray() -> list[dict[str, Any]]:
    from ray.dashboard.modules.metrics import (
        grafana_dashboard_factory as factory,
    )  # only who renders waits for Ray

    found = []
    for name in _RAY_PAGES:
        with warnings.catch_warnings(
            action="ignore", category=ResourceWarning
        ):  # it leaves its template open
            made = json.loads(getattr(factory, f"generate_{name}_grafana_dashboard")()[0])
        told = {
            "title": f"Ray / {made['title']}",
            "tags": [*made["tags"], RAY_TAG],
            "links": [dashboard_menu("Vigil", VIGIL_TAG)],
        }
        found.append(made | told)
    return found


def write_dashboards(out: Path, configuration: dict[str, Any]) -> list[Path]:
    """Write `dashboards/UID.json`, `rules.yml` and `prometheus.yml` below `out`; return the files."""
    texts = {f"dashboards/{uid}.json": text for uid, text in render_dashboards().items()}
    texts["rules.yml"] = yaml.safe_dump({"groups": rules.rule_groups()}, sort_keys=False, width=130)
    texts["prometheus.yml"] = yaml.safe_dump(configuration, sort_keys=False)
    for name, text in texts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    return [out / name for name in texts]
