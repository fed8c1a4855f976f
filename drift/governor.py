"""When to retrain: a pure state machine over the verdicts of successive windows.

watching -> (drift in two of three windows) -> collecting -> (enough new rows) -> retraining -> cooling -> watching

One episode leads to at most one retraining, and one retraining runs at a time. The clock is passed in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from drift.settings import DriftSettings
from drift.verdict import Kind

Phase = Literal["watching", "collecting", "retraining", "cooling"]
Outcome = Literal["promoted", "kept", "failed"]
DAY = 86_400.0


@dataclass(frozen=True)
class Governor:
    """The whole state; serialisable.

    recent: (drifted, since) of the last three windows; episode: id of the open one; since: when its drift began (Unix s);
    rows: captured since then; retrains: the latest start times, as many as a day may have; reason: of the last transition
    """

    phase: Phase = "watching"
    recent: tuple[tuple[bool, float], ...] = ()
    quiet: int = 0
    windows: int = 0
    cooldown: int = 0
    episode: str | None = None
    since: float = 0.0
    rows: int = 0
    retrains: tuple[float, ...] = ()
    retrained: int = 0
    reason: str = "no window yet"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Governor:
        recent = tuple((bool(drifted), float(since)) for drifted, since in value["recent"])
        saved: dict[str, Any] = {**value, "recent": recent, "retrains": tuple(value["retrains"])}
        return cls(**saved)


def on_window(state: Governor, kind: Kind, since: float, rows: int, now: float, settings: DriftSettings) -> tuple[Governor, bool]:
    """Take in the verdict on a window of `rows` rows that began at `since`; return the new state and whether to retrain now."""
    drifted = kind == "population drift"
    state = replace(
        state, windows=state.windows + 1, recent=(*state.recent, (drifted, since))[-3:], quiet=0 if drifted else state.quiet + 1,
        retrains=tuple(min(t, now) for t in state.retrains),  # a clock that went back refills nothing
    )  # fmt: skip
    if state.phase == "cooling":
        return _cool(state), False
    if state.phase == "watching":
        return _watch(state, rows, now, settings), False
    if state.phase == "collecting":
        return _collect(state, kind, rows, now, settings)
    return state, False


def on_retrained(state: Governor, outcome: Outcome, reason: str, settings: DriftSettings) -> Governor:
    """The retraining of the open episode has ended, one way or the other."""
    if state.phase != "retraining":
        return state
    return replace(
        state, phase="cooling", cooldown=settings.cooldown_windows, recent=(), quiet=0, rows=0, episode=None,
        reason=f"{outcome}: {reason}; quiet for {settings.cooldown_windows} windows",
    )  # fmt: skip


def _cool(state: Governor) -> Governor:
    left = state.cooldown - 1
    if left > 0:
        return replace(state, cooldown=left)
    return replace(state, phase="watching", cooldown=0, recent=(), reason="the cooldown is over")


def _watch(state: Governor, rows: int, now: float, settings: DriftSettings) -> Governor:
    onset = [since for drifted, since in state.recent if drifted]
    if len(onset) < 2:
        return replace(state, reason="one window has drifted, a second decides" if state.recent[-1][0] else "quiet")
    if settings.mode == "observe":
        return replace(state, reason="drift in two of three windows; mode observe only reports")
    return replace(
        state, phase="collecting", episode=f"{int(now * 1000)}-{state.windows}", since=onset[0], rows=rows * len(onset),
        reason="drift in two of three windows: an episode is open, collecting rows of it",
    )  # fmt: skip


def _collect(state: Governor, kind: Kind, rows: int, now: float, settings: DriftSettings) -> tuple[Governor, bool]:
    if state.quiet >= settings.clear_windows:
        return replace(state, phase="watching", episode=None, rows=0, recent=(), reason="the drift went away by itself"), False
    if kind == "data break":
        return replace(state, reason="the data are broken: nothing is retrained"), False
    state = replace(state, rows=state.rows + rows)
    if state.rows < settings.retrain_rows:
        return replace(state, reason=f"collected {state.rows} of {settings.retrain_rows} rows since the drift began"), False
    if settings.mode != "auto":
        return replace(state, reason="a retraining is suggested: `vigil train`, then `vigil promote`"), False
    if sum(at > now - DAY for at in state.retrains) >= settings.max_retrains_per_day:
        return replace(state, reason=f"the budget of {settings.max_retrains_per_day} retrainings a day is used up"), False
    retrains = (*state.retrains, now)[-settings.max_retrains_per_day :]  # also old ones: the clock may go back to their day
    return replace(state, phase="retraining", retrains=retrains, retrained=state.retrained + 1, reason="retraining"), True


def on_champion(state: Governor, *, own: bool) -> Governor:
    """Another model is champion: what was seen against the former reference no longer counts.

    `own` says that it is the one this governor's retraining made: then the cooldown stands, else a person has decided.
    """
    state = replace(state, recent=(), quiet=0)
    if state.phase == "collecting" or (state.phase == "cooling" and not own):
        return replace(state, phase="watching", episode=None, rows=0, cooldown=0, reason="another champion: watching anew")
    return state
