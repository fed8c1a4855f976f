"""What people were told of, what they said, and whether messages arrive."""

from __future__ import annotations

from infra.dashboards.layout import IncidentMark, Page
from infra.dashboards.panels import Panel

_INCIDENTS = [
    Panel(
        "Open",
        "Incidents that are open now, and those that a dismissal rule holds back.",
        "short",
        queries={
            "open": "max(vigil_incidents_open)",
            "held back": "max(vigil_incidents_held)",
        },
        warn=1,
    ),
    Panel(
        "Opened",
        "In the last hour, by kind: rows that alerted together, episodes of drift, data breaks.",
        "short",
        queries={"{{kind}}": "sum by (kind) (increase(vigil_incidents_opened_total[1h]))"},
    ),
    Panel(
        "Closed, by what people said",
        "In the last day.",
        "short",
        queries={"{{outcome}}": "sum by (outcome) (increase(vigil_incidents_closed_total[1d]))"},
    ),
    Panel(
        "Alerts that opened nothing",
        "Rows in the last hour, by why.",
        "short",
        queries={"{{why}}": "sum by (why) (increase(vigil_incident_suppressed_rows_total[1h]))"},
    ),
]
_MESSAGES = [
    Panel(
        "Waiting",
        "Messages that a channel has not taken.",
        "short",
        queries={"{{channel}}": "max by (channel) (vigil_notify_waiting_messages)"},
        warn=1,
    ),
    Panel(
        "Age of the oldest",
        "Of the messages that wait.",
        "s",
        queries={"{{channel}}": "max by (channel) (vigil_notify_oldest_seconds)"},
        warn=120,
    ),
    Panel(
        "Refused",
        "Times in the last hour that a channel did not take a message.",
        "short",
        queries={"{{channel}}": "sum by (channel) (increase(vigil_notify_failures_total[1h]))"},
        warn=1,
    ),
]

INCIDENTS_PAGE = Page(
    "incidents",
    "Incidents",
    "What people were told of, what they said, and whether messages arrive.",
    rows={"Incidents": _INCIDENTS, "Messages": _MESSAGES},
    marks=[
        IncidentMark("Incident opened", "onset"),
        IncidentMark("Incident closed", "end"),
    ],
)
