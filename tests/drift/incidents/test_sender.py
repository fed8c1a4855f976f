"""What a channel is sent: all of it, once, in order, and not too much."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from drift.incidents.message import OutboxMessage, StormSummary
from drift.incidents.outbox import Outbox
from drift.incidents.rate_limit import RateLimit, SentLately
from drift.incidents.sender import ChannelSender
from drift.incidents.update import StoreUpdate
from drift.state import LostLease
from tests.drift.incidents.examples import Open, change
from tests.drift.incidents.receivers import Inbox
from vigil.webhook import Delivery


def test_a_change_is_told_to_each_channel_once_and_in_order(url: str, open_store: Open) -> None:
    store = open_store(url)
    first = Inbox("a-1")
    second = Inbox("b-1")
    store.record(StoreUpdate(changes=[change(1), change(2)]), ["a-1", "b-1"])
    store.record(StoreUpdate(changes=[change(1, "closed")]), ["a-1", "b-1"])

    for inbox in (first, second):
        sender = ChannelSender(inbox, store)
        sender.turn(1.0)
        sender.turn(2.0)

    assert first.ids() == second.ids() == ["i000001.1", "i000002.1", "i000001.2"]
    assert len(first.taken) == 3
    assert first.taken[2].content == change(1, "closed").incident


def test_a_channel_that_is_down_for_ten_minutes_loses_and_doubles_nothing(
    open_store: Open,
) -> None:
    store = open_store()
    dead = Inbox("dead-1")
    alive = Inbox("alive-1")
    senders = [ChannelSender(dead, store), ChannelSender(alive, store)]
    expected: list[str] = []
    dead.down()
    for second in range(0, 601, 5):
        if second % 150 == 0:
            n = second // 150
            numbered = store.record(
                StoreUpdate(changes=[change(n), change(n, "closed")]), ["dead-1", "alive-1"]
            )
            expected += [one.id for one in numbered]
        if second == 600:
            dead.up()
        for sender in senders:
            sender.turn(float(second))
    for second in range(601, 800):
        senders[0].turn(float(second))

    assert alive.ids() == expected
    assert dead.ids() == expected  # ten changes: one summary, or one by one
    assert len(dead.taken) == len({message.id for message in dead.taken})
    assert senders[0].status().waiting == 0
    assert 10 < senders[0].status().failures < 40  # the pauses grow


def test_a_thousand_incidents_at_once_are_few_messages(url: str, open_store: Open) -> None:
    store = open_store(url, keep=1000)
    inbox = Inbox()
    sender = ChannelSender(inbox, store)
    expected: list[str] = []
    for kind in ("opened", "closed"):
        changes = [change(n, kind, grade=n / 1000) for n in range(1000)]
        numbered = store.record(StoreUpdate(changes=changes), ["inbox-1"])
        expected += [one.id for one in numbered]
        for second in range(100):
            sender.turn(second + (200.0 if kind == "closed" else 0.0))

    assert len(inbox.taken) == 2
    assert inbox.ids() == expected
    assert len(store.page(limit=1000).incidents) == 1000
    summary = inbox.taken[0].content
    assert isinstance(summary, StormSummary)
    assert (summary.opened, summary.closed) == (1000, 0)
    assert summary.gravest[0].grade == 0.999


def test_a_storm_that_goes_on_is_a_few_messages_a_minute(open_store: Open) -> None:
    store = open_store()
    inbox = Inbox()
    sender = ChannelSender(inbox, store)
    for second in range(1000):
        store.record(StoreUpdate(changes=[change(second)]), ["inbox-1"])
        sender.turn(float(second))
    for second in range(1000, 1100):
        sender.turn(float(second))

    assert len(inbox.taken) < 30
    assert inbox.ids() == [f"i{n:06d}.1" for n in range(1000)]


@pytest.mark.parametrize(
    ("waiting", "sent", "step"),
    [
        (1, SentLately(), "send"),
        (8, SentLately(), "send"),
        (9, SentLately(), "summarize"),
        (7, SentLately(1), "send"),
        (8, SentLately(1), "summarize"),
        (1, SentLately(8), "wait"),
        (1, SentLately(1, 1), "wait"),
    ],
)
def test_a_few_messages_go_out_at_once_and_many_as_one(
    waiting: int, sent: SentLately, step: str
) -> None:
    assert RateLimit(messages=8).next_step(waiting, sent) == step


def test_a_channel_that_takes_many_is_given_many(open_store: Open) -> None:
    store = open_store()
    inbox = Inbox(batch=100)
    store.record(StoreUpdate(changes=[change(n) for n in range(250)]), ["inbox-1"])
    ChannelSender(inbox, store).turn(0.0)

    assert len(inbox.times) == 3
    assert inbox.ids() == [f"i{n:06d}.1" for n in range(250)]


@pytest.mark.parametrize(("status", "goes_on"), [(400, True), (404, False), (0, False)])
def test_a_message_that_no_receiver_would_take_holds_up_no_other(
    open_store: Open, status: int, goes_on: bool
) -> None:
    store = open_store()
    inbox = Inbox()
    sender = ChannelSender(inbox, store)
    inbox.answer = Delivery(status, f"it answered {status}")
    store.record(StoreUpdate(changes=[change(1)]), ["inbox-1"])
    sender.turn(0.0)
    inbox.up()
    store.record(StoreUpdate(changes=[change(2)]), ["inbox-1"])
    sender.turn(5.0)

    assert inbox.ids() == (["i000002.1"] if goes_on else ["i000001.1", "i000002.1"])
    assert sender.status().failures == 1


def test_a_message_is_given_up_after_a_day(open_store: Open) -> None:
    store = open_store()
    inbox = Inbox()
    sender = ChannelSender(inbox, store, max_failing_s=3600)
    store.record(StoreUpdate(changes=[change(1)]), ["inbox-1"])
    inbox.down()
    sender.turn(0.0)
    assert sender.status().trouble == "503"
    for second in range(60, 3600, 60):
        sender.turn(float(second))
    assert sender.status().waiting == 1
    sender.turn(3600.0)

    assert sender.status().waiting == 0


@pytest.mark.parametrize("jump_s", [-1e8, 1e8])
def test_a_clock_that_jumps_gives_up_no_message_and_holds_none_up(
    open_store: Open, jump_s: float
) -> None:
    store = open_store()
    inbox = Inbox()
    sender = ChannelSender(inbox, store)
    store.record(StoreUpdate(changes=[change(1)]), ["inbox-1"])
    inbox.down()
    sender.turn(0.0)
    sender.turn(jump_s)
    assert (sender.status().waiting, sender.status().failures) == (1, 2)
    inbox.up()
    sender.turn(0.0)
    assert (sender.status().waiting, sender.status().sent) == (0, 1)


def test_a_limit_that_a_clock_ahead_has_used_up_holds_nothing_back(open_store: Open) -> None:
    store = open_store()
    inbox = Inbox()
    sender = ChannelSender(inbox, store, RateLimit(messages=1))
    for number, now in ((1, 1e8), (2, 0.0)):
        store.record(StoreUpdate(changes=[change(number)]), ["inbox-1"])
        sender.turn(now)
    assert sender.status().sent == 2


def test_a_library_that_raises_is_a_channel_that_is_down(open_store: Open) -> None:
    class Broken(Inbox):
        def deliver(self, messages: Sequence[OutboxMessage], now: float) -> Delivery:
            raise RuntimeError("the secret is hunter2")

    store = open_store()
    sender = ChannelSender(Broken(), store)
    store.record(StoreUpdate(changes=[change(1)]), ["inbox-1"])
    sender.turn(0.0)

    status = sender.status()
    assert (status.waiting, status.trouble) == (1, "memory://inbox-1: RuntimeError")


def test_a_former_leader_sends_nothing(url: str, open_store: Open) -> None:
    former = open_store(url)
    inbox = Inbox()
    sender = ChannelSender(inbox, former)
    former.record(StoreUpdate(changes=[change(1)]), ["inbox-1"])
    open_store(url)

    with pytest.raises(LostLease):
        sender.turn(0.0)
    assert inbox.taken == []


def test_what_waits_for_a_channel_that_is_no_more_is_given_up(url: str, open_store: Open) -> None:
    store = open_store(url)
    store.record(StoreUpdate(changes=[change(1)]), ["kept-1", "gone-1"])

    assert Outbox(store).drop_other_channels(["kept-1"]) == 1
    assert Outbox(store).backlog("kept-1").waiting == 1
    assert Outbox(store).backlog("kept-1").oldest == 1.0


def test_messages_that_were_taken_are_forgotten_with_old_incidents_others_never(
    url: str, open_store: Open
) -> None:
    store = open_store(url, keep=2)
    inbox = Inbox(batch=100)
    for n in range(20):
        store.record(StoreUpdate(changes=[change(n, "closed")]), ["inbox-1", "dead-1"])
        ChannelSender(inbox, store).turn(float(n))

    assert len(inbox.ids()) == 20
    assert Outbox(store).backlog("dead-1").waiting == 20
    assert len(Outbox(store).waiting("dead-1", 100)) == 20
