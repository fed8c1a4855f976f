"""What a monitor remembers over a restart, and hands to the one that takes over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from drift.events import Transition
from drift.governor import Governor, Outcome
from vigil.json_types import Fields, JsonObject

MAX_TRANSITIONS = 50  # the latest


class LastRetraining(msgspec.Struct, frozen=True):
    """How the last retraining ended, why it began, and when it ended (Unix seconds)."""

    outcome: Outcome
    reason: str
    version: str | None
    cause: str
    at: float


def _no_transitions() -> deque[Transition]:
    return deque(maxlen=MAX_TRANSITIONS)


@dataclass
class MonitorMemory:
    """State of the governor, and what `/drift` tells of the past.

    cause: why the last retraining began; followed: the champion that windows were compared with
    submitted: an episode, and how many jobs were submitted for it
    """

    governor: Governor = field(default_factory=Governor)
    cause: str = ""
    last_retraining: LastRetraining | None = None
    followed: str | None = None
    transitions: deque[Transition] = field(default_factory=_no_transitions)
    submitted: tuple[str, int] = ("", 0)

    def jobs_of(self, episode: str) -> int:
        """Return how many jobs were submitted for an episode."""
        of, jobs = self.submitted
        return jobs if of == episode else 0

    def to_json(self) -> JsonObject:
        timeline = [msgspec.to_builtins(transition) for transition in self.transitions]
        return {
            "governor": self.governor.to_json(),
            "cause": self.cause,
            "last_retraining": msgspec.to_builtins(self.last_retraining),
            "followed": self.followed,
            "timeline": timeline,
            "submitted": self.submitted,
        }

    def is_own(self, version: str) -> bool:
        """Whether the last retraining has made this version."""
        last = self.last_retraining
        return last is not None and last.version == version

    def status(self) -> JsonObject:
        """Return what `/drift` shows of the past."""
        return {
            "timeline": [transition.status() for transition in self.transitions],
            "cause": self.cause,
            "last_retraining": msgspec.to_builtins(self.last_retraining),
        }

    @classmethod
    def from_json(cls, stored: Fields) -> MonitorMemory:
        """Return what was stored, also by an older Vigil.

        Raises ValueError, TypeError, LookupError or AttributeError for something else.
        """
        transitions = _readable(stored.get("timeline", []))
        return cls(
            governor=Governor.from_json(stored["governor"]),
            cause=str(stored["cause"]),
            last_retraining=_read(stored["last_retraining"], LastRetraining | None),
            followed=stored["followed"],
            transitions=deque(transitions, maxlen=MAX_TRANSITIONS),
            submitted=_read(stored.get("submitted", ("", 0)), tuple[str, int]),
        )


def _readable(stored: Iterable[Any]) -> Iterator[Transition]:
    """Transitions without those that cannot be read: the governor's state is worth more."""
    for transition in stored:
        try:
            yield _read(transition, Transition)
        except ValueError:
            continue


def _read(stored: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(stored, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"what was stored cannot be read: {error}") from error
