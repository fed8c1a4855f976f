"""How many messages a channel is sent: a storm becomes one summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

SendingStep = Literal["send", "summarize", "wait"]


class SentLately(NamedTuple):
    """Messages that a channel has taken within the window of its limit, summaries among them."""

    messages: int = 0
    summaries: int = 0


@dataclass(frozen=True)
class RateLimit:
    """At most `messages` in `window_s`, of which one is a summary, then the last."""

    messages: int = 8
    window_s: float = 60.0

    def next_step(self, waiting: int, sent: SentLately) -> SendingStep:
        """What to do about so many messages that wait: all one by one, one summary, or nothing."""
        room = self.messages - sent.messages
        if sent.summaries or room <= 0:
            return "wait"
        return "send" if waiting <= room else "summarize"
