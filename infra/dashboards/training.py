"""What the governor decided, how retrainings went, and what one is doing now."""

from __future__ import annotations

from infra.dashboards.data import EPISODE_MARK
from infra.dashboards.layout import Mark, Page
from infra.dashboards.models import PROMOTION_MARK
from infra.dashboards.panels import Panel

_RETRAININGS = "sum(increase(vigil_retrains_total[1d]))"
_RETRAINING_SECONDS = "sum(increase(vigil_retrain_seconds_total[1d]))"
_RETRAINING_MARK = Mark(
    "retraining",
    'max(vigil_governor_phase{phase="retraining"}) == 1',
    "a retraining runs",
)

_GOVERNOR = [
    Panel(
        "Phase",
        "watching, collecting rows of a new world, retraining, or cooling down after it.",
        "short",
        queries={"{{phase}}": "max by (phase) (vigil_governor_phase)"},
        kind="state-timeline",
        width=12,
    ),
    Panel(
        "Mode",
        "What the governor may do: observe reports, suggest opens episodes, auto retrains.",
        "short",
        queries={"{{mode}}": "max by (mode) (vigil_governor_mode)"},
        kind="state-timeline",
        width=12,
    ),
    Panel(
        "Retrainings by outcome",
        "In the last day.",
        "short",
        queries={"{{outcome}}": "sum by (outcome) (increase(vigil_retrains_total[1d]))"},
        stack=True,
    ),
    Panel(
        "Retrainings left",
        "That the budget of 24 hours still allows.",
        "short",
        queries={"left": "max(vigil_governor_retrains_left)"},
        bad=1,
        low=True,
    ),
    Panel(
        "How long they take",
        "Seconds of the retrainings of the last day, and of one of them.",
        "s",
        queries={
            "all": _RETRAINING_SECONDS,
            "each": f"{_RETRAINING_SECONDS} / ({_RETRAININGS} > 0)",
        },
    ),
]

_GATE = [
    Panel(
        "Passed",
        "Whether the newest version that was judged passed the gate.",
        "short",
        queries={"passed": "min(vigil_gate_passed)"},
        kind="stat",
        width=4,
        bad=1,
        low=True,
    ),
    Panel(
        "Values",
        "What the gate measured, by check.",
        "short",
        queries={"{{check}}": "max by (check) (vigil_gate_value)"},
        width=10,
        least=None,
    ),
    Panel(
        "Limits",
        "What it asks for, by check; which side is good, `gate.json` of the run in MLflow says.",
        "short",
        queries={"{{check}}": "max by (check) (vigil_gate_limit)"},
        width=10,
        least=None,
    ),
]

_TRAINING_JOB = [
    Panel(
        "Rows read",
        "By the training job that runs.",
        "short",
        queries={"rows": "sum(ray_vigil_training_rows_read)"},
    ),
    Panel(
        "Trees fitted",
        "On all of its workers.",
        "short",
        queries={"trees": "sum(ray_vigil_training_trees_fitted)"},
    ),
    Panel(
        "Phase of the job",
        "What it does now.",
        "short",
        queries={"{{phase}}": "max by (phase) (ray_vigil_training_phase)"},
        kind="state-timeline",
    ),
    Panel(
        "Where the champion's time went",
        "Seconds of its training run, by phase.",
        "s",
        queries={"{{phase}}": "max by (phase) (vigil_training_phase_seconds)"},
        width=12,
        stack=True,
    ),
    Panel(
        "Processors of Ray",
        "Reserved by what runs, of what there is: a job that waits for processors stands still.",
        "short",
        queries={
            "reserved": 'sum(ray_resources{Name="CPU",State="USED"})',
            "all": 'sum(ray_resources{Name="CPU"})',
        },
        width=12,
    ),
]

TRAINING_PAGE = Page(
    "training",
    "Training",
    "What the governor decided, how retrainings went, and what one is doing now.",
    rows={"Governor": _GOVERNOR, "Gate": _GATE, "Training job": _TRAINING_JOB},
    marks=(_RETRAINING_MARK, EPISODE_MARK, PROMOTION_MARK),
    since="now-6h",
)
