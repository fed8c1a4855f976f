"""When to retrain: a pure state machine over the verdicts of successive windows, the clock and a person's word.

watching -> (drift in two of three windows) -> collecting -> (enough new rows) -> retraining -> cooling -> watching
watching -> (the schedule, or enough new rows) -> retraining -> ...

One episode leads to at most one retraining, and one retraining runs at a time. The clock is passed in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from drift.settings import DriftSettings, Mode
from drift.verdict import VerdictKind

Phase = Literal["watching", "collecting", "retraining", "cooling"]
Outcome = Literal["promoted", "kept", "failed"]
DAY_S = 86_400.0
_STATE_FORMAT = 2


@dataclass(frozen=True)
class Governor:
    """The whole state; serialisable.

    recent: (drifted, since) of the last three windows; episode: id of the open one; since: when its drift began (Unix s);
    rows: captured since then; cooldown, until: windows and Unix time of quiet; retrains: (start, seconds) of the latest;
    renewed: end of the last one, or when this began, and fresh: rows since then, for the schedule; mode: a person's choice,
    before the settings'; reason: of the last transition
    """

    phase: Phase = "watching"
    recent: tuple[tuple[bool, float], ...] = ()
    quiet: int = 0
    windows: int = 0
    cooldown: int = 0
    until: float = 0.0
    episode: str | None = None
    since: float = 0.0
    rows: int = 0
    retrains: tuple[tuple[float, float], ...] = ()
    retrained: int = 0
    renewed: float = 0.0
    fresh: int = 0
    mode: Mode | None = None
    reason: str = "no window yet"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "format": _STATE_FORMAT}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Governor:
        """The inverse of `to_json`, also of what an older Vigil wrote; raises ValueError for a newer one's."""
        if int(value.get("format", 1)) > _STATE_FORMAT:
            raise ValueError(f"format {value['format']} is of a newer Vigil")
        known: dict[str, Any] = {
            field.name: value[field.name] for field in fields(cls) if field.name in value
        }
        recent = tuple((bool(drifted), float(since)) for drifted, since in value["recent"])
        retrains = [
            (start, 0.0) if isinstance(start, float | int) else tuple(start)
            for start in value["retrains"]
        ]
        known |= {"recent": recent, "retrains": tuple(retrains)}
        return cls(**known)


def on_window(
    state: Governor, kind: VerdictKind, since: float, rows: int, now: float, settings: DriftSettings
) -> tuple[Governor, bool]:
    """Take in the verdict on a window of `rows` rows that began at `since`; return the new state and whether to retrain now."""
    drifted = kind == "population drift"
    state = replace(
        _at(state, now),
        windows=state.windows + 1,
        recent=(*state.recent, (drifted, since))[-3:],
        quiet=0 if drifted else state.quiet + 1,
        fresh=state.fresh + (0 if kind == "data break" else rows),
    )
    if state.phase == "cooling":
        return _cool(state, now, settings), False
    if state.phase == "watching":
        return _watch(state, rows, now, settings), False
    if state.phase == "collecting":
        return _collect(state, kind, rows, now, settings)
    return state, False


def on_time(state: Governor, now: float, settings: DriftSettings) -> tuple[Governor, bool]:
    """Retrain without drift, when the schedule or the volume of new rows says so; return the new state and whether to do it."""
    state = _at(state, now)
    if not state.renewed:
        state = replace(state, renewed=now)
    by_time = settings.schedule_hours > 0 and now - state.renewed >= settings.schedule_hours * 3600
    by_rows = settings.schedule_rows > 0 and state.fresh >= settings.schedule_rows
    if state.phase != "watching" or _mode(state, settings) != "auto" or not (by_time or by_rows):
        return state, False
    spent = _spent(state, now, settings)
    if spent is not None:
        return replace(state, reason=spent), False
    why, what = (
        (f"{(now - state.renewed) / 3600:.1f} hours", "schedule")
        if by_time
        else (f"{state.fresh} new rows", "volume")
    )
    state = replace(
        state, episode=f"{int(now * 1000)}-{what}", since=state.renewed, rows=state.fresh
    )
    return _begin(state, now, settings, f"retraining by {what}: {why} since the last one"), True


def trigger_of(episode: str) -> Literal["schedule", "volume", "drift"]:
    """What began an episode, as the tag `trigger` of its version has it."""
    return (
        "schedule"
        if episode.endswith("-schedule")
        else "volume"
        if episode.endswith("-volume")
        else "drift"
    )


def on_retrained(
    state: Governor, outcome: Outcome, reason: str, now: float, settings: DriftSettings
) -> Governor:
    """The retraining of the open episode has ended at `now`, one way or the other."""
    if state.phase != "retraining":
        return state
    *former, (start, _) = state.retrains
    return replace(
        state,
        phase="cooling",
        cooldown=settings.cooldown_windows,
        until=now + settings.cooldown_s,
        recent=(),
        quiet=0,
        rows=0,
        episode=None,
        retrains=(*former, (min(start, now), max(0.0, now - start))),
        renewed=now,
        fresh=0,
        reason=f"{outcome}: {reason}; quiet for {settings.cooldown_windows} windows and {settings.cooldown_s:g} s",
    )


