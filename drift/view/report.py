"""A page for people on one episode: what moved, how far, and what the governor made of it. Plain HTML, without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

BAR = 240  # px of a bar that reaches the floor twice
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .75rem;border-bottom:1px solid #8884}
td.n{text-align:right;font-variant-numeric:tabular-nums}i{display:inline-block;height:.7em;background:#3b82f6}
i.over{background:#dc2626}"""


def episode_page(status: Mapping[str, Any], at: float) -> str:
    """The page of what `/drift` told at the time `at` (Unix seconds), features that strayed furthest first."""
    verdict, governor = status["verdict"] or {}, status["governor"]
    features = sorted(status["features"], key=lambda f: -f["ks"] / f["floor"])
    rows = "".join(_row(feature) for feature in features)
    when = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    title = f"Drift of {escape(str(governor['episode'] or verdict.get('verdict', 'no episode')))}"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>
<h1>{title}</h1><p>{escape(str(verdict.get("sentence", "")))}</p>
<p>{when}; model version {escape(str(status["model_version"]))}; severity {verdict.get("severity", 0)};
governor {escape(governor["phase"])}: {escape(governor["reason"])}</p>
<table><tr><th>feature</th><th>KS over its floor</th><th></th><th>effect (sd)</th><th>PSI</th><th>correlation</th></tr>
{rows}</table></html>
"""


def _row(feature: Mapping[str, Any]) -> str:
    over = feature["ks"] / feature["floor"]
    width, kind = min(1.0, over / 2) * BAR, "over" if over >= 1 else "under"
    numbers = (
        feature["wasserstein"],
        feature["psi"],
        feature["correlation"] / feature["correlation_floor"],
    )
    cells = "".join(f'<td class="n">{number:.2f}</td>' for number in numbers)
    return (
        f'<tr><td>{escape(feature["feature"])}</td><td class="n">{feature["ks"]:.3f} / {feature["floor"]:.3f}</td>'
        f'<td><i class="{kind}" style="width:{width:.0f}px"></i></td>{cells}</tr>\n'
    )
