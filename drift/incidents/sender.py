"""Sends what waits for one channel: in order, until it is taken, with pauses that grow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from drift.incidents.channels.channel import Channel
from drift.incidents.incident import Incident
from drift.incidents.message import OutboxMessage
from drift.incidents.outbox import DELIVERED, Outbox
from drift.incidents.rate_limit import RateLimit
from drift.incidents.store import IncidentStore
from vigil.webhook import Delivery

log = logging.getLogger("ray.serve")
MIN_RETRY_S = 1.0
MAX_RETRY_S = 60.0
MAX_FAILING_S = 24 * 3600.0
_BAD_MESSAGE = (400, 413, 422)  # whatever else is refused may be mended at the receiver


class ChannelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel is doing.

    place: its URL without secrets; waiting: messages that it has not taken
    oldest: when the first of these happened (Unix seconds)
    sent, failures: messages that were taken, and attempts in vain, since the monitor began
    trouble: why the last attempt was in vain; empty when it was not
    """

    channel: str
    place: str
    waiting: int
    oldest: float | None
    sent: int
    failures: int
    trouble: str


class Retries:
    """When to try again, and for how long it has been in vain.

    A clock that jumps holds nothing up, and makes nothing last: between two attempts there is no
    more than twice the longest pause.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.trouble = ""
        self._pause_s = MIN_RETRY_S
        self._next_at: float | None = None
        self._failed_at: float | None = None
        self._failing_s = 0.0

    def is_due(self, now: float) -> bool:
        if self._next_at is None:
            return True
        left_s = self._next_at - now
        return not 0 < left_s <= MAX_RETRY_S

    def fail(self, reason: str, now: float) -> None:
        self.failures += 1
        self.trouble = reason
        self._next_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_RETRY_S)
        if self._failed_at is not None:
            passed_s = max(0.0, now - self._failed_at)
            self._failing_s += min(passed_s, 2 * MAX_RETRY_S)
        self._failed_at = now

    def has_lasted(self, seconds: float) -> bool:
        return self._failing_s >= seconds

    def end(self) -> None:
        """Begin anew: the last attempt was not in vain, or is not repeated."""
        self.trouble = ""
        self._pause_s = MIN_RETRY_S
        self._next_at = None
        self._failed_at = None
        self._failing_s = 0.0


class ChannelSender:
    """Sends to one channel; what it waits for holds up no other."""

    def __init__(
        self,
        channel: Channel,
        store: IncidentStore,
        limit: RateLimit | None = None,
        *,
        max_failing_s: float = MAX_FAILING_S,
    ) -> None:
        self.channel = channel
        self._store = store
        self._outbox = Outbox(store)
        self._limit = limit or RateLimit()
        self._max_failing_s = max_failing_s
        self._retries = Retries()
        self._sent = 0
        self._refreshed_at: float | None = None

    def status(self) -> ChannelStatus:
        backlog = self._outbox.backlog(self.channel.name)
        return ChannelStatus(
            channel=self.channel.name,
            place=self.channel.place,
            waiting=backlog.waiting,
            oldest=backlog.oldest,
            sent=self._sent,
            failures=self._retries.failures,
            trouble=self._retries.trouble,
        )

    def turn(self, now: float) -> None:
        """Send all that is due. Raises LostLease, or IncidentStoreUnavailable."""
        while self._retries.is_due(now):
            messages = self._next_messages(now)
            if not messages:
                self._refresh_if_due(now)
                return
            self._send(messages, now)

    def _next_messages(self, now: float) -> list[OutboxMessage]:
        channel = self.channel
        messages = self._outbox.waiting(channel.name, channel.batch)
        if messages and channel.batch == 1:
            return self._limited(messages, now)
        return messages

    def _limited(self, messages: list[OutboxMessage], now: float) -> list[OutboxMessage]:
        """What of it may be sent now: a storm becomes one summary."""
        name = self.channel.name
        since = now - self._limit.window_s
        sent = self._outbox.sent_lately(name, since, until=now)
        units = self._units(messages[0])
        step = self._limit.next_step(units, sent)
        if step == "summarize":
            return [self._outbox.summarize(name, now)]
        return messages if step == "send" else []

    def _units(self, first: OutboxMessage) -> int:
        """How many messages to people wait; a summary goes before all that it has not summed up."""
        if first.kind == "summary":
            return 1
        backlog = self._outbox.backlog(self.channel.name)
        return backlog.waiting

    def _send(self, messages: Sequence[OutboxMessage], now: float) -> None:
        self._outbox.confirm_leadership()
        delivery = self._try(lambda: self.channel.deliver(messages, now))
        if delivery.is_taken:
            self._end(messages, DELIVERED, now)
            self._sent += len(messages)
        else:
            self._fail(messages, delivery, now)

    def _try(self, attempt: Callable[[], Delivery]) -> Delivery:
        try:
            return attempt()
        except Exception as error:  # a library's; its message may hold a secret
            return Delivery(0, f"{self.channel.place}: {type(error).__name__}")

    def _end(
        self,
        messages: Sequence[OutboxMessage],
        outcome: str,
        now: float,
    ) -> None:
        self._outbox.end(
            self.channel.name,
            messages,
            outcome=outcome,
            now=now,
        )
        self._retries.end()

    def _fail(
        self,
        messages: Sequence[OutboxMessage],
        delivery: Delivery,
        now: float,
    ) -> None:
        self._note_failure(delivery.reason, now)
        is_bad = delivery.status in _BAD_MESSAGE
        if not is_bad and not self._retries.has_lasted(self._max_failing_s):
            return
        first = messages[0]
        log.error("%s: given up: %s", self.channel.name, first.id)
        self._end(messages, f"given up: {delivery.reason}", now)

    def _note_failure(self, reason: str, now: float) -> None:
        log.warning("%s: in vain: %s", self.channel.name, reason)
        self._retries.fail(reason, now)

    def _refresh_if_due(self, now: float) -> None:
        """Say again what is open, to a channel that forgets it otherwise."""
        interval_s = self.channel.refresh_interval_s
        if interval_s is None or not self._is_refresh_due(interval_s, now):
            return
        incidents = self._store.announced_incidents()
        if incidents:
            self._refresh(incidents, now)
        else:
            self._refreshed_at = now

    def _is_refresh_due(self, interval_s: float, now: float) -> bool:
        if self._refreshed_at is None:
            return True
        age_s = now - self._refreshed_at
        return not 0 <= age_s < interval_s  # the clock may have gone back

    def _refresh(self, incidents: Sequence[Incident], now: float) -> None:
        self._outbox.confirm_leadership()
        delivery = self._try(lambda: self.channel.refresh(incidents, now))
        if delivery.is_taken:
            self._refreshed_at = now
            self._retries.end()
        else:
            self._note_failure(delivery.reason, now)
