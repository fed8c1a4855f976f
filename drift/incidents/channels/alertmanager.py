"""Messages as alerts of an Alertmanager (its API v2), which groups, routes and silences them.

An alert is what its labels are, so these never change; what changes is in annotations. An open one
is sent again before it would be taken for resolved.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from drift.incidents.channels.channel import MAX_BATCH, Channel, ChannelContext
from drift.incidents.channels.wording import (
    describe_incident,
    headline,
    name_features,
    plain_text,
)
from drift.incidents.incident import Incident
from drift.incidents.message import OutboxMessage, latest_incidents
from vigil.json_types import JsonObject
from vigil.timestamps import iso_time
from vigil.webhook import Delivery, post_delivery

ALERT_NAME = "VigilIncident"
ALERT_REFRESH_INTERVAL_S = 60.0
VALID_S = 4 * ALERT_REFRESH_INTERVAL_S + 60  # as Prometheus: of five refreshes four may be lost
_PATH = "/api/v2/alerts"


class AlertmanagerChannel(Channel):
    """Posts incidents to an Alertmanager, many at once."""

    batch = MAX_BATCH
    refresh_interval_s = ALERT_REFRESH_INTERVAL_S

    def __init__(
        self,
        name: str,
        url: str,
        place: str,
        *,
        context: ChannelContext,
    ) -> None:
        super().__init__(name, place, context)
        self._url = url.rstrip("/") + _PATH

    def deliver(self, messages: Sequence[OutboxMessage], now: float) -> Delivery:
        return self.refresh(latest_incidents(messages), now)

    def refresh(self, incidents: Sequence[Incident], now: float) -> Delivery:
        alerts = [incident_alert(incident, self.context, now) for incident in incidents]
        headers = {"content-type": "application/json"}
        return post_delivery(self._url, msgspec.json.encode(alerts), headers)


def incident_alert(
    incident: Incident,
    context: ChannelContext,
    now: float,
) -> JsonObject:
    """An alert: firing while its end is in the future, resolved afterwards."""
    begin = min(incident.onset, now)
    end = now + VALID_S if incident.end is None else max(begin, min(incident.end, now))
    return {
        "labels": alert_labels(incident, context.detector),
        "annotations": alert_annotations(incident),
        "startsAt": iso_time(begin),
        "endsAt": iso_time(end),
        "generatorURL": context.link(incident),
    }


def alert_labels(incident: Incident, detector: str) -> dict[str, str]:
    return {
        "alertname": ALERT_NAME,
        "severity": "warning",
        "detector": plain_text(detector),
        "kind": incident.kind,
        "incident": incident.id,
    }


def alert_annotations(incident: Incident) -> dict[str, str]:
    return {
        "summary": headline(incident),
        "description": describe_incident(incident),
        "grade": f"{incident.grade:.2f}",
        "features": name_features(incident.features),
    }
