"""The notifier: a thread for each channel, so that one that is down holds up no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

from drift.incidents.channels.channel import ChannelContext
from drift.incidents.channels.opening import open_channels
from drift.incidents.outbox import Outbox
from drift.incidents.rate_limit import RateLimit
from drift.incidents.sender import ChannelSender, ChannelStatus
from drift.incidents.store import IncidentStore
from drift.settings import DriftSettings
from drift.state import LostLease
from vigil.errors import VigilError

log = logging.getLogger("ray.serve")
SEND_INTERVAL_S = 0.5
STOP_TIMEOUT_S = 15.0  # a little more than a delivery may take


class Notifier:
    """Sends the messages in a store, between `start` and `stop`: while this monitor leads."""

    def __init__(
        self,
        store: IncidentStore,
        limit: RateLimit | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._limit = limit
        self._clock = clock
        self._senders: list[ChannelSender] = []
        self._loops: list[_SenderLoop] = []
        self._followed: tuple[str, ChannelContext] | None = None
        self._refusal = ""

    @property
    def channels(self) -> list[str]:
        """The names of the channels, for whom messages are written."""
        return [sender.channel.name for sender in self._senders]

    def follow(self, setting: str, context: ChannelContext) -> None:
        """Send to the channels of the setting `notify` from now on.

        What waits for one that is no more is given up. Raises ValueError that names a URL that is
        refused; nothing is changed then.
        """
        if self._followed == (setting, context):
            return
        channels = open_channels(setting, context)
        is_started = bool(self._loops)
        self.stop()
        self._senders = [ChannelSender(one, self._store, self._limit) for one in channels]
        self._followed = (setting, context)
        if is_started:
            self.start()

    def follow_settings(self, settings: DriftSettings) -> None:
        """Send to whom the settings name, with secrets as they are now: they may be renewed.

        A URL that is refused is logged, and the channels stay as they were.
        """
        context = _context(settings)
        try:
            self.follow(_present_secret(settings, "notify"), context)
        except ValueError as error:
            self._complain(str(error))

    def _complain(self, refusal: str) -> None:
        """Log a refusal once."""
        if refusal != self._refusal:
            log.error("%s: %s", DriftSettings.variable("notify"), refusal)
        self._refusal = refusal

    def start(self) -> None:
        """Begin to send; call it when the lease was acquired. Raises LostLease."""
        outbox = Outbox(self._store)
        dropped = outbox.drop_other_channels(self.channels)
        if dropped:
            log.warning("%d messages waited for channels that are no more", dropped)
        self._loops = [_SenderLoop(sender, self._clock) for sender in self._senders]
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """End after the messages that are being sent."""
        loops = self._loops
        self._loops = []
        for loop in loops:
            loop.end()
        for loop in loops:
            loop.join(STOP_TIMEOUT_S)

    def wake(self) -> None:
        """Send what was recorded just now at once."""
        for loop in self._loops:
            loop.wake()

    def statuses(self) -> list[ChannelStatus]:
        return [sender.status() for sender in self._senders]


def _context(settings: DriftSettings) -> ChannelContext:
    return ChannelContext(
        detector=settings.model_name,
        console_url=settings.console_url,
        secret=_present_secret(settings, "notify_secret"),
    )


def _present_secret(settings: DriftSettings, name: Literal["notify", "notify_secret"]) -> str:
    """A secret as environment and files have it; else as the settings were given it."""
    present = DriftSettings.read_secret(name).get_secret_value()
    return present or getattr(settings, name).get_secret_value()


class _SenderLoop(threading.Thread):
    """Turns of one sender, until another monitor leads."""

    def __init__(self, sender: ChannelSender, clock: Callable[[], float]) -> None:
        super().__init__(name=f"notify {sender.channel.name}", daemon=True)
        self._sender = sender
        self._clock = clock
        self._woken = threading.Event()
        self._has_ended = False

    def wake(self) -> None:
        self._woken.set()

    def end(self) -> None:
        self._has_ended = True
        self._woken.set()

    def run(self) -> None:
        while not self._has_ended:
            self._turn()
            self._woken.wait(SEND_INTERVAL_S)
            self._woken.clear()

    def _turn(self) -> None:
        try:
            self._sender.turn(self._clock())
        except LostLease:
            self._has_ended = True
        except VigilError as error:
            log.warning("%s waits: %s", self._sender.channel.name, error.message)
        except Exception:  # the other messages must go on
            log.exception("%s: a turn has failed", self._sender.channel.name)