def on_champion(state: Governor, *, own: bool) -> Governor:
    """Another model is champion: what was seen against the former reference no longer counts.

    `own` says that it is the one this governor's retraining made: then the cooldown stands, else a person has decided.
    """
    state = replace(state, recent=(), quiet=0)
    if state.phase == "collecting" or (state.phase == "cooling" and not own):
        return replace(
            state,
            phase="watching",
            episode=None,
            rows=0,
            cooldown=0,
            reason="another champion: watching anew",
        )
    return state


def on_mode(state: Governor, mode: Mode | None) -> Governor:
    """A person switches the mode (None: back to the settings'). `observe` ends an episode that is still collecting."""
    state = replace(state, mode=mode)
    if mode == "observe" and state.phase == "collecting":
        return replace(
            state,
            phase="watching",
            episode=None,
            rows=0,
            recent=(),
            reason="switched to observe by hand",
        )
    return replace(state, reason=f"switched to {mode or 'the mode of the settings'} by hand")


def _mode(state: Governor, settings: DriftSettings) -> Mode:
    return state.mode or settings.mode


def _at(state: Governor, now: float) -> Governor:
    """A clock that went back refills no budget."""
    return replace(
        state,
        retrains=tuple((min(start, now), seconds) for start, seconds in state.retrains),
        renewed=min(state.renewed, now),
    )


def _cool(state: Governor, now: float, settings: DriftSettings) -> Governor:
    left, until = (
        max(0, state.cooldown - 1),
        min(state.until, now + settings.cooldown_s),
    )  # the clock may have gone back
    if left > 0 or now < until:
        return replace(state, cooldown=left, until=until)
    return replace(state, phase="watching", cooldown=0, recent=(), reason="the cooldown is over")


def _watch(state: Governor, rows: int, now: float, settings: DriftSettings) -> Governor:
    onset = [since for drifted, since in state.recent if drifted]
    if len(onset) < 2:
        return replace(
            state,
            reason="one window has drifted, a second decides" if state.recent[-1][0] else "quiet",
        )
    if _mode(state, settings) == "observe":
        return replace(state, reason="drift in two of three windows; mode observe only reports")
    return replace(
        state,
        phase="collecting",
        episode=f"{int(now * 1000)}-{state.windows}",
        since=onset[0],
        rows=rows * len(onset),
        reason="drift in two of three windows: an episode is open, collecting rows of it",
    )


def _collect(
    state: Governor, kind: VerdictKind, rows: int, now: float, settings: DriftSettings
) -> tuple[Governor, bool]:
    if state.quiet >= settings.clear_windows:
        return replace(
            state,
            phase="watching",
            episode=None,
            rows=0,
            recent=(),
            reason="the drift went away by itself",
        ), False
    if kind == "data break":
        return replace(state, reason="the data are broken: nothing is retrained"), False
    state = replace(state, rows=state.rows + rows)
    if state.rows < settings.retrain_rows:
        return replace(
            state,
            reason=f"collected {state.rows} of {settings.retrain_rows} rows since the drift began",
        ), False
    if _mode(state, settings) != "auto":
        return replace(
            state, reason="a retraining is suggested: `vigil train`, then `vigil promote`"
        ), False
    spent = _spent(state, now, settings)
    if spent is not None:
        return replace(state, reason=spent), False
    return _begin(state, now, settings, "retraining"), True


def retrains_left(state: Governor, now: float, settings: DriftSettings) -> int:
    """How many retrainings the budget of the last 24 hours has left."""
    return max(0, settings.max_retrains_per_day - len(_today(state, now)))


def seconds_left(state: Governor, now: float, settings: DriftSettings) -> float:
    """How many seconds of retraining the budget of the last 24 hours has left."""
    return max(0.0, settings.max_retrain_seconds_per_day - sum(_today(state, now)))


def _today(state: Governor, now: float) -> list[float]:
    return [seconds for start, seconds in state.retrains if start > now - DAY_S]


def _spent(state: Governor, now: float, settings: DriftSettings) -> str | None:
    """Which budget of the last 24 hours is used up."""
    today = _today(state, now)
    if len(today) >= settings.max_retrains_per_day:
        return f"the budget of {settings.max_retrains_per_day} retrainings a day is used up"
    if sum(today) >= settings.max_retrain_seconds_per_day:
        return f"the budget of {settings.max_retrain_seconds_per_day:g} s of retraining a day is used up"
    return None


def _begin(state: Governor, now: float, settings: DriftSettings, reason: str) -> Governor:
    # Also old starts are kept: the clock may go back to their day.
    retrains = (*state.retrains, (now, 0.0))[-settings.max_retrains_per_day :]
    return replace(
        state, phase="retraining", retrains=retrains, retrained=state.retrained + 1, reason=reason
    )
