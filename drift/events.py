"""Events of the drift monitor, for whatever shows, counts or logs them.

The watch decides and publishes. Subscribers take what they show from the fields of an event, and
never from its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from drift.governor import EpisodeTrigger, Governor, Outcome, Phase
from drift.verdict import Verdict, VerdictKind
from serve.model.report import ReplicaReport, ServedModel
from train.model.bundle import ModelBundle
from vigil.arrays import Floats
from vigil.json_types import JsonObject


@dataclass(frozen=True)
class ReportReceived:
    """A replica has reported.

    replicas: all that have reported lately; desired: the version that they should serve
    """

    at: float
    report: ReplicaReport
    replicas: Sequence[ServedModel]
    desired: str | None


@dataclass(frozen=True)
class ChampionFollowed:
    """Windows are compared with the reference of this champion from now on."""

    version: str
    bundle: ModelBundle


@dataclass(frozen=True)
class WindowJudged:
    """A window was judged.

    version: of the champion; rows: of the window [n, d]; since: when its first row was seen
    former: the kind of the window before; governor: the state after it
    is_onset: whether it has opened an episode
    """

    at: float
    version: str
    verdict: Verdict
    rows: Floats
    since: float
    former: VerdictKind
    governor: Governor
    is_onset: bool

    @property
    def episode(self) -> str:
        """The id of the open episode, or of the data break."""
        return self.governor.episode or f"{int(self.at * 1000)}-data-break"

    @property
    def is_break_onset(self) -> bool:
        """Whether the data broke with this window."""
        return self.verdict.kind == "data break" and self.former != "data break"


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """The governor went from phase `former` to `phase`, or a person has switched its mode.

    at: Unix seconds; reason: for people; trigger: what opened the episode
    outcome, summary, detail: how a retraining ended, and the sentences that decided it

    It is stored. An older Vigil stored neither `former` nor what comes after it: then only the
    reason says what happened.
    """

    at: float
    phase: Phase
    episode: str | None
    reason: str
    former: Phase | None = None
    trigger: EpisodeTrigger = "drift"
    outcome: Outcome | None = None
    summary: str = ""
    detail: tuple[str, ...] = ()

    @classmethod
    def between(
        cls,
        before: Governor,
        after: Governor,
        now: float,
    ) -> Transition:
        """Return what happened from one state of the governor to another."""
        return cls(
            at=now,
            phase=after.phase,
            episode=after.episode,
            reason=after.reason,
            former=before.phase,
            trigger=after.trigger,
        )

    @property
    def is_mode_switch(self) -> bool:
        return self.phase == self.former

    @property
    def began_by_drift(self) -> bool:
        """Whether a retraining began; an older Vigil did not store that."""
        is_known = self.former is not None
        return is_known and self.phase == "retraining" and self.trigger == "drift"

    @property
    def sentence(self) -> str:
        return f"{self.former} -> {self.phase}: {self.reason}"

    def status(self) -> JsonObject:
        """Return what `/drift` shows."""
        return {
            "at": self.at,
            "phase": self.phase,
            "episode": self.episode,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class RetrainingEnded:
    """A retraining has ended after so many seconds."""

    outcome: Outcome
    seconds: float


Event = ReportReceived | ChampionFollowed | WindowJudged | Transition | RetrainingEnded
Subscriber = Callable[[Event], None]


class Events:
    """Hands every event to every subscriber, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    def publish(self, event: Event) -> None:
        for subscriber in self._subscribers:
            subscriber(event)
