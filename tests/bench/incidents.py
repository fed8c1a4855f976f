"""`make bench ARGS=incidents`: incidents of the Numenta benchmark beside alerts of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from drift.incidents.backtest.backtest import LabelledHistory, SeriesResult, run_backtest
from drift.incidents.backtest.history import read_histories
from drift.incidents.backtest.judgement import EventJudgement, join_judgements, judge_moments
from drift.incidents.backtest.labelled_windows import WindowFile
from drift.incidents.backtest.stretches import ModelSource
from drift.incidents.backtest.variant import BacktestVariant
from tests.bench.quality import folder
from tests.bench.report import Ratio, markdown, measured
from train.model.bundle import ModelBundle
from train.table.schema import Columns
from vigil.terminal import say

MIN_RECALL = 0.8
MAX_FALSE_PER_WEEK = 0.5
AWS = ("ec2_", "elb_", "rds_", "grok_asg")
# One forest of the probation, of the rows alone: each row that alerts is a message.
POINTS = ("over_time=", "refit_hours=0", "incident_budget=0")
Judged = tuple[SeriesResult, EventJudgement]


def incidents() -> list[dict[str, Any]]:
    """A row for each series that has windows, the AWS ones first."""
    histories = list(_histories())
    grouped = _run(histories, ())
    alone = _run(histories, POINTS)
    rows = [_row(*pair) for pair in zip(grouped, alone, strict=True)]
    return sorted(rows, key=lambda row: (row["set"], row["series"]))


def _histories() -> Iterator[LabelledHistory]:
    nab = folder() / "nab"
    windows = WindowFile(nab / "windows.json")
    for file in sorted(nab.glob("*.csv")):
        (history,) = read_histories(file, Columns(time="timestamp"))
        labelled = LabelledHistory(history, windows.of(history.name))
        if labelled.windows is not None:
            yield labelled


def _run(histories: Sequence[LabelledHistory], changes: Sequence[str]) -> tuple[SeriesResult, ...]:
    variant = BacktestVariant().changed(changes)
    source: ModelSource = variant.source(_no_version)
    say(variant.title)
    return run_backtest(variant.title, histories, source, variant.drift_settings).series


def _no_version(version: str) -> ModelBundle:
    raise AssertionError(version)


def _row(grouped: SeriesResult, alone: SeriesResult) -> dict[str, Any]:
    judgement = grouped.judgement
    assert judgement is not None
    points = points_of(alone)
    return {
        "set": "AWS" if grouped.replay.name.startswith(AWS) else "others",
        "series": grouped.replay.name,
        "incidents": len(grouped.replay.incidents),
        "windows found": f"{judgement.windows_found} of {len(judgement.windows)}",
        "false incidents": judgement.false_incidents,
        "false a week": round(judgement.false_per_week or 0.0, 2),
        "point alerts": points.incidents,
        "windows found by them": f"{points.windows_found} of {len(points.windows)}",
        "false alerts a week": round(points.false_per_week or 0.0, 2),
        "_judgement": judgement,
        "_points": points,
    }


def points_of(result: SeriesResult) -> EventJudgement:
    """Every row that alerts, held against the windows as an incident would be."""
    replay = result.replay
    return judge_moments(replay.alerts, result.windows or (), replay.period)


def ratios(rows: Sequence[dict[str, Any]]) -> list[Ratio]:
    """What must hold of the AWS series together, and the same of point alerts to compare with."""
    aws = [row for row in rows if row["set"] == "AWS"]
    found: list[Ratio] = []
    for key, what in (("_judgement", "incidents"), ("_points", "point alerts")):
        both = join_judgements([row[key] for row in aws])
        found += [
            Ratio(f"event recall of {what}, AWS", both.event_recall, MIN_RECALL, unit=""),
            Ratio(
                f"false {what} a series and week, AWS",
                both.false_per_week,
                MAX_FALSE_PER_WEEK,
                at_least=False,
                unit="",
            ),
        ]
    return found


def shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the table."""
    return [{key: row[key] for key in row if not key.startswith("_")} for row in rows]


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The section of docs/backtest.md."""
    return PAGE.format(
        measured=measured("incidents"),
        ratios=markdown([ratio.row() for ratio in ratios(rows)]),
        table=markdown(shown(rows)),
    )


PATH = Path(__file__).parents[2] / "docs" / "backtest.md"
TITLE = "Measured on the Numenta benchmark"
PAGE = """{measured}

Each series by itself, with the defaults above: a fifth of it is the probation, and labels are used
for nothing but these figures. *Point alerts* are those of one forest of the probation, with an
alert budget of 1 % of its rows and without features over time: each row that alerts is a message.

{ratios}

{table}

How the defaults were chosen: without the AWS series of this table. Transform, refits and budget
were compared on the series of the benchmark that are not from AWS. The quiet time was compared on
52 pieces of about 4,000 rows (68 windows) of the other AWS series and of those of known causes,
traffic, tweets and artificial ones, with three seeds of a prototype of the same path. The series of
the set *others* are among them. There a quiet time of five minutes gave an event recall of 0.68 at
0.55 false incidents a series and week, six hours 0.72 at 0.55, eight hours 0.72 at 0.54, and twelve
hours 0.71 at 0.54. Tried there, most with one seed, and no better: incidents left out of what is
fitted (with six hours 0.72 at 0.53), of the threshold too (0.72 at 1.21), robust deviations from
the median of a day, logarithms, a stricter first week, five alerts of ten rows, more trees.

The AWS series of the table were looked at five times: with a budget of 1 % of the rows and
`mean:12,sd:12,min:12,max:12` (recall 0.86 at 2.75 false incidents a week), twice with the present
defaults but five minutes of quiet (0.57 at 1.01), and twice with the present defaults, of which
the last made this table. Where the table says NO, the bound **is not reached**. Why each window is
missed has not been examined. What is certain: a model is fitted anew on all rows so far, those of
incidents too, and in series of two weeks the budget allows no incident in the rows of the first
nine days, so that until then only scores above all earlier ones open an incident.

Machines whose anomalies come several times a day are no case for these defaults: on the eight nodes
of ASD 8 of 46 labelled runs are found at no false incident (five minutes of quiet: 8 at 0.58 a
week), on four of SMD 8 of 89 at 0.74 (10 at 0.43). A budget of 0.75 incidents a week asks for
few; a larger `--incident-budget` asks for more.
"""
