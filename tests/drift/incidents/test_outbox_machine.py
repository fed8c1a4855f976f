"""Whatever dies, and whenever: each channel is told of each change once, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy.orm import Session

from drift.incidents.database import open_database
from drift.incidents.incident import ChangeKind, IncidentChange
from drift.incidents.message import OutboxMessage
from drift.incidents.rate_limit import RateLimit
from drift.incidents.sender import ChannelSender
from drift.incidents.store import IncidentStore
from drift.incidents.update import StoreUpdate
from tests.drift.incidents.examples import change
from tests.drift.incidents.receivers import Inbox
from vigil.webhook import Delivery

LIMIT = RateLimit(messages=3, window_s=60)
CHANNELS = ("a-1", "b-1")
Side = Literal["before", "after"]
KINDS: list[ChangeKind] = ["opened", "updated", "closed"]
EVENTS = st.tuples(st.integers(0, 3), st.sampled_from(KINDS))
STATUSES = st.sampled_from([200, 200, 503, 0])


class Killed(BaseException):
    """The process is gone."""


class Death:
    """Comes at the n-th transaction from now, before or after it is committed."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._side: Side = "before"

    def plan(self, transactions: int | None, side: Side) -> None:
        self._left = transactions
        self._side = side

    def begin_transaction(self) -> None:
        if self._left is not None:
            self._left -= 1

    def come(self, side: Side) -> None:
        if self._left == 0 and self._side == side:
            self._left = None
            raise Killed


class MortalStore(IncidentStore):
    """One whose process may die around each transaction."""

    def __init__(self, folder: Path, death: Death) -> None:
        super().__init__(open_database("", folder), keep=1000)
        self._death = death

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        self._death.begin_transaction()
        with super().transaction() as session:
            yield session
            self._death.come("before")
        self._death.come("after")


class TellingEverybody(RuleBasedStateMachine):
    """A tracker that works through changes, two channels, and a process that dies."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.death = Death()
        self.now = 0.0
        self.todo: list[IncidentChange] = []
        self.counts: Counter[int] = Counter()
        self.inboxes = [Inbox(name) for name in CHANNELS]
        self._start()

    def _start(self) -> None:
        self.store = MortalStore(Path(self.folder.name), self.death)
        self.store.begin_epoch()
        self.senders = [ChannelSender(inbox, self.store, LIMIT) for inbox in self.inboxes]

    def _live(self, act: Callable[[], object]) -> None:
        """Do something, and begin anew where the process dies of it."""
        try:
            act()
        except Killed:
            self.store.close()
            self._start()

    @property
    def done(self) -> int:
        """How many changes the tracker has seen, by its stored state."""
        return (self.store.tracker_state() or {"seen": 0})["seen"]

    @rule(events=st.lists(EVENTS, min_size=1, max_size=5))
    def happen(self, events: list[tuple[int, ChangeKind]]) -> None:
        self.counts.update(number for number, _ in events)
        self.todo += [change(number, kind) for number, kind in events]
        self.track()

    @rule()
    def track(self) -> None:
        """Go on where the stored state says."""
        update = StoreUpdate(tracker={"seen": len(self.todo)}, changes=self.todo[self.done :])
        self._live(lambda: self.store.record(update, CHANNELS))

    @rule(statuses=st.tuples(STATUSES, STATUSES))
    def send(self, statuses: tuple[int, int]) -> None:
        for inbox, status in zip(self.inboxes, statuses, strict=True):
            inbox.answer = Delivery(status)
        for place in range(len(CHANNELS)):
            self._live(partial(self._turn, place))

    def _turn(self, place: int) -> None:
        self.senders[place].turn(self.now)

    @rule(transactions=st.integers(1, 6), side=st.sampled_from(["before", "after"]))
    def plan_death(self, transactions: int, side: Side) -> None:
        self.death.plan(transactions, side)

    @rule(seconds=st.sampled_from([0.5, 5.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.death.plan(None, "before")
        self.track()
        for inbox in self.inboxes:
            inbox.up()
        for _ in range(3 + len(self.todo)):
            self.now += 61
            for sender in self.senders:
                sender.turn(self.now)
        for inbox in self.inboxes:
            self._check(inbox)
        self.store.close()
        self.folder.cleanup()

    def _check(self, inbox: Inbox) -> None:
        told = inbox.ids()
        expected = {f"i{n:06d}.{k + 1}" for n in self.counts for k in range(self.counts[n])}
        assert set(told) == expected
        for number in self.counts:
            own = [int(id_.partition(".")[2]) for id_ in told if id_.startswith(f"i{number:06d}.")]
            assert own == sorted(own)
        summed_up = [id_ for message in inbox.taken for id_ in _ids_of(message)]
        copies = Counter(message.id for message in inbox.taken)
        # A change that comes twice comes in the same message, under the same id.
        once = {message.id: _ids_of(message) for message in inbox.taken}
        assert len(summed_up) == sum(copies[id_] * len(ids) for id_, ids in once.items())
        assert sum(len(ids) for ids in once.values()) == len(expected)


def _ids_of(message: OutboxMessage) -> list[str]:
    inbox = Inbox()
    inbox.taken = [message]
    return inbox.ids()


TestTellingEverybody = TellingEverybody.TestCase
TestTellingEverybody.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
