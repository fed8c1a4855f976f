"""Move the champion: promote, roll back, canary; one at a time, in an order that a crash leaves consistent.

Every move is first entered in the ledger as open, then made (`previous`, `champion`, the canary's end), then closed. Whoever
comes next finds the open entry of a crashed promoter and settles it: closed as done where the champion did move, else as
failed, with `previous` put back. What replicas follow, the alias, changes in one step, so they never see half a move.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from train.registry.canary import Canary, CanarySteps
from vigil.errors import RegistryError

MoveKind = Literal[
    "promote", "rollback", "canary", "canary stopped", "outside"
]  # outside: an alias that was moved by other means
CHAMPION_MOVES = ("promote", "rollback", "outside")  # kinds that move the champion


class GateFailed(RegistryError):
    """The version failed its gate, and nobody has said that it is to be promoted all the same."""


@dataclass(frozen=True)
class Move:
    """One entry of the ledger; `former` and `to` are versions, `at` is Unix seconds."""

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


class _Version(Protocol):
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

    def get(self, version: str) -> _Version: ...
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
    """Make `version` the champion and the former one `previous`; ends a canary. Returns the version.

    Raises GateFailed for a version that failed its gate, unless `force`, and RegistryError when there is no such version, when
    somebody else is promoting, or when its features are not the champion's and `new_schema` does not say that callers know.
    """
    target = registry.get(version)
    with registry.exclusive(actor):
        settle_moves(registry)
        former = registry.aliases().get("champion", "")
        _check_gate(target, force=force or target.version == former)
        if former and not new_schema and not same_schema(target, registry.get(former)):
            raise RegistryError(
                f"version {target.version} has other features than the champion {former}: its callers would fail"
            )
        evidence = {**(gates or {}), **_forced(target)}
        return _move(
            registry,
            Move("promote", former, target.version, target.digest, reason, actor, evidence),
        )


def roll_back(registry: Promotable, *, reason: str, actor: str, to: str | None = None) -> str:
    """Make `to`, or the version before the champion, champion again; ends a canary. Returns the version."""
    with registry.exclusive(actor):
        settle_moves(registry)
        aliases = registry.aliases()
        version = to or aliases.get("previous")
        if version is None:
            raise RegistryError(
                "there is no former champion to go back to; `vigil promote V` names one"
            )
        target = registry.get(version)
        return _move(
            registry,
            Move(
                "rollback",
                aliases.get("champion", ""),
                target.version,
                target.digest,
                reason,
                actor,
            ),
        )


def _move(registry: Promotable, move: Move) -> str:
    if move.former == move.to:
        if (canary := registry.canary()) is not None:
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


def _check_gate(version: _Version, *, force: bool) -> None:
    """`challenger` names the version that was registered last, whatever its gate said: nothing is promoted by that alias."""
    if version.verdict == "failed" and not force:
        raise GateFailed(
            f"version {version.version} failed its gate; its run in MLflow says why (gate.json). "
            f"`vigil promote {version.version} --force` promotes it all the same"
        )


def _forced(version: _Version) -> dict[str, Any]:
    """What the ledger keeps of a promotion that the gate spoke against."""
    return {"passed": False, "forced": True} if version.verdict == "failed" else {}


def same_schema(one: _Version, other: _Version) -> bool:
    """Whether rows for one fit the other; a version that does not say is believed to."""
    return not (one.schema and other.schema) or one.schema == other.schema


def start_canary(
    registry: Promotable,
    version: str,
    steps: CanarySteps,
    *,
    reason: str,
    actor: str,
    force: bool = False,
) -> Canary:
    """Have `version` answer a share of the requests by `steps`; the monitor promotes it at their end, or stops it.

    Raises GateFailed for a version that failed its gate, unless `force`, and RegistryError when it is the champion, when there
    is none, or when another canary runs.
    """
    target = registry.get(version)
    _check_gate(target, force=force)
    with registry.exclusive(actor):
        settle_moves(registry)
        champion, running = registry.aliases().get("champion"), registry.canary()
        if champion is None or champion == target.version:
            raise RegistryError(
                f"version {version} is the champion"
                if champion
                else "there is no champion to try it against"
            )
        if running is not None:
            raise RegistryError(
                f"version {running.version} is a canary already: promote it, or promote {champion} to end it"
            )
        if not same_schema(target, registry.get(champion)):
            raise RegistryError(
                f"version {target.version} has other features than the champion {champion}: it cannot be a canary"
            )
        canary = Canary(target.version, champion, time.time(), steps, reason)
        entry = registry.open_move(
            Move("canary", champion, target.version, target.digest, reason, actor)
        )
        registry.set_canary(canary)
        registry.close_move(entry, done=True)
    return canary


def stop_canary(registry: Promotable, canary: Canary, *, reason: str, actor: str) -> None:
    """Send everybody back to the champion; does nothing when this canary has ended already."""
    with registry.exclusive(actor):
        settle_moves(registry)
        if registry.canary() == canary:
            _stop(registry, canary, reason, actor)


def _stop(registry: Promotable, canary: Canary, reason: str, actor: str) -> None:
    champion = registry.get(canary.champion)
    entry = registry.open_move(
        Move("canary stopped", canary.version, champion.version, champion.digest, reason, actor)
    )
    registry.set_canary(None)
    registry.close_move(entry, done=True)


def settle_moves(registry: Promotable) -> None:
    """Close what crashed promoters left open, and enter what was moved by other means; call it within `exclusive`.

    Like every move, the one that is entered is opened first, and entries are closed after the aliases are right: a crash in
    here is settled by the next one.
    """
    moves, canary = registry.moves(), registry.canary()
    champion = registry.aliases().get("champion", "")
    left = [move for move in moves if move.state == "open"]
    made = {
        move.id
        for move in moves
        if move.state == "done" or (move.state == "open" and _made(move, champion, canary))
    }
    last = next((move for move in moves if move.kind in CHAMPION_MOVES and move.id in made), None)
    former, known = (last.former, last.to) if last else ("", "")
    closing = [(move.id, move.id in made) for move in left]
    if champion and champion != known:
        former, reason = known, "the alias was moved by other means"
        outside = Move("outside", known, champion, registry.get(champion).digest, reason, "unknown")
        closing.append((registry.open_move(outside), True))
    if closing and champion:
        registry.set_schema(registry.get(champion).schema)
        registry.set_alias("previous", former or None)
    if canary is not None and canary.champion != champion:
        registry.set_canary(None)
    for move_id, done in closing:
        registry.close_move(move_id, done=done)


def _made(move: Move, champion: str, canary: Canary | None) -> bool:
    if move.kind in CHAMPION_MOVES:
        return champion == move.to
    tried = move.to if move.kind == "canary" else move.former
    return (canary is not None and canary.version == tried) == (move.kind == "canary")


def completed_moves(registry: Promotable, most: int | None = None) -> list[Move]:
    """Every entry that was carried out, latest first; those among the latest `most` when that is given."""
    return [move for move in registry.moves(most) if move.state == "done"]


def champion_at(registry: Promotable, at: float) -> Move | None:
    """The move that made the champion of the time `at` (Unix seconds), or None before the first."""
    return next(
        (
            move
            for move in completed_moves(registry)
            if move.kind in CHAMPION_MOVES and move.at <= at
        ),
        None,
    )
