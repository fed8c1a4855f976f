"""When to retrain: a pure state machine over verdicts of windows, the clock and a person's word.

watching -> (drift in two of three windows) -> collecting -> (enough new rows) -> retraining
watching -> (the schedule, or enough new rows) -> retraining
retraining -> (it has ended) -> cooling -> watching

One episode leads to at most one retraining, and one retraining runs at a time. The clock is passed
in. Every function takes a state and returns the next one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

from drift.retrain_budget import RetrainBudget, Retrains, not_after
from drift.settings import DriftSettings, Mode
from drift.stored_governor import GOVERNOR_FORMAT, read_governor
from drift.verdict import VerdictKind
from vigil.json_types import Fields, JsonObject

Phase = Literal["watching", "collecting", "retraining", "cooling"]
Outcome = Literal["promoted", "kept", "failed"]
EpisodeTrigger = Literal["drift", "schedule", "volume"]


@dataclass(frozen=True)
class Governor:
    """State of the governor; serialisable.

    recent: (drifted, since) of the last three windows
    quiet, windows: windows without drift in a row, and all
    cooldown, until: windows and Unix time of quiet
    episode: id of the open one; since: when its drift began (Unix s); trigger: what opened it
    rows: captured since then
    retrains: (start, seconds) of the latest retrainings; retrained: how many there were
    renewed, fresh: end of the last one, or when this began, and rows since then, for the schedule
    mode: a person's choice, before the settings'
    reason: of the last transition, for people
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
    retrains: Retrains = ()
    retrained: int = 0
    renewed: float = 0.0
    fresh: int = 0
    mode: Mode | None = None
    reason: str = "no window yet"
    trigger: EpisodeTrigger = "drift"

    @property
    def is_retraining(self) -> bool:
        return self.phase == "retraining" and self.episode is not None

    @property
    def retraining_since(self) -> float:
        """When the latest retraining began (Unix seconds)."""
        start, _ = self.retrains[-1]
        return start

    def age_s(self, now: float) -> float:
        """How long ago the latest retraining ended, or this began."""
        return now - self.renewed

    @property
    def retrain_seconds(self) -> float:
        """How long the latest retraining took; 0 without one."""
        if not self.retrains:
            return 0.0
        _, seconds = self.retrains[-1]
        return seconds

    def to_json(self) -> JsonObject:
        """Return what is stored."""
        return {**asdict(self), "format": GOVERNOR_FORMAT}

    def status(self) -> JsonObject:
        """Return what `/drift` shows."""
        stored = self.to_json()
        del stored["trigger"]
        return stored

    @classmethod
    def from_json(cls, stored: Fields) -> Governor:
        """Return the state that was stored, also by an older Vigil.

        Raises ValueError for a newer one's.
        """
        names = [field.name for field in fields(cls)]
        return cls(**read_governor(stored, names))

    def budget(self, now: float, settings: DriftSettings) -> RetrainBudget:
        """Return what the last 24 hours leave for retrainings."""
        return RetrainBudget.of(self.retrains, now, settings)


def on_window(
    state: Governor,
    kind: VerdictKind,
    *,
    since: float,
    rows: int,
    now: float,
    settings: DriftSettings,
) -> Governor:
    """Take in the verdict on a window of `rows` rows that began at `since`."""
    present = _at(state, now)
    state = _count_window(present, kind, since, rows)
    if state.phase == "cooling":
        return _cool(state, now, settings)
    if state.phase == "watching":
        return _watch(state, rows, now, settings)
    if state.phase == "collecting":
        return _collect(
            state,
            kind,
            rows,
            now=now,
            settings=settings,
        )
    return state


def on_time(state: Governor, now: float, settings: DriftSettings) -> Governor:
    """Begin a retraining without drift, when the schedule or the volume of new rows says so."""
    state = _at(state, now)
    if not state.renewed:
        state = replace(state, renewed=now)
    trigger = _due(state, now, settings)
    if trigger is None or not _may_begin(state, settings):
        return state
    spent = state.budget(now, settings).used_up()
    if spent is not None:
        return replace(state, reason=spent)
    return _begin_by(trigger, state, now, settings)


