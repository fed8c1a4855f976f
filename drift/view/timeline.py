"""What happened, in words: the governor's transitions, the ledger's moves, and what was observed.

Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from drift.events import Event, ReportReceived, Transition, WindowJudged
from drift.governor import Outcome
from drift.verdict import Finding, Verdict, VerdictKind
from serve.model.report import ServedModel
from train.registry.moves import Move, MoveKind

MAX_ENTRIES = 100
MAX_OBSERVATIONS = 50
MAX_DETAILS = 12
SETTLED_S = 2.0  # so long after the last replica's swap: more may be starting
_KINDS = {
    "collecting": "episode",
    "retraining": "retrain",
    "cooling": "gate",
    "watching": "quiet",
}
_VERDICT_KINDS = {
    "none": "quiet",
    "data break": "break",
    "population drift": "drift",
}
_VERDICT_TITLES = {"data break": "Data break", "population drift": "Drift in a window"}
_STATISTICS = {"ks": "distance", "correlation": "correlation"}
_OUTCOMES: dict[Outcome, str] = {
    "promoted": "The gate",
    "kept": "The champion stays",
    "failed": "Retraining failed",
}
_MOVES: dict[MoveKind, str] = {
    "promote": "Version {to} became champion{after}",
    "rollback": "Rolled back to version {to}, from {former}",
    "canary": "Version {to} is a canary beside {former}",
    "canary stopped": "The canary {former} was stopped, version {to} answers everybody",
    "outside": "Version {to} became champion{after}: the alias was moved by other means",
}


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened; `at` is Unix seconds, `detail` sentences."""

    id: str
    at: float
    kind: str
    text: str
    detail: list[str]

    @classmethod
    def of(
        cls,
        at: float,
        kind: str,
        text: str,
        detail: Iterable[str] = (),
    ) -> TimelineEntry:
        details = list(detail)[:MAX_DETAILS]
        return cls(
            f"{kind}-{at:.3f}",
            round(at, 3),
            kind,
            text=text,
            detail=details,
        )


class Observations:
    """What the monitor saw by itself.

    Windows of another kind than the one before, and versions that all replicas serve.
    """

    def __init__(self) -> None:
        self.entries = deque[TimelineEntry](maxlen=MAX_OBSERVATIONS)
        self._kind: VerdictKind = "none"
        self._served: str | None = None

    def observe(self, event: Event) -> None:
        """Take in an event, if there is something to say of it."""
        if isinstance(event, WindowJudged):
            self._judged(event)
        elif isinstance(event, ReportReceived):
            self._reported(event)

    def _judged(self, event: WindowJudged) -> None:
        former = self._kind
        self._kind = event.verdict.kind
        if former != self._kind:
            entry = _verdict_entry(event, former)
            self.entries.append(entry)

    def _reported(self, event: ReportReceived) -> None:
        desired = event.desired
        if desired is None or desired == self._served:
            return
        if not _all_serve(event.replicas, desired):
            return
        last = _last_swap(event.replicas)
        if event.at - last >= SETTLED_S:
            self._settled(desired, len(event.replicas), last)

    def _settled(
        self,
        version: str,
        replicas: int,
        at: float,
    ) -> None:
        """Every replica serves the version."""
        is_first = self._served is None
        text = _swap_text(version, replicas, is_first=is_first)
        self._served = version
        entry = TimelineEntry.of(at, "swap", text)
        self.entries.append(entry)


def timeline(
    transitions: Iterable[Transition],
    ledger: Iterable[Move],
    observations: Iterable[TimelineEntry],
    cause: str,
) -> list[TimelineEntry]:
    """Return all of it, latest first; `cause` is why the last retraining began."""
    entries = [
        *_governor_entries(list(transitions), cause),
        *map(_ledger_entry, ledger),
        *observations,
    ]
    entries.sort(key=lambda entry: -entry.at)
    return entries[:MAX_ENTRIES]


def _verdict_entry(event: WindowJudged, former: VerdictKind) -> TimelineEntry:
    verdict = event.verdict
    detail = map(_finding, verdict.findings)
    kind = _VERDICT_KINDS[verdict.kind]
    text = _verdict_text(verdict, former)
    return TimelineEntry.of(event.at, kind, text, detail)


def _verdict_text(verdict: Verdict, former: VerdictKind) -> str:
    title = _VERDICT_TITLES.get(verdict.kind)
    if title is not None:
        return f"{title}: {verdict.sentence}"
    if former == "data break":
        return "The data are whole again"
    return "The latest window is like the reference again"


def _finding(finding: Finding) -> str:
    statistic = _STATISTICS.get(finding.statistic, finding.statistic)
    evidence = f"{finding.feature}: {statistic} {finding.value:.3g}"
    return f"{evidence}, ordinary up to {finding.limit:.3g}"


def _all_serve(replicas: Sequence[ServedModel], version: str) -> bool:
    if not replicas:
        return False
    return all(served.version == version for served in replicas)


def _last_swap(replicas: Sequence[ServedModel]) -> float:
    """When the last of the replicas began to serve its version (Unix seconds)."""
    return max(served.since or 0.0 for served in replicas)


def _swap_text(
    version: str,
    replicas: int,
    *,
    is_first: bool,
) -> str:
    if is_first:
        return f"Version {version} is served"
    who = "The one replica serves" if replicas == 1 else f"All {replicas} replicas serve"
    return f"{who} version {version}: the swap is complete"


def _governor_entries(transitions: Sequence[Transition], cause: str) -> Iterator[TimelineEntry]:
    last = _last_retraining(transitions)
    for transition in transitions:
        kind = "mode" if transition.is_mode_switch else _KINDS[transition.phase]
        text = _transition_text(transition)
        detail = [cause] if transition is last else transition.detail
        yield TimelineEntry.of(transition.at, kind, text, detail)


def _last_retraining(transitions: Sequence[Transition]) -> Transition | None:
    for transition in reversed(transitions):
        if transition.phase == "retraining" and not transition.is_mode_switch:
            return transition
    return None


def _transition_text(transition: Transition) -> str:
    if transition.is_mode_switch:
        return f"The governor was {transition.reason}"
    if transition.began_by_drift:
        return "Retraining began"
    outcome = transition.outcome
    if outcome is not None:
        return f"{_OUTCOMES[outcome]}: {transition.summary}"
    # Of one that an older Vigil stored the reason is all that there is.
    return _capitalised(transition.reason)


def _ledger_entry(move: Move) -> TimelineEntry:
    text = f"{_move_text(move)} (by {move.actor})"
    kind = move.kind.replace(" ", "-")
    detail = [move.reason, *_check_sentences(move)]
    return TimelineEntry.of(move.at, kind, text, detail)


def _move_text(move: Move) -> str:
    return _MOVES[move.kind].format(
        to=move.to,
        former=move.former,
        after=_after(move),
    )


def _after(move: Move) -> str:
    return f", after {move.former}" if move.former else ""


def _check_sentences(move: Move) -> Iterator[str]:
    """What the gates said; the ledger may hold anything."""
    for check in move.gates.get("checks", ()):
        if isinstance(check, dict) and "sentence" in check:
            yield str(check["sentence"])


def _capitalised(text: str) -> str:
    first = text[:1].upper()
    return first + text[1:]
