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
from tests.bench.labelled import folder
from tests.bench.report import Ratio, markdown, measured
from train.model.bundle import ModelBundle
from train.table.schema import Columns
from vigil.terminal import say

MIN_RECALL = 0.8
MAX_FALSE_PER_WEEK = 0.5
AWS = ("ec2_", "elb_", "rds_", "grok_asg")
# One forest of the probation, of the rows alone: each row that alerts is a message.
POINTS = ("over_time=", "refit_hours=0", "margin=0", "incident_budget=0")
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

How the defaults were chosen: without the AWS series of this table. Transform, margin and budget
were compared on 36 pieces of up to about 4,000 rows (49 windows) of the other series of the
benchmark, in a prototype that refits every two days. There `sd:24,min:24,max:24` with a budget
of 0.75 incidents a week and no margin found 0.59 of the windows at 0.69 false incidents a
series and week; `zscore:288` beside it 0.65 at 0.64; the margin of 0.07 in place of the budget
0.69 at 0.49; both, the present defaults, 0.67 at 0.36. Tried there, and no better at equal
false incidents: extreme value theory (an exponential tail over the highest peaks: 0.51 at
0.51), one, two, five or eight alerts in place of three, other quiet times, the distance from a
decaying baseline or from the level of the hour, the last week alone, differences. Quiet time
and refits are those of an earlier choice.

Why windows of the AWS series were missed with the former defaults, and false incidents opened:
two of grok_asg_anomaly hold no value that was not there before, or one; that of
elb_request_count ends soon after the probation, in which its anomaly lies; the second of
rds_cpu_utilization begins in the incident of the first, which has not ended; one of
ec2_cpu_utilization_24ae8d follows a larger spike, and one of 5f5533 is a single value just
above all before. Three of these six cannot be found by what an incident is here, so that at
most 11 of 14 (0.79) could. Of nine false incidents five are bursts of ec2_disk_write_bytes that
come every few days, and two are spikes of a series without windows.

Where the table says NO, the bound **is not reached**.
"""