def _begin_by(
    trigger: EpisodeTrigger,
    state: Governor,
    now: float,
    settings: DriftSettings,
) -> Governor:
    since_last = _since_last(state, trigger, now)
    reason = f"retraining by {trigger}: {since_last} since the last one"
    opened = _opened_by(state, trigger, now)
    return _begin(opened, now, settings, reason)


def begins_retraining(before: Governor, after: Governor) -> bool:
    """Whether this transition begins a retraining."""
    return after.phase == "retraining" and before.phase != "retraining"


def opens_episode(before: Governor, after: Governor) -> bool:
    """Whether this transition opens an episode."""
    return after.episode is not None and after.episode != before.episode


def on_retrained(
    state: Governor,
    outcome: Outcome,
    reason: str,
    now: float,
    settings: DriftSettings,
) -> Governor:
    """End the retraining of the open episode at `now`, one way or the other."""
    if state.phase != "retraining":
        return state
    return replace(
        state,
        phase="cooling",
        cooldown=settings.cooldown_windows,
        until=now + settings.cooldown_s,
        recent=(),
        quiet=0,
        rows=0,
        episode=None,
        retrains=_with_end(state, now, settings),
        renewed=now,
        fresh=0,
        reason=f"{outcome}: {reason}; {cooldown_of(settings)}",
    )


def _with_end(
    state: Governor,
    now: float,
    settings: DriftSettings,
) -> Retrains:
    """The retrainings, of which the last one ends at `now`.

    Training and the shadow each take the timeout at most: a clock that went ahead meanwhile does
    not use up the budget.
    """
    start = state.retraining_since
    seconds = min(max(0.0, now - start), 2 * settings.retrain_timeout_s)
    earlier = state.retrains[:-1]
    return (*earlier, (min(start, now), seconds))


def cooldown_of(settings: DriftSettings) -> str:
    """Return for how long no episode opens after a retraining, for people."""
    return f"quiet for {settings.cooldown_windows} windows and {settings.cooldown_s:g} s"


def on_champion(state: Governor, *, own: bool) -> Governor:
    """Forget what was seen against the reference of the former champion.

    `own` says that the new one is of this governor's retraining: then the cooldown stands. Else a
    person has decided.
    """
    state = replace(state, recent=(), quiet=0)
    over = ("collecting",) if own else ("collecting", "cooling")
    if state.phase not in over:
        return state
    watching = _close_episode(state, "another champion: watching anew")
    return replace(watching, cooldown=0)


def on_mode(state: Governor, mode: Mode | None) -> Governor:
    """Switch the mode by hand (None: back to the settings').

    `observe` ends an episode that is still collecting.
    """
    state = replace(state, mode=mode)
    if mode == "observe" and state.phase == "collecting":
        return _close_episode(state, "switched to observe by hand")
    return replace(state, reason=f"switched to {mode or 'the mode of the settings'} by hand")


def _mode(state: Governor, settings: DriftSettings) -> Mode:
    return state.mode or settings.mode


def _at(state: Governor, now: float) -> Governor:
    """The state at `now`: a clock that went back refills no budget."""
    return replace(
        state,
        retrains=not_after(now, state.retrains),
        renewed=min(state.renewed, now),
    )


def _count_window(
    state: Governor,
    kind: VerdictKind,
    since: float,
    rows: int,
) -> Governor:
    drifted = kind == "population drift"
    broken = kind == "data break"
    recent = (*state.recent, (drifted, since))
    return replace(
        state,
        windows=state.windows + 1,
        recent=recent[-3:],
        quiet=0 if drifted else state.quiet + 1,
        fresh=state.fresh if broken else state.fresh + rows,
    )


