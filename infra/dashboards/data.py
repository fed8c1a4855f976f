"""What the rows look like, and whether that is still what the champion was trained on."""

from __future__ import annotations

from infra.dashboards.layout import Mark, Page
from infra.dashboards.models import PROMOTION_MARK
from infra.dashboards.panels import RATE_WINDOW, Panel

EPISODE_MARK = Mark("episode", "max(vigil_drift_episode_open) == 1", "a drift episode is open")

_ANOMALIES_A_SECOND = f"sum(rate(vigil_anomalies_total{RATE_WINDOW}))"
_ROWS_A_SECOND = f"sum(rate(vigil_rows_scored_total{RATE_WINDOW}))"
_DISTANCE = "max by (feature) (vigil_drift_statistic)"
_FLOOR = "max by (feature) (vigil_drift_floor)"

_ANOMALIES = [
    Panel(
        "Share of anomalies",
        "Rows over the threshold, live and in the last window that was judged, beside the share"
        " that the champion is meant to alert on.",
        "percentunit",
        queries={
            "live": f"{_ANOMALIES_A_SECOND} / {_ROWS_A_SECOND}",
            "last window": "max(vigil_alert_rate)",
            "budget": "max(vigil_alert_budget)",
        },
        width=12,
    ),
    Panel(
        "Anomalies",
        "Rows over the threshold, a second.",
        "short",
        queries={"anomalies": _ANOMALIES_A_SECOND},
        width=12,
    ),
    Panel(
        "Scores",
        "Rows by their anomaly score s(x), of those that went to the monitor.",
        "short",
        queries={"{{le}}": f"sum by (le) (increase(vigil_anomaly_score_bucket{RATE_WINDOW}))"},
        kind="heatmap",
        width=24,
    ),
]

_DRIFT = [
    Panel(
        "Distance over the floor, by feature",
        "Kolmogorov-Smirnov distance between the last window and the champion's reference, as a"
        " multiple of what is ordinary for that feature. Over 1 the feature has moved; two of"
        " three windows decide.",
        "short",
        queries={"{{feature}}": f"{_DISTANCE} / on (feature) {_FLOOR}"},
        width=16,
        height=10,
        bad=1,
    ),
    Panel(
        "Largest of them",
        "The severity that every answer carries as `drift_score`.",
        "short",
        queries={"severity": "max(vigil_drift_severity)"},
        height=10,
        bad=1,
    ),
    Panel(
        "Distance, by feature",
        "The same distances, of at most 1.",
        "short",
        queries={"{{feature}}": _DISTANCE},
        width=12,
        most=1,
    ),
    Panel(
        "Floor, by feature",
        "What is ordinary: the champion's reference against itself, block by block.",
        "short",
        queries={"{{feature}}": _FLOOR},
        width=12,
        most=1,
    ),
]

_WINDOWS = [
    Panel(
        "Windows by verdict",
        "Judged in the last hour.",
        "short",
        queries={"{{verdict}}": "sum by (verdict) (increase(vigil_drift_windows_total[1h]))"},
        stack=True,
    ),
    Panel(
        "Episode",
        "1 while a drift episode is open.",
        "short",
        queries={"open": "max(vigil_drift_episode_open)"},
        most=1,
        warn=1,
    ),
    Panel(
        "Episodes",
        "Begun in the last day.",
        "short",
        queries={"episodes": "sum(increase(vigil_drift_episodes_total[1d]))"},
    ),
]

_CAPTURE = [
    Panel(
        "Rows that were not judged",
        "A second: dropped by a replica whose ring was full, or scored by another version than "
        "the champion.",
        "short",
        queries={
            "dropped": f"sum(rate(vigil_capture_dropped_rows_total{RATE_WINDOW}))",
            "of another version": f"sum(rate(vigil_drift_skipped_rows_total{RATE_WINDOW}))",
        },
        width=12,
    ),
    Panel(
        "Windows that were not written",
        "In the last hour; retraining will miss them.",
        "short",
        queries={"windows": "sum(increase(vigil_capture_write_failures_total[1h]))"},
        width=12,
        warn=1,
    ),
]

_MISSING = [
    Panel(
        "Missing values that others stand for",
        "A second, by feature, of requests and of streams: see `vigil train --impute`.",
        "short",
        queries={
            "{{feature}}": f"sum(rate(vigil_imputed_values_total{RATE_WINDOW})) by (feature)",
            "{{feature}}, streams": (
                f"sum(rate(vigil_stream_imputed_values_total{RATE_WINDOW})) by (feature)"
            ),
        },
        width=12,
    ),
    Panel(
        "Words that training has not seen",
        "A second, by feature, of requests and of streams: see `vigil train --categories`.",
        "short",
        queries={
            "{{feature}}": f"sum(rate(vigil_unknown_categories_total{RATE_WINDOW})) by (feature)",
            "{{feature}}, streams": (
                f"sum(rate(vigil_stream_unknown_categories_total{RATE_WINDOW})) by (feature)"
            ),
        },
        width=12,
    ),
]

_CONTEXT = [
    Panel(
        "Entities",
        "Of which the last rows are kept, for models that look back in time.",
        "short",
        queries={"entities": "sum(vigil_context_entities)"},
    ),
    Panel(
        "Rows without their context",
        "A second: warming, of which some were too late, and rows whose shard did not answer.",
        "short",
        queries={
            "warming": f"sum(rate(vigil_rows_warming_total{RATE_WINDOW}))",
            "too late": f"sum(rate(vigil_context_too_late_total{RATE_WINDOW}))",
            "requests to a shard in vain": f"sum(rate(vigil_context_failures_total{RATE_WINDOW}))",
        },
    ),
    Panel(
        "Entities that were forgotten",
        "A second, for others: there are more than contextEntities.",
        "short",
        queries={"evicted": f"sum(rate(vigil_context_evicted_total{RATE_WINDOW}))"},
    ),
    Panel(
        "Rows out of their order",
        "A second: sorted in behind their time, or there already with their time and values; and"
        " entities whose clock went back.",
        "short",
        queries={
            "late": f"sum(rate(vigil_context_late_total{RATE_WINDOW}))",
            "repeated": f"sum(rate(vigil_context_repeated_total{RATE_WINDOW}))",
            "clock went back": f"sum(rate(vigil_context_restarted_total{RATE_WINDOW}))",
        },
        width=24,
    ),
]

_FEEDBACK = [
    Panel(
        "Precision",
        "Of the rows that people labelled and the model called anomalies, how many were; with the"
        " bounds of its 95 % interval.",
        "percentunit",
        queries={"{{bound}}": "max by (bound) (vigil_feedback_precision)"},
        most=1,
    ),
    Panel(
        "Recall",
        "Of the labelled anomalies, how many the model found; with the bounds of its 95 %"
        " interval.",
        "percentunit",
        queries={"{{bound}}": "max by (bound) (vigil_feedback_recall)"},
        most=1,
    ),
    Panel(
        "Labelled rows",
        "By what the model had said of them.",
        "short",
        queries={"{{outcome}}": "max by (outcome) (vigil_feedback_labels)"},
        stack=True,
    ),
]

DATA_PAGE = Page(
    "data",
    "Data",
    "What the rows look like, and whether that is still what the champion was trained on.",
    rows={
        "Anomalies": _ANOMALIES,
        "Drift": _DRIFT,
        "Windows and episodes": _WINDOWS,
        "Capture": _CAPTURE,
        "Missing values": _MISSING,
        "Context of entities": _CONTEXT,
        "Feedback": _FEEDBACK,
    },
    marks=(EPISODE_MARK, PROMOTION_MARK),
    since="now-6h",
)
