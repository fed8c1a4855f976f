"""Messages to the services that apprise speaks to: Slack, PagerDuty, Teams, mail and others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import apprise

from drift.incidents.channels.channel import Channel, ChannelContext
from drift.incidents.channels.wording import word_message
from drift.incidents.message import MessageKind, OutboxMessage
from vigil.webhook import Delivery

_TYPES: dict[MessageKind, apprise.NotifyType] = {
    "opened": apprise.NotifyType.WARNING,
    "updated": apprise.NotifyType.WARNING,
    "closed": apprise.NotifyType.SUCCESS,
    "summary": apprise.NotifyType.WARNING,
}


def open_service(url: str) -> Any:
    """The service of a URL; None where apprise does not take it."""
    logging.getLogger("apprise").disabled = True  # it logs URLs with their secrets
    return apprise.Apprise.instantiate(url)


class AppriseChannel(Channel):
    """Each message is a text to people."""

    def __init__(
        self,
        name: str,
        service: Any,
        place: str,
        *,
        context: ChannelContext,
    ) -> None:
        super().__init__(name, place, context)
        self._service = service

    def deliver(self, messages: Sequence[OutboxMessage], now: float) -> Delivery:
        """Apprise says whether it went well, and tells why not to its own log alone."""
        (message,) = messages
        title, body = word_message(message, self.context.detector, self.context.link)
        is_taken = self._service.notify(
            title=title,
            body=body,
            notify_type=_TYPES[message.kind],
            body_format=apprise.NotifyFormat.TEXT,
        )
        return Delivery(200) if is_taken else Delivery(0, f"{self.place} took no message")