def _due(state: Governor, now: float, settings: DriftSettings) -> EpisodeTrigger | None:
    """What asks for a retraining without drift."""
    age_s = state.age_s(now)
    if 0 < settings.schedule_hours * 3600 <= age_s:
        return "schedule"
    if 0 < settings.schedule_rows <= state.fresh:
        return "volume"
    return None


def _may_begin(state: Governor, settings: DriftSettings) -> bool:
    return state.phase == "watching" and _mode(state, settings) == "auto"


def _opened_by(state: Governor, trigger: EpisodeTrigger, now: float) -> Governor:
    """The episode that the schedule or the volume of new rows opens."""
    number = state.retrained + 1  # the clock may go back: the time alone is not unique
    return replace(
        state,
        episode=f"{int(now * 1000)}-{number}-{trigger}",
        since=state.renewed,
        rows=state.fresh,
        trigger=trigger,
    )


def _since_last(state: Governor, trigger: EpisodeTrigger, now: float) -> str:
    if trigger == "volume":
        return f"{state.fresh} new rows"
    hours = state.age_s(now) / 3600
    return f"{hours:.1f} hours"


def _cool(state: Governor, now: float, settings: DriftSettings) -> Governor:
    left = max(0, state.cooldown - 1)
    until = min(state.until, now + settings.cooldown_s)  # the clock may have gone back
    if left > 0 or now < until:
        return replace(state, cooldown=left, until=until)
    return replace(
        state,
        phase="watching",
        cooldown=0,
        recent=(),
        reason="the cooldown is over",
    )


def _watch(
    state: Governor,
    rows: int,
    now: float,
    settings: DriftSettings,
) -> Governor:
    onset = [since for drifted, since in state.recent if drifted]
    if len(onset) < 2:
        return replace(state, reason=_quiet_reason(state))
    if _mode(state, settings) == "observe":
        return replace(state, reason="drift in two of three windows; mode observe only reports")
    return replace(
        state,
        phase="collecting",
        episode=f"{int(now * 1000)}-{state.windows}",
        trigger="drift",
        since=onset[0],
        rows=rows * len(onset),
        reason="drift in two of three windows: an episode is open, collecting rows of it",
    )


def _quiet_reason(state: Governor) -> str:
    drifted, _ = state.recent[-1]
    return "one window has drifted, a second decides" if drifted else "quiet"


def _collect(
    state: Governor,
    kind: VerdictKind,
    rows: int,
    *,
    now: float,
    settings: DriftSettings,
) -> Governor:
    if state.quiet >= settings.clear_windows:
        return _close_episode(state, "the drift went away by itself")
    if kind == "data break":
        return replace(state, reason="the data are broken: nothing is retrained")
    state = replace(state, rows=state.rows + rows)
    waits = _waits_for(state, now, settings)
    if waits is not None:
        return replace(state, reason=waits)
    return _begin(state, now, settings, "retraining")


def _waits_for(state: Governor, now: float, settings: DriftSettings) -> str | None:
    """Why the retraining of a collecting episode does not begin yet."""
    needed = settings.retrain_rows
    if state.rows < needed:
        return f"collected {state.rows} of {needed} rows since the drift began"
    if _mode(state, settings) != "auto":
        return "a retraining is suggested: `vigil train`, then `vigil promote`"
    return state.budget(now, settings).used_up()


def _close_episode(state: Governor, reason: str) -> Governor:
    return replace(
        state,
        phase="watching",
        episode=None,
        rows=0,
        recent=(),
        reason=reason,
    )


def _begin(
    state: Governor,
    now: float,
    settings: DriftSettings,
    reason: str,
) -> Governor:
    # Also old starts are kept: the clock may go back to their day.
    retrains = (*state.retrains, (now, 0.0))
    return replace(
        state,
        phase="retraining",
        retrains=retrains[-settings.max_retrains_per_day :],
        retrained=state.retrained + 1,
        reason=reason,
    )
