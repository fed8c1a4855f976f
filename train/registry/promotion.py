"""Move the champion: promote, roll back, canary; one at a time, in an order that a crash leaves
consistent.

Every move is first entered in the ledger as open, then made (`previous`, `champion`, the canary's
end), then closed. Whoever comes next finds the open entry of a crashed promoter and settles it:
closed as done where the champion did move, else as failed, with `previous` put back. What replicas
follow, the alias, changes in one step, so they never see half a move.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from train.registry.canary import Canary, CanarySteps
from vigil.errors import RegistryError

# outside: an alias that was moved by other means
MoveKind = Literal["promote", "rollback", "canary", "canary stopped", "outside"]
CHAMPION_MOVES = ("promote", "rollback", "outside")  # kinds that move the champion


class GateFailed(RegistryError):
    """The version failed its gate, and nobody has said that it is to be promoted all the same."""


@dataclass(frozen=True)
class Move:
    """One entry of the ledger.

    former, to: versions
    at: in Unix seconds
    """

    kind: MoveKind
    former: str
    to: str
    digest: str
    reason: str
    actor: str
    gates: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0
    id: str = ""
    state: Literal["open", "done", "failed"] = "open"

    @property
    def moves_champion(self) -> bool:
        return self.kind in CHAMPION_MOVES


class PromotableVersion(Protocol):
    """What promotions read of a version."""

    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def schema(self) -> str: ...
    @property
    def verdict(self) -> str: ...


class Promotable(Protocol):
    """What a registry offers to promotions: single steps, each atomic."""

    def get(self, version: str) -> PromotableVersion: ...
    def aliases(self) -> dict[str, str]: ...
    def canary(self) -> Canary | None: ...
    def set_alias(self, alias: str, version: str | None) -> None: ...
    def set_canary(self, canary: Canary | None) -> None: ...
    def set_schema(self, schema: str) -> None: ...
    def open_move(self, move: Move) -> str: ...
    def close_move(self, move: str, done: bool) -> None: ...
    def moves(self, most: int | None = None) -> list[Move]: ...
    def exclusive(self, actor: str) -> AbstractContextManager[None]: ...


def promote_version(
    registry: Promotable,
    version: str,
    *,
    reason: str,
    actor: str,
    gates: Mapping[str, Any] | None = None,
    new_schema: bool = False,
    force: bool = False,
) -> str:
    """Make `version` the champion and the former one `previous`; ends a canary. Returns the
    version.

    Raises GateFailed for a version that failed its gate, unless `force`, and RegistryError when
    there is no such version, when somebody else is promoting, or when its features are not the
    champion's and `new_schema` does not say that callers know.
    """
    target = registry.get(version)
    with registry.exclusive(actor):
        settle_moves(registry)
        former = registry.aliases().get("champion", "")
        _check_gate(target, force=force or target.version == former)
        if former and not new_schema and not same_schema(target, registry.get(former)):
            raise RegistryError(
                f"version {target.version} has other features than the champion {former}: "
                "its callers would fail"
            )
        move = _move_to(target, "promote", former, reason, actor)
        evidence = {**(gates or {}), **_forced(target)}
        return _carry_out(registry, replace(move, gates=evidence))


def roll_back(registry: Promotable, *, reason: str, actor: str, to: str | None = None) -> str:
    """Make `to`, or the version before the champion, champion again; ends a canary. Returns the
    version."""
    with registry.exclusive(actor):
        settle_moves(registry)
        aliases = registry.aliases()
        version = to or aliases.get("previous")
        if version is None:
            raise RegistryError(
                "there is no former champion to go back to; `vigil promote V` names one"
            )
        former = aliases.get("champion", "")
        return _carry_out(
            registry, _move_to(registry.get(version), "rollback", former, reason, actor)
        )


def start_canary(
    registry: Promotable,
    version: str,
    steps: CanarySteps,
    *,
    reason: str,
    actor: str,
    force: bool = False,
) -> Canary:
    """Have `version` answer a share of the requests by `steps`; the monitor promotes it at their
    end, or stops it.

    Raises GateFailed for a version that failed its gate, unless `force`, and RegistryError when
    it is the champion, when there is none, or when another canary runs.
    """
    target = registry.get(version)
    _check_gate(target, force=force)
    with registry.exclusive(actor):
        settle_moves(registry)
        champion = _champion_to_follow(registry, target)
        canary = Canary(target.version, champion, time.time(), steps, reason)
        entry = registry.open_move(_move_to(target, "canary", champion, reason, actor))
        registry.set_canary(canary)
        registry.close_move(entry, done=True)
    return canary


def stop_canary(registry: Promotable, canary: Canary, *, reason: str, actor: str) -> None:
    """Send everybody back to the champion; does nothing when this canary has ended already."""
    with registry.exclusive(actor):
        settle_moves(registry)
        if registry.canary() == canary:
            _stop(registry, canary, reason, actor)


def same_schema(version: PromotableVersion, other: PromotableVersion) -> bool:
    """Return whether rows for one fit the other; a version that does not say is believed to."""
    return not (version.schema and other.schema) or version.schema == other.schema


def completed_moves(registry: Promotable, most: int | None = None) -> list[Move]:
    """Return every entry that was carried out, latest first; those among the latest `most` when
    that is given."""
    return [move for move in registry.moves(most) if move.state == "done"]


def champion_at(registry: Promotable, at: float) -> Move | None:
    """Return the move that made the champion of the time `at` (Unix seconds), or None before the
    first."""
    for move in completed_moves(registry):
        if move.moves_champion and move.at <= at:
            return move
    return None


def settle_moves(registry: Promotable) -> None:
    """Close what crashed promoters left open, and enter what was moved by other means; call it
    within `exclusive`.

    Like every move, the one that is entered is opened first, and entries are closed after the
    aliases are right: a crash in here is settled by the next one.
    """
    books = _Books.of(registry)
    closing = {move.id: books.was_made(move) for move in books.open_moves}
    if books.was_moved_outside:
        closing[registry.open_move(books.outside_move(registry))] = True
    if closing and books.champion:
        registry.set_schema(registry.get(books.champion).schema)
        registry.set_alias("previous", books.former or None)
    if books.canary is not None and books.canary.champion != books.champion:
        registry.set_canary(None)
    for move_id, done in closing.items():
        registry.close_move(move_id, done=done)


@dataclass(frozen=True)
class _Books:
    """Ledger, champion and canary of one moment; `champion` is empty where there is none."""

    moves: list[Move]
    champion: str
    canary: Canary | None

    @classmethod
    def of(cls, registry: Promotable) -> _Books:
        moves = registry.moves()
        canary = registry.canary()
        return cls(moves, registry.aliases().get("champion", ""), canary)

    @property
    def open_moves(self) -> list[Move]:
        return [move for move in self.moves if move.state == "open"]

    @property
    def entered_champion(self) -> str:
        """The champion by the ledger; empty before the first move."""
        last = self._last_move()
        return last.to if last else ""

    @property
    def former(self) -> str:
        """The version before the champion; empty where there was none."""
        if self.was_moved_outside:
            return self.entered_champion
        last = self._last_move()
        return last.former if last else ""

    @property
    def was_moved_outside(self) -> bool:
        """Whether the alias was moved by other means than these."""
        return bool(self.champion) and self.champion != self.entered_champion

    def outside_move(self, registry: Promotable) -> Move:
        """Return the entry of a move by other means."""
        reason = "the alias was moved by other means"
        target = registry.get(self.champion)
        return _move_to(target, "outside", self.entered_champion, reason, "unknown")

    def was_made(self, move: Move) -> bool:
        """Return whether the move was carried out, whoever closed its entry or did not."""
        if move.state != "open":
            return move.state == "done"
        if move.moves_champion:
            return self.champion == move.to
        is_start = move.kind == "canary"
        version = move.to if is_start else move.former
        return self._runs(version) == is_start

    def _runs(self, version: str) -> bool:
        return self.canary is not None and self.canary.version == version

    def _last_move(self) -> Move | None:
        """The last move of the champion that was made."""
        for move in self.moves:
            if move.moves_champion and self.was_made(move):
                return move
        return None


def _move_to(
    target: PromotableVersion, kind: MoveKind, former: str, reason: str, actor: str
) -> Move:
    return Move(
        kind=kind,
        former=former,
        to=target.version,
        digest=target.digest,
        reason=reason,
        actor=actor,
    )


def _carry_out(registry: Promotable, move: Move) -> str:
    """Move the champion; returns the version."""
    if move.former == move.to:
        canary = registry.canary()
        if canary is not None:
            _stop(registry, canary, move.reason, move.actor)
        return move.to
    entry = registry.open_move(move)
    registry.set_schema(registry.get(move.to).schema)
    if move.former:
        registry.set_alias("previous", move.former)
    registry.set_alias("champion", move.to)
    registry.set_canary(None)
    registry.close_move(entry, done=True)
    return move.to


def _stop(registry: Promotable, canary: Canary, reason: str, actor: str) -> None:
    champion = registry.get(canary.champion)
    move = _move_to(champion, "canary stopped", canary.version, reason, actor)
    entry = registry.open_move(move)
    registry.set_canary(None)
    registry.close_move(entry, done=True)


def _champion_to_follow(registry: Promotable, target: PromotableVersion) -> str:
    """The champion that a canary of `target` can be tried against. Raises RegistryError."""
    champion = registry.aliases().get("champion")
    running = registry.canary()
    if champion is None:
        raise RegistryError("there is no champion to try it against")
    if champion == target.version:
        raise RegistryError(f"version {target.version} is the champion")
    if running is not None:
        raise RegistryError(
            f"version {running.version} is a canary already: promote it, "
            f"or promote {champion} to end it"
        )
    if not same_schema(target, registry.get(champion)):
        raise RegistryError(
            f"version {target.version} has other features than the champion {champion}: "
            "it cannot be a canary"
        )
    return champion


def _check_gate(version: PromotableVersion, *, force: bool) -> None:
    """`challenger` names the version that was registered last, whatever its gate said: nothing is
    promoted by that alias."""
    if version.verdict == "failed" and not force:
        raise GateFailed(
            f"version {version.version} failed its gate; its run in MLflow says why (gate.json). "
            f"`vigil promote {version.version} --force` promotes it all the same"
        )


def _forced(version: PromotableVersion) -> dict[str, Any]:
    """What the ledger keeps of a promotion that the gate spoke against."""
    return {"passed": False, "forced": True} if version.verdict == "failed" else {}
