"""train/registry/promotion.py with a registry in memory.

It can be left at every step, as a killed promoter leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from train.registry.canary import Canary
from train.registry.moves import CHAMPION_MOVES, Move, champion_at, completed_moves
from train.registry.promotion import (
    GateFailed,
    promote_version,
    roll_back,
    start_canary,
    stop_canary,
)
from train.registry.settle import settle_moves
from vigil.errors import RegistryError

STEPS = ((0.05, 60.0), (0.25, 60.0))
VERSIONS = ("1", "2", "3", "4")


class Killed(BaseException):
    """The promoter's process is gone: no `finally` of it does anything any more."""


@dataclass(frozen=True)
class Known:
    version: str
    digest: str
    schema: str
    verdict: str = ""


class Shelf:
    """A registry in memory that a promoter can leave.

    `left` is after how many writes the promoter dies, before or after the deed.
    """

    def __init__(self) -> None:
        self.alias: dict[str, str] = {}
        self.trial: Canary | None = None
        self.schema = ""
        self.entries: list[Move] = []
        self.holder: str | None = None
        self.left: int | None = None
        self.clock = 0.0
        self.answering: list[tuple[float, str]] = []  # (time, champion): what replicas followed

    def _write(self, deed: Callable[[], object]) -> None:
        self.clock += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed
        deed()
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed

    def get(self, version: str) -> Known:
        if version not in VERSIONS:
            raise RegistryError(f"no version {version}")
        return Known(version, f"digest-{version}", "other" if version == "4" else "usual")

    def aliases(self) -> dict[str, str]:
        return dict(self.alias)

    def canary(self) -> Canary | None:
        return self.trial

    def set_alias(self, alias: str, version: str | None) -> None:
        def deed() -> None:
            if version is None:
                self.alias.pop(alias, None)
            else:
                self.alias[alias] = version
                if alias == "champion":
                    self.answering.append((self.clock, version))

        self._write(deed)

    def set_canary(self, canary: Canary | None) -> None:
        self._write(lambda: setattr(self, "trial", canary))

    def set_schema(self, schema: str) -> None:
        self._write(lambda: setattr(self, "schema", schema))

    def open_move(self, move: Move) -> str:
        entry = replace(move, id=str(len(self.entries)), at=self.clock + 1, state="open")
        self._write(lambda: self.entries.insert(0, entry))
        return entry.id

    def close_move(self, move: str, done: bool) -> None:
        state = "done" if done else "failed"
        self._write(
            lambda: setattr(
                self,
                "entries",
                [replace(m, state=state) if m.id == move else m for m in self.entries],
            )
        )

    def moves(self, most: int | None = None) -> list[Move]:
        return list(self.entries)

    @contextmanager
    def exclusive(self, actor: str) -> Iterator[None]:
        if self.holder is not None:
            raise RegistryError(f"another promotion is under way (by {self.holder})")
        self.holder = actor
        try:
            yield
        except Killed:
            raise  # the lock stays, until it is stale
        except BaseException:
            self.holder = None
            raise
        self.holder = None


def assert_one_story(shelf: Shelf) -> None:
    """After settling, aliases, canary and ledger agree; settling again changes nothing."""
    settle_moves(shelf)
    moves = [m for m in completed_moves(shelf) if m.kind in CHAMPION_MOVES]
    assert all(m.state != "open" for m in shelf.entries)
    assert (moves[0].to if moves else "") == shelf.alias.get("champion", "")
    if moves:
        assert shelf.alias.get("previous", "") == moves[0].former
        assert shelf.schema == shelf.get(moves[0].to).schema
    for later, earlier in pairwise(moves):
        assert later.former == earlier.to
    if shelf.trial is not None:
        assert shelf.trial.champion == shelf.alias["champion"] != shelf.trial.version
        assert completed_moves(shelf)[0].kind == "canary"
        assert completed_moves(shelf)[0].to == shelf.trial.version
    before = (dict(shelf.alias), shelf.trial, shelf.schema, shelf.moves())
    settle_moves(shelf)
    assert before == (shelf.alias, shelf.trial, shelf.schema, shelf.moves())


