"""From panels to Grafana's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.dashboards.metric_names import check_metrics

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE_WINDOW = "[$__rate_interval]"  # of a rate: four scrapes, or what a pixel stands for

_LEGEND = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
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

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return Grafana's panel at a place of the grid."""
        queries = enumerate(self.queries.items())
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"w": self.width, "h": self.height, "x": x, "y": y},
            "targets": [self._target(index, *query) for index, query in queries],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _target(self, index: int, legend: str, expression: str) -> dict[str, Any]:
        is_instant = self.kind == "stat"
        target = {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": check_metrics(expression),
            "legendFormat": legend,
            "instant": is_instant,
            "range": not is_instant,
        }
        if self.kind == "heatmap":
            target["format"] = "heatmap"
        return target

    def _thresholds(self) -> list[dict[str, Any]]:
        """Return colours from the bottom of the axis to its top."""
        base = "red" if self.low else "green"
        marks = self._low_marks() if self.low else self._high_marks()
        steps = [{"color": colour, "value": value} for value, colour in marks if value is not None]
        return [{"color": base, "value": None}, *steps]

    def _high_marks(self) -> list[_ColourStep]:
        return [(self.warn, "orange"), (self.bad, "red")]

    def _low_marks(self) -> list[_ColourStep]:
        above_bad = "green" if self.warn is None else "orange"
        return [(self.bad, above_bad), (self.warn, "green")]

    def _axis(self) -> dict[str, float]:
        ends = {"min": self.least, "max": self.most}
        return {end: value for end, value in ends.items() if value is not None}

    def _defaults(self) -> dict[str, Any]:
        thresholds = {"mode": "absolute", "steps": self._thresholds()}
        defaults = {"unit": self.unit, "thresholds": thresholds, **self._axis()}
        if self.kind == "timeseries":
            defaults["custom"] = self._drawing()
        elif self.kind == "state-timeline":
            defaults["mappings"] = [_PHASE_MAPPING]
        return defaults

    def _drawing(self) -> dict[str, Any]:
        has_thresholds = self.warn is not None or self.bad is not None
        return {
            "fillOpacity": 30 if self.stack else 8,
            "showPoints": "never",
            "spanNulls": True,
            "stacking": {"mode": "normal" if self.stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if has_thresholds else "off"},
        }

    def _options(self) -> dict[str, Any]:
        if self.kind == "heatmap":
            return {**_HEATMAP, "yAxis": {"unit": self.unit}}
        return _OPTIONS[self.kind]


_OPTIONS: dict[str, dict[str, Any]] = {
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
