"""From panels to Grafana's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from infra.dashboards.metric_names import check_metrics
from vigil.json_types import JsonObject, without_none

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE_WINDOW = "[$__rate_interval]"  # of a rate: four scrapes, or what a pixel stands for

_LEGEND = {
    "showLegend": True,
    "displayMode": "list",
    "placement": "bottom",
    "calcs": [],
}
_PHASE_MAPPING = {
    "type": "value",
    "options": {
        "0": {"text": " ", "color": "transparent", "index": 0},
        "1": {"text": "yes", "color": "blue", "index": 1},
    },
}

_ColourStep = tuple[float | None, str]


@dataclass(frozen=True)
class Panel:
    """One question and its answer.

    `queries`: legend -> PromQL; `warn` and `bad` colour what is over them, or under (`low`).
    `least` and `most` are the ends of the axis.
    """

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
    least: float | None = 0
    most: float | None = None

    def json(
        self,
        number: int,
        x: int,
        y: int,
    ) -> JsonObject:
        """Return Grafana's panel at a place of the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"w": self.width, "h": self.height, "x": x, "y": y},
            "targets": self._targets(),
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _targets(self) -> list[JsonObject]:
        queries = enumerate(self.queries.items())
        return [self._target(index, *query) for index, query in queries]

    def _target(
        self,
        index: int,
        legend: str,
        expression: str,
    ) -> JsonObject:
        return {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": check_metrics(expression),
            "legendFormat": legend,
            **self._query_mode(),
        }

    def _query_mode(self) -> JsonObject:
        """One value, or those of a range."""
        is_instant = self.kind == "stat"
        mode: JsonObject = {"instant": is_instant, "range": not is_instant}
        return {**mode, "format": "heatmap"} if self.kind == "heatmap" else mode

    def _thresholds(self) -> list[JsonObject]:
        """Return colours from the bottom of the axis to its top."""
        base = {"color": "red" if self.low else "green", "value": None}
        marks = self._low_marks() if self.low else self._high_marks()
        return [base, *_steps(marks)]

    def _high_marks(self) -> list[_ColourStep]:
        return [(self.warn, "orange"), (self.bad, "red")]

    def _low_marks(self) -> list[_ColourStep]:
        above_bad = "green" if self.warn is None else "orange"
        return [(self.bad, above_bad), (self.warn, "green")]

    def _axis(self) -> dict[str, float]:
        return without_none({"min": self.least, "max": self.most})

    def _defaults(self) -> JsonObject:
        thresholds = {"mode": "absolute", "steps": self._thresholds()}
        defaults = {
            "unit": self.unit,
            "thresholds": thresholds,
            **self._axis(),
        }
        if self.kind == "timeseries":
            defaults["custom"] = self._drawing()
        elif self.kind == "state-timeline":
            defaults["mappings"] = [_PHASE_MAPPING]
        return defaults

    def _drawing(self) -> JsonObject:
        style = _STACKED if self.stack else _APART
        mode = "dashed" if self._has_thresholds else "off"
        return {**style, "thresholdsStyle": {"mode": mode}}

    @property
    def _has_thresholds(self) -> bool:
        return self.warn is not None or self.bad is not None

    def _options(self) -> JsonObject:
        if self.kind == "heatmap":
            return {**_HEATMAP, "yAxis": {"unit": self.unit}}
        return _OPTIONS[self.kind]


def _steps(marks: list[_ColourStep]) -> list[JsonObject]:
    return [{"color": colour, "value": value} for value, colour in marks if value is not None]


_LINES = {"showPoints": "never", "spanNulls": True}
_STACKED = {
    **_LINES,
    "fillOpacity": 30,
    "stacking": {"mode": "normal", "group": "A"},
}
_APART = {
    **_LINES,
    "fillOpacity": 8,
    "stacking": {"mode": "none", "group": "A"},
}
_OPTIONS: dict[str, JsonObject] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "graphMode": "none",
        "colorMode": "value",
        "textMode": "auto",
    },
    "state-timeline": {
        "mergeValues": True,
        "showValue": "never",
        "legend": _LEGEND,
        "rowHeight": 0.8,
    },
}
_HEATMAP = {
    "calculate": False,
    "color": {"mode": "scheme", "scheme": "Oranges"},
    "legend": {"show": True},
    "tooltip": {"mode": "single"},
}
