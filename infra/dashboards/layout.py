"""From a page of panels to Grafana's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.dashboards.metric_names import check_metrics
from infra.dashboards.panels import DATASOURCE, Panel
from infra.dashboards.sources import INCIDENTS_UID
from vigil.json_types import JsonObject

VIGIL_TAG = "vigil"  # of Vigil's own dashboards
RAY_TAG = "ray"  # of those that Ray makes
_GRID_COLUMNS = 24
_HEADING_HEIGHT = 1
_ANNOTATION = {"enable": True, "hide": False}
_INCIDENT_QUERY = {
    "refId": "Anno",
    "fromAnnotations": True,
    "queryType": "tags",
}
_HEADING_PLACE = {"w": _GRID_COLUMNS, "h": _HEADING_HEIGHT, "x": 0}
_MARK_COLOURS = ("blue", "orange", "purple")


@dataclass(frozen=True)
class Mark:
    """What is drawn over all panels of a page while `expression` has a value."""

    name: str
    expression: str
    text: str

    def json(self, number: int) -> JsonObject:
        """Return Grafana's annotation."""
        return {
            **_annotation(self.name, number),
            "datasource": DATASOURCE,
            "step": "10s",
            "expr": check_metrics(self.expression),
            "titleFormat": self.name,
            "textFormat": self.text,
        }


@dataclass(frozen=True)
class IncidentMark:
    """Moments of incidents, drawn over all panels of a page: those that have a tag."""

    name: str
    tag: str

    def json(self, number: int) -> JsonObject:
        """Return Grafana's annotation."""
        return {
            **_annotation(self.name, number),
            "datasource": {"type": "graphite", "uid": INCIDENTS_UID},
            "target": {**_INCIDENT_QUERY, "tags": [self.tag]},
        }


def _annotation(name: str, number: int) -> JsonObject:
    """What every annotation has; `number` is its place among those of the page."""
    colour = _MARK_COLOURS[number % len(_MARK_COLOURS)]
    return {**_ANNOTATION, "name": name, "iconColor": colour}


@dataclass(frozen=True)
class Constant:
    """A number that the reader may set, `$name` in queries."""

    name: str
    label: str
    value: str

    def json(self) -> JsonObject:
        """Return Grafana's variable."""
        chosen = {"text": self.value, "value": self.value, "selected": True}
        return {
            "name": self.name,
            "label": self.label,
            "type": "textbox",
            "query": self.value,
            "current": chosen,
            "options": [chosen],
            "hide": 0,
        }


@dataclass(frozen=True)
class Page:
    """One dashboard. `rows`: heading -> panels."""

    name: str
    title: str
    description: str
    rows: Mapping[str, Sequence[Panel]]
    marks: Sequence[Mark | IncidentMark] = ()
    constants: Sequence[Constant] = ()
    since: str = "now-1h"

    def json(self) -> JsonObject:
        """Return Grafana's dashboard."""
        return {
            **_DASHBOARD,
            "uid": f"vigil-{self.name}",
            "title": f"Vigil / {self.title}",
            "description": self.description,
            "time": {"from": self.since, "to": "now"},
            "panels": self._panels(),
            "templating": {"list": self._variables()},
            "annotations": {"list": self._annotations()},
        }

    def _variables(self) -> list[JsonObject]:
        constants = [constant.json() for constant in self.constants]
        return [_DATASOURCE_VARIABLE, *constants]

    def _annotations(self) -> list[JsonObject]:
        return [mark.json(number) for number, mark in enumerate(self.marks)]

    def _panels(self) -> list[JsonObject]:
        grid = PanelGrid()
        for heading, panels in self.rows.items():
            grid.add_heading(heading)
            for panel in panels:
                grid.add(panel)
        return grid.panels


@dataclass
class PanelGrid:
    """Panels in lines of a page, from left to right and top to bottom."""

    panels: list[JsonObject] = field(default_factory=list[JsonObject])
    x: int = 0
    y: int = 0
    line_height: int = 0

    def add_heading(self, title: str) -> None:
        """Begin a line with a heading."""
        self._break_line()
        self.panels.append(self._heading(title))
        self.line_height = _HEADING_HEIGHT
        self._break_line()

    def _heading(self, title: str) -> JsonObject:
        return {
            "id": self._next_id(),
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {**_HEADING_PLACE, "y": self.y},
        }

    def add(self, panel: Panel) -> None:
        """Place a panel on the present line, or on the next where it does not fit."""
        if self.x + panel.width > _GRID_COLUMNS:
            self._break_line()
        placed = panel.json(self._next_id(), self.x, self.y)
        self.panels.append(placed)
        self.x += panel.width
        self.line_height = max(self.line_height, panel.height)

    def _next_id(self) -> int:
        return len(self.panels) + 1

    def _break_line(self) -> None:
        self.x = 0
        self.y += self.line_height
        self.line_height = 0


_DATASOURCE_VARIABLE = {
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


def dashboard_menu(title: str, tag: str) -> JsonObject:
    """Return a menu of the dashboards with a tag."""
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


_DASHBOARD = {
    "tags": [VIGIL_TAG],
    "schemaVersion": 39,
    "version": 1,
    "editable": True,
    "graphTooltip": 1,
    "timezone": "browser",
    "refresh": "10s",
    "links": [dashboard_menu("Vigil", VIGIL_TAG), dashboard_menu("Ray", RAY_TAG)],
}
