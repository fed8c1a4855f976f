"""A page for people on one episode: what moved, how far, and what the governor made of it.

Plain HTML, without scripts; kept in MLflow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from vigil.json_types import Fields, JsonObject

BAR_PX = 240  # of a bar that reaches the floor twice
MAX_PENDING = 3
STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;\
color-scheme:light dark}
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .75rem;border-bottom:1px solid #8884}
td.n{text-align:right;font-variant-numeric:tabular-nums}\
i{display:inline-block;height:.7em;background:#3b82f6}
i.over{background:#dc2626}"""
_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>
<h1>{title}</h1><p>{sentence}</p>
<p>{when}; model version {version}; severity {severity};
governor {phase}: {reason}</p>
<table><tr><th>feature</th><th>KS over its floor</th><th></th><th>effect (sd)</th>\
<th>PSI</th><th>correlation</th></tr>
{rows}</table></html>
"""


@dataclass(frozen=True)
class EpisodeReport:
    """A page on one episode, or on one data break."""

    episode: str
    page: str


class PendingReports:
    """Reports that are not in MLflow yet, the latest ones."""

    def __init__(self) -> None:
        self._reports: deque[EpisodeReport] = deque(maxlen=MAX_PENDING)

    def put(self, report: EpisodeReport) -> None:
        self._reports.append(report)

    def take(self) -> EpisodeReport | None:
        return self._reports.popleft() if self._reports else None


def episode_page(status: Fields, at: float) -> str:
    """Return the page of what `/drift` answered at the time `at` (Unix seconds).

    Features that strayed furthest come first.
    """
    return _PAGE.format(
        style=STYLE,
        title=f"Drift of {escape(_subject(status))}",
        when=f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC",
        version=escape(str(status["model_version"])),
        **_verdict_fields(status["verdict"] or {}),
        **_governor_fields(status["governor"]),
        rows=_rows(status["features"]),
    )


def _subject(status: Fields) -> str:
    verdict = status["verdict"] or {}
    return str(status["governor"]["episode"] or verdict.get("verdict", "no episode"))


def _verdict_fields(verdict: Fields) -> JsonObject:
    sentence = str(verdict.get("sentence", ""))
    return {"sentence": escape(sentence), "severity": verdict.get("severity", 0)}


def _governor_fields(governor: Fields) -> dict[str, str]:
    return {name: escape(governor[name]) for name in ("phase", "reason")}


def _rows(features: Iterable[Fields]) -> str:
    furthest_first = sorted(features, key=_over_floor, reverse=True)
    return "".join(map(_row, furthest_first))


def _over_floor(feature: Fields) -> float:
    return feature["ks"] / feature["floor"]


def _row(feature: Fields) -> str:
    name = escape(feature["feature"])
    distance = f"{feature['ks']:.3f} / {feature['floor']:.3f}"
    cells = (
        f"<td>{name}</td>",
        f'<td class="n">{distance}</td>',
        f"<td>{_bar(_over_floor(feature))}</td>",
        _number(feature["wasserstein"]),
        _number(feature["psi"]),
        _number(feature["correlation"] / feature["correlation_floor"]),
    )
    return f"<tr>{''.join(cells)}</tr>\n"


def _bar(over_floor: float) -> str:
    kind = "over" if over_floor >= 1 else "under"
    width = min(1.0, over_floor / 2) * BAR_PX
    return f'<i class="{kind}" style="width:{width:.0f}px"></i>'


def _number(value: float) -> str:
    return f'<td class="n">{value:.2f}</td>'
