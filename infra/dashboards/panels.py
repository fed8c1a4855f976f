"""From a page of panels to Grafana's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.dashboards.names import check_metrics

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_GRID_COLUMNS = 24
VIGIL_TAG, RAY_TAG = "vigil", "ray"  # of Vigil's own dashboards, and of those that Ray makes


@dataclass(frozen=True)
class Panel:
    """One question and its answer. `queries`: legend -> PromQL; `warn` and `bad` colour what is over them, or under (`low`)."""

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    kind: Literal["timeseries", "stat", "heatmap", "state-timeline"] = "timeseries"
    width: int = 8
    height: int = 8
    warn: float | None = None
    bad: float | None = None
    low: bool = False
    stack: bool = False
    least: float | None = 0  # of the axis
    most: float | None = None

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Grafana's panel at a place of the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _DATASOURCE,
            "gridPos": {"w": self.width, "h": self.height, "x": x, "y": y},
            "targets": [
                self._target(i, legend, expr)
                for i, (legend, expr) in enumerate(self.queries.items())
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _target(self, number: int, legend: str, expression: str) -> dict[str, Any]:
        shape = {"format": "heatmap"} if self.kind == "heatmap" else {}
        at_once = (
            {"instant": True, "range": False}
            if self.kind == "stat"
            else {"instant": False, "range": True}
        )
        return {
            "refId": chr(ord("A") + number),
            "datasource": _DATASOURCE,
            "expr": check_metrics(expression),
            "legendFormat": legend,
            **shape,
            **at_once,
        }

    def _steps(self) -> list[dict[str, Any]]:
        """Colours from the bottom of the axis to its top."""
        base, marks = "green", [(self.warn, "orange"), (self.bad, "red")]
        if self.low:
            base, marks = (
                "red",
                [(self.bad, "green" if self.warn is None else "orange"), (self.warn, "green")],
            )
        return [
            {"color": base, "value": None},
            *({"color": to, "value": value} for value, to in marks if value is not None),
        ]

    def _defaults(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": self._steps()},
        }
        found |= {
            key: value
            for key, value in (("min", self.least), ("max", self.most))
            if value is not None
        }
        if self.kind == "timeseries":
            marked = self.warn is not None or self.bad is not None
            found["custom"] = {
                "fillOpacity": 30 if self.stack else 8,
                "showPoints": "never",
                "spanNulls": True,
                "stacking": {"mode": "normal" if self.stack else "none", "group": "A"},
                "thresholdsStyle": {"mode": "dashed" if marked else "off"},
            }
        elif self.kind == "state-timeline":
            found["mappings"] = [
                {
                    "type": "value",
                    "options": {
                        "0": {"text": " ", "color": "transparent", "index": 0},
                        "1": {"text": "yes", "color": "blue", "index": 1},
                    },
                }
            ]
        return found

    def _options(self) -> dict[str, Any]:
        legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
        return {
            "timeseries": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
            "stat": {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "graphMode": "none",
                "colorMode": "value",
                "textMode": "auto",
            },
            "heatmap": {
                "calculate": False,
                "yAxis": {"unit": self.unit},
                "color": {"mode": "scheme", "scheme": "Oranges"},
                "legend": {"show": True},
                "tooltip": {"mode": "single"},
            },
            "state-timeline": {
                "mergeValues": True,
                "showValue": "never",
                "legend": legend,
                "rowHeight": 0.8,
            },
        }[self.kind]


@dataclass(frozen=True)
class Page:
    """One dashboard. `rows`: heading -> panels; `marks`: name -> PromQL of what is drawn over all panels while it has a value."""

    name: str
    title: str
    description: str
    rows: Mapping[str, Sequence[Panel]]
    marks: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # name -> (PromQL, text)
    constants: Mapping[str, tuple[str, str]] = field(
        default_factory=dict
    )  # variable -> (label, default)
    since: str = "now-1h"

    def json(self) -> dict[str, Any]:
        """Grafana's dashboard."""
        return {
            "uid": f"vigil-{self.name}",
            "title": f"Vigil / {self.title}",
            "description": self.description,
            "tags": [VIGIL_TAG],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": self.since, "to": "now"},
            "panels": self._panels(),
            "links": [dashboard_menu("Vigil", VIGIL_TAG), dashboard_menu("Ray", RAY_TAG)],
            "templating": {
                "list": [
                    _datasource(),
                    *(_constant(name, *told) for name, told in self.constants.items()),
                ]
            },
            "annotations": {
                "list": [
                    _mark(name, *told, number)
                    for number, (name, told) in enumerate(self.marks.items())
                ]
            },
        }

    def _panels(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        y = 0
        for heading, panels in self.rows.items():
            found.append(
                {
                    "id": len(found) + 1,
                    "type": "row",
                    "title": heading,
                    "collapsed": False,
                    "panels": [],
                    "gridPos": {"w": _GRID_COLUMNS, "h": 1, "x": 0, "y": y},
                }
            )
            x, y, tallest = 0, y + 1, 0
            for panel in panels:
                if x + panel.width > _GRID_COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                found.append(panel.json(len(found) + 1, x, y))
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest
        return found


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "current": {},
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
    }


def _constant(name: str, label: str, value: str) -> dict[str, Any]:
    chosen = {"text": value, "value": value, "selected": True}
    return {
        "name": name,
        "label": label,
        "type": "textbox",
        "query": value,
        "current": chosen,
        "options": [chosen],
        "hide": 0,
    }


def dashboard_menu(title: str, tag: str) -> dict[str, Any]:
    """A menu of the dashboards with a tag."""
    return {
        "title": title,
        "type": "dashboards",
        "tags": [tag],
        "asDropdown": True,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
    }


def _mark(name: str, expression: str, text: str, number: int) -> dict[str, Any]:
    colours = ("blue", "orange", "purple")
    return {
        "name": name,
        "datasource": _DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colours[number % len(colours)],
        "expr": check_metrics(expression),
        "titleFormat": name,
        "textFormat": text,
        "step": "10s",
    }
