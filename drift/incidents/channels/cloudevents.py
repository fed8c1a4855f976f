"""Messages as CloudEvents 1.0 over HTTP, in structured mode, signed as the webhook of streams is.

Specification: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from drift.incidents.channels.channel import Channel, ChannelContext
from drift.incidents.incident import Incident
from drift.incidents.message import OutboxMessage
from vigil.json_types import JsonObject
from vigil.timestamps import iso_time
from vigil.webhook import Delivery, post_delivery, signed_headers

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


class CloudEventsChannel(Channel):
    """Each message is a POST; its data are what `GET /incidents/{id}` answers."""

    def __init__(
        self,
        name: str,
        url: str,
        place: str,
        *,
        context: ChannelContext,
    ) -> None:
        super().__init__(name, place, context)
        self._url = url

    def deliver(self, messages: Sequence[OutboxMessage], now: float) -> Delivery:
        (message,) = messages
        body = msgspec.json.encode(cloud_event(message, self.context.detector))
        return post_delivery(self._url, body, self._headers(body, message.id, now))

    def _headers(
        self,
        body: bytes,
        delivery_id: str,
        now: float,
    ) -> dict[str, str]:
        secret = self.context.secret.encode()
        headers = {"content-type": CONTENT_TYPE}
        if secret:
            headers |= signed_headers(
                secret,
                body,
                delivery_id=delivery_id,
                now=now,
            )
        return headers


def cloud_event(message: OutboxMessage, detector: str) -> JsonObject:
    """A message as a CloudEvent; a summary has no incident as its subject."""
    event = {
        "specversion": "1.0",
        "id": message.id,
        "source": f"/vigil/{quote(detector, safe='')}",
        "type": f"vigil.incident.{message.kind}",
        "time": iso_time(message.at),
        "datacontenttype": "application/json",
        "data": msgspec.to_builtins(message.content),
    }
    if isinstance(message.content, Incident):
        event["subject"] = message.content.id
    return event
