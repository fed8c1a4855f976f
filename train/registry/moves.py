"""Moves: the entries of the promotion ledger, and what a registry offers to those who make them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from train.registry.canary import Canary
from vigil.json_types import Fields

# outside: an alias that was moved by other means
MoveKind = Literal["promote", "rollback", "canary", "canary stopped", "outside"]
CHAMPION_MOVES = ("promote", "rollback", "outside")  # kinds that move the champion


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
    gates: Fields = field(default_factory=dict)
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


def move_to(
    target: PromotableVersion,
    kind: MoveKind,
    former: str,
    *,
    reason: str,
    actor: str,
) -> Move:
    """Return an entry of the ledger for a move to the version `target`."""
    return Move(
        kind=kind,
        former=former,
        to=target.version,
        digest=target.digest,
        reason=reason,
        actor=actor,
    )


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
