"""How a retrained version that has passed its gate becomes champion: shadow, canary, promotion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from drift.events import Transition
from drift.governor import Outcome
from drift.rollout import Rollout
from drift.settings import DriftSettings
from train.model.gate import GateVerdict, judge_shadow
from train.registry.canary import parse_canary_steps
from train.registry.moves import Move, completed_moves
from train.registry.promotion import promote_version, start_canary
from train.registry.versions import Registry
from vigil.json_types import Fields

ACTOR = "drift-monitor"
NO_EVIDENCE: Fields = {
    "errors": 0,
    "rows": 0,
    "champion_alert_rate": 0.0,
    "challenger_alert_rate": 0.0,
    "champion_us_per_row": 0.0,
    "challenger_us_per_row": 0.0,
}


@dataclass(frozen=True)
class Retraining:
    """How a retraining ended; `version` is the one that it registered, if any.

    reason: the whole of it, for people; summary, detail: the same in parts, where there are some
    """

    outcome: Outcome
    reason: str
    version: str | None = None
    summary: str = ""
    detail: tuple[str, ...] = ()

    @classmethod
    def decided(
        cls,
        outcome: Outcome,
        summary: str,
        detail: Sequence[str],
        version: str,
    ) -> Retraining:
        """Return the end of a retraining that these sentences have decided."""
        return cls(
            outcome,
            f"{summary}: {'; '.join(detail)}",
            version,
            summary=summary,
            detail=tuple(detail),
        )

    def tell_in(self, transition: Transition, cooldown: str) -> Transition:
        """Return the transition that ended it, with how it ended and the cooldown that follows."""
        return structs.replace(
            transition,
            outcome=self.outcome,
            summary=self.summary or self.reason,
            detail=(*self.detail, cooldown),
        )

    def with_note(self, note: str) -> Retraining:
        """Return it with one more sentence."""
        if not note:
            return self
        return replace(
            self,
            reason=f"{self.reason}; {note}",
            summary=self.summary or self.reason,
            detail=(*self.detail, note),
        )


class Release:
    """Takes one version that has passed its gate to the replicas.

    A monitor that restarts joins what runs, and repeats nothing.
    """

    def __init__(
        self,
        settings: DriftSettings,
        registry: Registry,
        rollout: Rollout,
        poll_interval_s: float = 1.0,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._rollout = rollout
        self._poll_interval_s = poll_interval_s

    def run(
        self,
        version: str,
        gate: Fields,
        reason: str,
    ) -> Retraining:
        """Promote the version, after shadow and canary where the settings ask for them.

        Blocks until it has ended. `reason` is for the ledger.
        """
        shadow: Fields = {}
        if self._settings.shadow_rows:
            shadow = self._wait_for_shadow(version)
            verdict = self._judge_shadow(shadow)
            if not verdict.passed:
                sentences = deciding_sentences(verdict.to_json())
                return _kept(version, "failed in the shadow", sentences)
        if self._settings.canary_steps:
            return self._run_canary(version, gate, reason)
        self._promote(
            version,
            gate,
            shadow,
            reason=reason,
        )
        return _promoted(version, deciding_sentences(gate))

    def _promote(
        self,
        version: str,
        gate: Fields,
        shadow: Fields,
        *,
        reason: str,
    ) -> None:
        gates = dict(gate)
        if shadow:
            gates["shadow"] = shadow
        promote_version(
            self._registry,
            version,
            reason=reason,
            actor=ACTOR,
            gates=gates,
        )

    def _judge_shadow(self, evidence: Fields) -> GateVerdict:
        settings = self._settings
        alert_limit = self._rollout.budget * settings.canary_alert_band
        return judge_shadow(evidence, settings.shadow_rows, alert_limit)

    def _wait_for_shadow(self, version: str) -> Fields:
        """The evidence of the shadow, complete or as far as it came in time."""
        deadline = time.monotonic() + self._settings.retrain_timeout_s
        evidence = self._evidence(version)
        while not self._is_complete(evidence) and time.monotonic() < deadline:
            time.sleep(self._poll_interval_s)
            evidence = self._evidence(version)
        return evidence

    def _evidence(self, version: str) -> Fields:
        return self._rollout.shadow.summary(version) or NO_EVIDENCE

    def _is_complete(self, evidence: Fields) -> bool:
        if evidence["errors"] > 0:
            return True
        return evidence["rows"] >= self._settings.shadow_rows

    def _run_canary(
        self,
        version: str,
        gate: Fields,
        reason: str,
    ) -> Retraining:
        if not self._was_canary(version):
            self._start_canary(version, reason)
        while self._registry.canary() is not None:
            time.sleep(self._poll_interval_s)
        last = self._last_move(version)
        if not self._is_champion(version):
            return _kept(version, "was a canary, and stopped", [last.reason])
        sentences = deciding_sentences(gate)
        return _promoted(version, [*sentences, last.reason])

    def _start_canary(self, version: str, reason: str) -> None:
        start_canary(
            self._registry,
            version,
            parse_canary_steps(self._settings.canary_steps),
            reason=reason,
            actor=ACTOR,
        )

    def _is_champion(self, version: str) -> bool:
        champion = self._registry.champion()
        return champion is not None and champion.version == version

    def _was_canary(self, version: str) -> bool:
        return any(
            move.kind == "canary" and move.to == version for move in completed_moves(self._registry)
        )

    def _last_move(self, version: str) -> Move:
        for move in completed_moves(self._registry):
            if version in (move.to, move.former):
                return move
        raise LookupError(f"no move of version {version} is in the ledger")


def deciding_sentences(gate: Fields) -> list[str]:
    """Return the sentences of the checks that failed, or of all when none did.

    They are those of the reason of the gate (train/model/gate.py).
    """
    checks = gate.get("checks", ())
    failed = [check for check in checks if not check["passed"]]
    sentences = [check["sentence"] for check in failed or checks]
    return sentences or [gate["reason"]]


def _kept(
    version: str,
    why: str,
    detail: Sequence[str],
) -> Retraining:
    return Retraining.decided("kept", f"version {version} {why}", detail, version)


def _promoted(version: str, detail: Sequence[str]) -> Retraining:
    return Retraining.decided("promoted", f"version {version} passed the gate", detail, version)