class Promoters(RuleBasedStateMachine):
    """Promoters die at any step, people move the alias by hand.

    Some things must be true whoever looks.
    """

    @initialize()
    def begin(self) -> None:
        self.shelf = Shelf()

    def _attempt(self, deed: Callable[[], object], dies_after: int | None) -> None:
        self.shelf.left = dies_after
        try:
            deed()
        except (Killed, RegistryError):
            pass
        self.shelf.left = None
        self.shelf.holder = None  # long after: a lock that was left is stale

    @rule(
        version=st.sampled_from(VERSIONS),
        dies_after=st.none() | st.integers(1, 16),
        new_schema=st.booleans(),
    )
    def promote(self, version: str, dies_after: int | None, new_schema: bool) -> None:
        self._attempt(
            lambda: promote_version(
                self.shelf, version, reason="r", actor="a", new_schema=new_schema
            ),
            dies_after,
        )

    @rule(to=st.none() | st.sampled_from(VERSIONS), dies_after=st.none() | st.integers(1, 16))
    def rollback(self, to: str | None, dies_after: int | None) -> None:
        self._attempt(lambda: roll_back(self.shelf, reason="r", actor="a", to=to), dies_after)

    @rule(version=st.sampled_from(VERSIONS), dies_after=st.none() | st.integers(1, 10))
    def start_canary(self, version: str, dies_after: int | None) -> None:
        self._attempt(
            lambda: start_canary(self.shelf, version, STEPS, reason="r", actor="a"), dies_after
        )

    @rule(dies_after=st.none() | st.integers(1, 10))
    def stop_canary(self, dies_after: int | None) -> None:
        running = self.shelf.canary()
        if running is not None:
            self._attempt(
                lambda: stop_canary(self.shelf, running, reason="r", actor="a"), dies_after
            )

    @rule(version=st.sampled_from(VERSIONS))
    def move_by_hand(self, version: str) -> None:
        self.shelf.set_alias("champion", version)

    @rule(dies_after=st.integers(1, 12))
    def die_while_settling(self, dies_after: int) -> None:
        self._attempt(lambda: settle_moves(self.shelf), dies_after)

    @rule()
    def look(self) -> None:
        assert_one_story(self.shelf)


TestPromoters = Promoters.TestCase
TestPromoters.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf()
    promote_version(made, "1", reason="first", actor="ann")
    return made


def test_promotions_and_rollbacks_chain(shelf: Shelf) -> None:
    with pytest.raises(RegistryError, match="no former champion"):
        roll_back(shelf, reason="", actor="")
    promote_version(shelf, "2", reason="", actor="")
    assert promote_version(shelf, "2", reason="again", actor="") == "2"
    assert roll_back(shelf, reason="bad", actor="") == "1"
    assert roll_back(shelf, reason="good", actor="") == "2"
    assert roll_back(shelf, reason="further", actor="", to="3") == "3"
    assert [(m.former, m.to) for m in completed_moves(shelf)] == [
        ("2", "3"),
        ("1", "2"),
        ("2", "1"),
        ("1", "2"),
        ("", "1"),
    ]
    assert (shelf.alias["champion"], shelf.alias["previous"]) == ("3", "2")


@pytest.mark.parametrize("dies_after", range(1, 16))
def test_whatever_the_step_a_promoter_dies_at_the_next_one_knows_what_was_made(
    shelf: Shelf, dies_after: int
) -> None:
    shelf.left = dies_after
    try:
        promote_version(shelf, "2", reason="", actor="ann")
    except Killed:
        with pytest.raises(RegistryError, match="by ann"):
            promote_version(shelf, "3", reason="", actor="bob")
    shelf.left, shelf.holder = None, None
    champion, moved_at = shelf.alias["champion"], shelf.clock
    roll_back(shelf, reason="", actor="bob") if champion == "2" else promote_version(
        shelf, "2", reason="", actor="bob"
    )
    assert [m.to for m in completed_moves(shelf)] == (
        ["1", "2", "1"] if champion == "2" else ["2", "1"]
    )
    found = champion_at(shelf, moved_at)
    assert found is not None
    assert found.to == champion


@pytest.mark.parametrize("dies_after", range(1, 16))
def test_a_settler_may_die_at_any_step_too(dies_after: int) -> None:
    for settler_dies_after in range(1, 16):
        shelf = Shelf()
        for version in ("1", "2"):
            promote_version(shelf, version, reason="", actor="")
        start_canary(shelf, "3", STEPS, reason="", actor="")
        shelf.left = dies_after
        with suppress(Killed):
            roll_back(shelf, reason="", actor="")
        shelf.left = settler_dies_after
        with suppress(Killed):
            settle_moves(shelf)
        shelf.left, shelf.holder = None, None
        assert_one_story(shelf)


