"""What the OpenAPI document says of each path: summaries, statuses, examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serve.http.feedback import FeedbackBody, ModeBody
from serve.http.graphite import EVENT_PARAMETERS, EVENTS_PATH, RENDER_PATH
from serve.http.incidents import RecordIdBody, SilenceBody, VerdictBody
from serve.http.operators import PromoteBody, RollbackBody
from serve.http.routes import INCIDENT_PATH, MODEL_PATH, VERSION_PATH
from vigil.json_types import JsonObject

STATUSES = {
    "400": "The body is not of the documented form",
    "401": "The caller showed no key, or one that is not accepted",
    "403": "The caller is not an operator, or a page of another site asks",
    "404": "There is no such model, version or incident",
    "408": "The client did not send its body in time",
    "409": "The registry refuses the move, or another monitor holds the state",
    "413": "The body or the number of rows is over the limit",
    "415": "The body is of a kind that this path does not read",
    "422": "A row does not fit the model: feature and row are named; or it cannot be done",
    "429": "The service is overloaded: try again after Retry-After",
    "431": "The headers are over the limit",
    "500": "A fault of the service",
    "503": "No model is loaded yet, or the service is overloaded: try again after Retry-After",
}


@dataclass(frozen=True)
class ReadOperation:
    """A GET; `statuses` are those that it may have beside 200, 431 and 500."""

    path: str
    summary: str
    statuses: tuple[str, ...] = ()
    is_open: bool = False
    content_type: str = "application/json"
    query: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActionOperation:
    """A POST that changes something; `answer` says what comes back.

    `statuses` are those that it may have beside what all of them may; `is_reading`: it changes
    nothing after all.
    """

    path: str
    summary: str
    answer: str
    body: type[Any] | None = None
    example: JsonObject | None = None
    statuses: tuple[str, ...] = ()
    is_reading: bool = False


READS = (
    ReadOperation("/healthz", "Alive", is_open=True),
    ReadOperation("/readyz", "A verified model is loaded", ("503",), is_open=True),
    ReadOperation("/ping", "MLflow: a verified model is loaded", ("503",), is_open=True),
    ReadOperation(
        "/version",
        "MLflow: the release whose scoring protocol this is",
        ("401",),
        content_type="text/plain",
    ),
    ReadOperation("/v2", "Open Inference: server metadata", ("401",)),
    ReadOperation("/v2/health/live", "Open Inference: alive", is_open=True),
    ReadOperation(
        "/v2/health/ready",
        "Open Inference: a verified model is loaded",
        ("503",),
        is_open=True,
    ),
    ReadOperation(MODEL_PATH, "Open Inference: model metadata", ("401", "404", "503")),
    ReadOperation(VERSION_PATH, "Open Inference: metadata of a version", ("401", "404", "503")),
    ReadOperation(
        f"{MODEL_PATH}/ready",
        "Open Inference: the model is ready",
        ("401", "404", "503"),
    ),
    ReadOperation(
        f"{VERSION_PATH}/ready",
        "Open Inference: the version is ready",
        ("401", "404", "503"),
    ),
    ReadOperation("/console/about", "Whether the console's state asks for a key", is_open=True),
    ReadOperation(
        "/drift",
        "What the drift monitor sees and its governor decided; which replica serves what",
        ("401", "503"),
    ),
    ReadOperation(
        "/incidents",
        "Incidents, the latest first; `next` is the cursor of the page after it",
        ("400", "401", "503"),
        query=("state", "limit", "next"),
    ),
    ReadOperation(
        INCIDENT_PATH,
        "An incident, the rows around it, and what people have said of it",
        ("401", "404", "503"),
    ),
    ReadOperation(
        EVENTS_PATH,
        "Graphite: begins and ends of incidents, which Grafana draws as annotations",
        ("400", "401", "503"),
        query=EVENT_PARAMETERS,
    ),
    ReadOperation(
        "/verdicts",
        "Incidents that people have judged, with their worst rows: labels for a recalibration",
        ("401", "503"),
    ),
    ReadOperation("/silences", "Times in which rows open no incident", ("401", "503")),
    ReadOperation("/rules", "What dismissals hold back", ("401", "503")),
    ReadOperation(
        "/metrics",
        "Prometheus metrics, summed over the replicas",
        ("401",),
        content_type="text/plain",
    ),
    ReadOperation(
        "/console/state",
        "What the console shows; ask again after X-Vigil-Poll-S seconds, with If-None-Match",
        ("401",),
    ),
)
ACTIONS = (
    ActionOperation(
        "/models/promote",
        "Make a version the champion (operators)",
        "The version, and what each replica serves",
        PromoteBody,
        {"version": "3", "reason": "fewer false alarms in the shadow"},
    ),
    ActionOperation(
        "/models/rollback",
        "Make the former champion champion again (operators)",
        "The same",
        RollbackBody,
        {"reason": "version 3 alerts on every backup"},
    ),
    ActionOperation(
        "/models/refresh",
        "Have every replica look at the registry now",
        "Version and digest by replica",
    ),
    ActionOperation(
        "/feedback",
        "Say of scored rows whether they were anomalies",
        "How many were matched, how many wait",
        FeedbackBody,
        {
            "labels": [
                {"request_id": "3f0c", "anomaly": True},
                {"request_id": "9a1e", "anomaly": False, "row": 2},
            ]
        },
    ),
    ActionOperation(
        f"{INCIDENT_PATH}/verdict",
        "Confirm or dismiss an incident (operators)",
        "The incident, and the rule that the dismissal made",
        VerdictBody,
        {"verdict": "dismiss", "reason": "the nightly backup", "rule": {"until": None}},
        statuses=("404", "422"),
    ),
    ActionOperation(
        "/silences/add",
        "Silence an entity, or all, for a time (operators)",
        "The silence",
        SilenceBody,
        {
            "from": "2026-12-01T22:00:00Z",
            "to": "2026-12-02T02:00:00Z",
            "entity": "host-1",
            "reason": "a new disk",
        },
        statuses=("422",),
    ),
    ActionOperation(
        "/silences/remove",
        "Take a silence back (operators)",
        "The silence",
        RecordIdBody,
        {"id": "s1"},
        statuses=("422",),
    ),
    ActionOperation(
        "/rules/remove",
        "Undo a dismissal rule (operators)",
        "The rule",
        RecordIdBody,
        {"id": "r1"},
        statuses=("422",),
    ),
    ActionOperation(
        RENDER_PATH,
        "Graphite: no series; Grafana's test of a data source asks for one",
        "An empty list",
        is_reading=True,
    ),
    ActionOperation(
        "/drift/mode",
        "Switch the governor's mode; null: the settings' one (operators)",
        "The governor's state",
        ModeBody,
        {"mode": "observe"},
    ),
)
