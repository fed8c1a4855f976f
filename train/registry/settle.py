"""Settle the promotion ledger: what crashed promoters left, and what was moved by other means."""

from __future__ import annotations

from dataclasses import dataclass

from train.registry.canary import Canary
from train.registry.moves import Move, Promotable, move_to


def settle_moves(registry: Promotable) -> None:
    """Close what crashed promoters left open, and enter what was moved by other means; call it
    within `exclusive`.

    Like every move, the one that is entered is opened first, and entries are closed after the
    aliases are right: a crash in here is settled by the next one.
    """
    books = _Books.of(registry)
    closing = {move.id: books.was_made(move) for move in books.open_moves}
    if books.was_moved_outside:
        entry = registry.open_move(books.outside_move(registry))
        closing[entry] = True
    if closing and books.champion:
        _set_right(registry, books)
    if books.has_old_canary:
        registry.set_canary(None)
    for move_id, done in closing.items():
        registry.close_move(move_id, done=done)


def _set_right(registry: Promotable, books: _Books) -> None:
    """Set what follows from the champion."""
    registry.set_schema(registry.get(books.champion).schema)
    registry.set_alias("previous", books.former or None)


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
        return cls(
            moves,
            registry.aliases().get("champion", ""),
            canary,
        )

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

    @property
    def has_old_canary(self) -> bool:
        """Whether a canary runs that was one for a former champion."""
        return self.canary is not None and self.canary.champion != self.champion

    def outside_move(self, registry: Promotable) -> Move:
        """Return the entry of a move by other means."""
        return move_to(
            registry.get(self.champion),
            "outside",
            self.entered_champion,
            reason="the alias was moved by other means",
            actor="unknown",
        )

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
