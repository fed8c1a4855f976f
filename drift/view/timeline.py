"""What happened, in words: the governor's moves, the ledger's, and what the monitor itself saw. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from train.registry.promotion import Move

MOST, MOST_SEEN, MOST_DETAILS = 100, 50, 12
SETTLED_S = 2.0  # so long after the last replica's swap: more may be starting
TimelineEntry = dict[str, Any]  # at (Unix seconds), kind, text, detail (sentences), id


def event(at: float, kind: str, text: str, detail: Iterable[str] = ()) -> TimelineEntry:
    """One entry of the timeline."""
    return {
        "id": f"{kind}-{at:.3f}",
        "at": round(at, 3),
        "kind": kind,
        "text": text,
        "detail": list(detail)[:MOST_DETAILS],
    }


class Observations:
    """What the monitor saw by itself: windows of another kind than the one before, and versions that all replicas serve."""

    def __init__(self) -> None:
        self.events: deque[TimelineEntry] = deque(maxlen=MOST_SEEN)
        self._verdict, self._served = "none", ""

    def judged(self, verdict: Mapping[str, Any], now: float) -> None:
        """A window was judged; only what differs from the window before is told."""
        kind, former = verdict["verdict"], self._verdict
        self._verdict = kind
        if kind == former:
            return
        detail = [_finding(finding) for finding in verdict["findings"]]
        if kind == "none":
            text = (
                "The data are whole again"
                if former == "data break"
                else "The latest window is like the reference again"
            )
        else:
            text = f"{'Data break' if kind == 'data break' else 'Drift in a window'}: {verdict['sentence']}"
        self.events.append(
            event(now, {"none": "quiet", "data break": "break"}.get(kind, "drift"), text, detail)
        )

    def serving(
        self, replicas: Sequence[Mapping[str, Any]], desired: str | None, now: float
    ) -> None:
        """Which replicas live and what they serve, and what they should."""
        if (
            desired is None
            or desired == self._served
            or not replicas
            or any(r["version"] != desired for r in replicas)
        ):
            return
        last = max(float(r["since"] or 0.0) for r in replicas)
        if now - last < SETTLED_S:
            return
        text = (
            f"{_all(len(replicas))} version {desired}: the swap is complete"
            if self._served
            else f"Version {desired} is served"
        )
        self._served = desired
        self.events.append(event(last, "swap", text))


def _all(replicas: int) -> str:
    return "The one replica serves" if replicas == 1 else f"All {replicas} replicas serve"


def _finding(finding: Mapping[str, Any]) -> str:
    what = {"ks": "distance", "correlation": "correlation"}.get(
        finding["statistic"], finding["statistic"]
    )
    return f"{finding['feature']}: {what} {finding['value']:.3g}, ordinary up to {finding['limit']:.3g}"


def timeline(
    moves: Iterable[Mapping[str, Any]],
    ledger: Iterable[Move],
    seen: Iterable[TimelineEntry],
    cause: str,
) -> list[TimelineEntry]:
    """All of it, latest first. `moves` are the governor's, `cause` is why the last retraining began."""
    events = [*_governor(list(moves), cause), *(_promotion(move) for move in ledger), *seen]
    return sorted(events, key=lambda e: -e["at"])[:MOST]


def _governor(moves: Sequence[Mapping[str, Any]], cause: str) -> Iterable[TimelineEntry]:
    began = max((k for k, move in enumerate(moves) if move["phase"] == "retraining"), default=-1)
    former = "watching"
    for k, move in enumerate(moves):
        at, phase, reason = float(move["at"]), str(move["phase"]), str(move["reason"])
        if phase == former and phase != "retraining":
            yield event(
                at,
                "mode",
                f"The governor was {reason}" if reason.startswith("switched") else _upper(reason),
            )
        elif phase == "collecting":
            yield event(at, "episode", _upper(reason))
        elif phase == "retraining":
            yield event(
                at,
                "retrain",
                "Retraining began" if reason == "retraining" else _upper(reason),
                [cause] * (k == began),
            )
        elif phase == "cooling":
            outcome, _, said = reason.partition(": ")
            said, _, rest = said.rpartition("; quiet for ")
            yield event(
                at,
                "gate",
                _outcome(outcome, said),
                [*said.partition(": ")[2].split("; "), f"quiet for {rest}"],
            )
        else:
            yield event(at, "quiet", _upper(reason))
        former = phase


def _outcome(outcome: str, said: str) -> str:
    verdict = said.partition(": ")[0]
    return {"promoted": f"The gate: {verdict}", "kept": f"The champion stays: {verdict}"}.get(
        outcome, f"Retraining failed: {said}"
    )


def _promotion(move: Move) -> TimelineEntry:
    former = f", after {move.former}" if move.former else ""
    text = {
        "promote": f"Version {move.to} became champion{former}",
        "rollback": f"Rolled back to version {move.to}, from {move.former}",
        "canary": f"Version {move.to} is a canary beside {move.former}",
        "canary stopped": f"The canary {move.former} was stopped, version {move.to} answers everybody",
        "outside": f"Version {move.to} became champion{former}: the alias was moved by other means",
    }[move.kind]
    checks = [
        str(check["sentence"])
        for check in move.gates.get("checks", ())
        if isinstance(check, dict) and "sentence" in check
    ]
    return event(
        move.at, move.kind.replace(" ", "-"), f"{text} (by {move.actor})", [move.reason, *checks]
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
