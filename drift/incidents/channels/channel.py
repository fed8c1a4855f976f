"""What a channel is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from drift.incidents.incident import Incident
from drift.incidents.message import OutboxMessage
from vigil.webhook import Delivery

MAX_BATCH = 1000


@dataclass(frozen=True)
class ChannelContext:
    """What messages say of where they come from.

    detector: the registered model; console_url: empty where nobody could open it
    secret: signs CloudEvents; empty: they are not signed
    """

    detector: str = "vigil"
    console_url: str = ""
    secret: str = ""

    def link(self, incident: Incident) -> str:
        """Where an incident is shown; empty without a console."""
        return f"{self.console_url.rstrip('/')}/incidents/{incident.id}" if self.console_url else ""


class Channel(ABC):
    """A receiver of messages.

    name: stays the same when its secret is another; place: its URL without secrets
    batch: how many messages it takes at once, 1 where each is one for people
    refresh_interval_s: how often it must hear of open incidents; None: never
    """

    batch: ClassVar[int] = 1
    refresh_interval_s: ClassVar[float | None] = None

    def __init__(
        self,
        name: str,
        place: str,
        context: ChannelContext,
    ) -> None:
        self.name = name
        self.place = place
        self.context = context

    @abstractmethod
    def deliver(self, messages: Sequence[OutboxMessage], now: float) -> Delivery:
        """Send up to `batch` messages. The same again does no harm."""

    def refresh(self, incidents: Sequence[Incident], now: float) -> Delivery:
        """Say that these incidents are still open."""
        return Delivery(200)