def test_of_two_promoters_at_once_one_wins_and_the_other_is_told(shelf: Shelf) -> None:
    with shelf.exclusive("ann"), pytest.raises(RegistryError, match="under way \\(by ann\\)"):
        promote_version(shelf, "2", reason="", actor="bob")
    assert shelf.alias == {"champion": "1"}


def test_the_champion_of_a_time_is_the_one_that_replicas_followed_then(shelf: Shelf) -> None:
    promote_version(shelf, "2", reason="", actor="")
    start_canary(shelf, "3", STEPS, reason="", actor="")
    roll_back(shelf, reason="", actor="")
    assert champion_at(shelf, 0) is None
    for (since, version), (until, _) in zip(
        shelf.answering, [*shelf.answering[1:], (shelf.clock + 1, "")], strict=True
    ):
        for moment in (
            since,
            until - 4,
        ):  # an entry is opened up to three steps before the alias moves
            found = champion_at(shelf, moment)
            assert found is not None
            assert found.to == version


def test_a_canary_ends_by_promotion_by_rollback_and_by_its_guard(shelf: Shelf) -> None:
    first = start_canary(shelf, "2", STEPS, reason="try", actor="ann")
    with pytest.raises(RegistryError, match="2 is a canary already"):
        start_canary(shelf, "3", STEPS, reason="", actor="")
    stop_canary(shelf, first, reason="too many alerts", actor="guard")
    stop_canary(shelf, first, reason="told twice", actor="guard")
    assert shelf.trial is None
    start_canary(shelf, "2", STEPS, reason="", actor="")
    promote_version(shelf, "2", reason="", actor="")
    assert shelf.trial is None
    start_canary(shelf, "1", STEPS, reason="", actor="")
    promote_version(shelf, "2", reason="stay", actor="")
    assert shelf.trial is None
    assert [(m.kind, m.reason) for m in completed_moves(shelf)][:-1] == [
        ("canary stopped", "stay"),
        ("canary", ""),
        ("promote", ""),
        ("canary", ""),
        ("canary stopped", "too many alerts"),
        ("canary", "try"),
    ]


def test_what_cannot_be_tried_or_promoted_is_told(shelf: Shelf) -> None:
    with pytest.raises(RegistryError, match="1 is the champion"):
        start_canary(shelf, "1", STEPS, reason="", actor="")
    with pytest.raises(RegistryError, match="cannot be a canary"):
        start_canary(shelf, "4", STEPS, reason="", actor="")
    with pytest.raises(RegistryError, match="other features"):
        promote_version(shelf, "4", reason="", actor="")
    with pytest.raises(RegistryError, match="no champion"):
        start_canary(Shelf(), "1", STEPS, reason="", actor="")
    assert (shelf.alias, len(shelf.entries), shelf.holder) == ({"champion": "1"}, 1, None)
    promote_version(shelf, "4", reason="", actor="", new_schema=True)
    assert (shelf.schema, roll_back(shelf, reason="", actor=""), shelf.schema) == (
        "other",
        "1",
        "usual",
    )


def test_a_version_that_failed_its_gate_is_refused_unless_it_is_forced(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = shelf.get

    def judged(version: str) -> Known:
        return replace(known(version), verdict="failed" if version == "2" else "passed")

    monkeypatch.setattr(shelf, "get", judged)
    with pytest.raises(GateFailed, match=r"2 failed its gate.*`vigil promote 2 --force`"):
        promote_version(shelf, "2", reason="", actor="")
    with pytest.raises(GateFailed, match="2 failed its gate"):
        start_canary(shelf, "2", STEPS, reason="", actor="")
    assert (shelf.alias["champion"], len(shelf.entries)) == ("1", 1)
    start_canary(shelf, "2", STEPS, reason="", actor="", force=True)
    promote_version(shelf, "2", reason="it must be", actor="ann", gates={"shadow": 1}, force=True)
    assert completed_moves(shelf)[0].gates == {"shadow": 1, "passed": False, "forced": True}
    promote_version(shelf, "2", reason="it is champion already: a canary ends so", actor="ann")
    promote_version(shelf, "3", reason="", actor="ann")
    assert completed_moves(shelf)[0].gates == {}
    assert roll_back(shelf, reason="it was in use before", actor="ann") == "2"
