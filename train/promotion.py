"""Move the champion: promote, roll back, canary; one at a time, in an order that a crash leaves consistent.

Every move is first entered in the ledger as open, then made (canary off, `previous`, `champion`), then closed. Whoever comes
next finds the open entry of a crashed promoter and settles it: closed as done where the champion did move, else as failed,
with `previous` put back. What replicas follow, the alias, changes in one step, so they never see half a move.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from train.canary import Canary, Steps
from train.errors import RegistryError

Kind = Literal["promote", "rollback", "canary", "canary stopped"]
MOVES = ("promote", "rollback")  # kinds that move the champion


@dataclass(frozen=True)
class Move:
    """One entry of the ledger; `former` and `to` are versions, `at` is Unix seconds."""

    kind: Kind
    former: str
    to: str
    digest: str
    reason: str
    actor: str
    gates: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0
    id: str = ""
    state: Literal["open", "done", "failed"] = "open"


class _Version(Protocol):
    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...


class Promotable(Protocol):
    """What a registry offers to promotions: single steps, each atomic."""

    def get(self, version: str) -> _Version: ...
    def aliases(self) -> dict[str, str]: ...
    def canary(self) -> Canary | None: ...
    def set_alias(self, alias: str, version: str | None) -> None: ...
    def set_canary(self, canary: Canary | None) -> None: ...
    def open_move(self, move: Move) -> str: ...
    def close_move(self, move: str, done: bool) -> None: ...
    def moves(self) -> list[Move]: ...
    def exclusive(self, actor: str) -> AbstractContextManager[None]: ...


def promote(
    registry: Promotable, version: str, *, reason: str, actor: str, gates: Mapping[str, Any] | None = None, kind: Kind = "promote"
) -> str:
    """Make `version` the champion and the former one `previous`; ends a canary. Returns the version.

    Raises RegistryError when there is no such version, or when somebody else is promoting.
    """
    target = registry.get(version)
    with registry.exclusive(actor):
        settle(registry)
        former = registry.aliases().get("champion", "")
        if former == target.version:
            registry.set_canary(None)
            return target.version
        entry = registry.open_move(Move(kind, former, target.version, target.digest, reason, actor, gates or {}))
        registry.set_canary(None)
        if former:
            registry.set_alias("previous", former)
        registry.set_alias("champion", target.version)
        registry.close_move(entry, done=True)
    return target.version


def rollback(registry: Promotable, *, reason: str, actor: str, to: str | None = None) -> str:
    """Make `to`, or the version before the champion, champion again; ends a canary. Returns the version."""
    target = to or registry.aliases().get("previous")
    if target is None:
        raise RegistryError("there is no former champion to go back to; `vigil promote V` names one")
    return promote(registry, target, reason=reason, actor=actor, kind="rollback")


def start_canary(registry: Promotable, version: str, steps: Steps, *, reason: str, actor: str) -> Canary:
    """Have `version` answer a share of the requests by `steps`; the monitor promotes it at their end, or stops it.

    Raises RegistryError when it is the champion, when there is none, or when another canary runs.
    """
    target = registry.get(version)
    with registry.exclusive(actor):
        settle(registry)
        champion, running = registry.aliases().get("champion"), registry.canary()
        if champion is None or champion == target.version:
            raise RegistryError(f"version {version} is the champion" if champion else "there is no champion to try it against")
        if running is not None:
            raise RegistryError(f"version {running.version} is a canary already: promote it, or `vigil rollback` ends it")
        canary = Canary(target.version, champion, time.time(), steps, reason)
        entry = registry.open_move(Move("canary", champion, target.version, target.digest, reason, actor))
        registry.set_canary(canary)
        registry.close_move(entry, done=True)
    return canary


def stop_canary(registry: Promotable, canary: Canary, *, reason: str, actor: str) -> None:
    """Send everybody back to the champion. First the deed, then the entry: this is the move that cannot wait."""
    with registry.exclusive(actor):
        if registry.canary() != canary:
            return
        registry.set_canary(None)
        move = Move("canary stopped", canary.version, canary.champion, registry.get(canary.champion).digest, reason, actor)
        registry.close_move(registry.open_move(move), done=True)


def settle(registry: Promotable) -> None:
    """Close what crashed promoters left open; call it within `exclusive`."""
    moves = registry.moves()
    left = [move for move in moves if move.state == "open"]
    if not left:
        return
    aliases, canary = registry.aliases(), registry.canary()
    for move in left:
        made = canary is not None and canary.version == move.to if move.kind == "canary" else aliases.get("champion") == move.to
        registry.close_move(move.id, done=made)
        if not made and move.kind in MOVES:
            before = next((m.former for m in moves if m.state == "done" and m.kind in MOVES), "")
            registry.set_alias("previous", before or None)


def history(registry: Promotable) -> list[Move]:
    """Every entry that was carried out, latest first."""
    return [move for move in registry.moves() if move.state == "done"]


def champion_at(registry: Promotable, at: float) -> Move | None:
    """The move that made the champion of the time `at` (Unix seconds), or None before the first."""
    return next((move for move in history(registry) if move.kind in MOVES and move.at <= at), None)
