"""The notifier: threads that send, channels that change, and a monitor that is killed."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path

import pytest

from drift.incidents.channels.channel import ChannelContext
from drift.incidents.notifier import Notifier
from drift.incidents.update import StoreUpdate
from drift.settings import DriftSettings
from tests.drift.incidents import mortal_monitor
from tests.drift.incidents.examples import Open, change
from tests.drift.incidents.mortal_monitor import BATCHES, ENTITIES, ROWS_A_BATCH
from tests.drift.incidents.receivers import http_receiver
from tests.running import eventually, free_port

CONTEXT = ChannelContext("pumps")


def test_a_channel_that_is_down_holds_up_no_other(open_store: Open) -> None:
    store = open_store()
    notifier = Notifier(store)
    with http_receiver() as (inbox, address):
        dead = f"cloudevents+http://127.0.0.1:{free_port()}"
        notifier.follow(f"{dead},cloudevents+http://{address}", CONTEXT)
        notifier.start()
        store.record(StoreUpdate(changes=[change(1)]), notifier.channels)
        notifier.wake()
        eventually(lambda: inbox.posts)
        notifier.stop()

    first, second = notifier.statuses()
    assert notifier.channels == ["cloudevents-1", "cloudevents-2"]
    assert (first.waiting, second.waiting) == (1, 0)
    assert "does not answer" in first.trouble


def test_what_waits_goes_to_the_same_channel_with_another_secret(open_store: Open) -> None:
    store = open_store()
    notifier = Notifier(store)
    notifier.follow(f"cloudevents+http://u:old@127.0.0.1:{free_port()}", CONTEXT)
    notifier.start()
    store.record(StoreUpdate(changes=[change(1)]), notifier.channels)
    with http_receiver() as (inbox, address):
        notifier.follow(f"cloudevents+http://u:new@{address}", CONTEXT)
        eventually(lambda: inbox.posts)
        notifier.stop()

    assert inbox.ids() == ["i000001.1"]


def test_a_refused_url_changes_nothing(open_store: Open) -> None:
    notifier = Notifier(open_store())
    notifier.follow("cloudevents+http://h", CONTEXT)

    with pytest.raises(ValueError, match="ftp"):
        notifier.follow("ftp://h", CONTEXT)
    assert notifier.channels == ["cloudevents-1"]


def test_a_renewed_secret_is_followed_and_a_refused_one_is_logged_once(
    open_store: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = DriftSettings.from_values(console_url="http://c")
    notifier = Notifier(open_store())
    monkeypatch.setenv("VIGIL_DRIFT_NOTIFY", "cloudevents+http://h")
    notifier.follow_settings(settings)
    assert notifier.channels == ["cloudevents-1"]
    monkeypatch.setenv("VIGIL_DRIFT_NOTIFY", "ftp://token")
    notifier.follow_settings(settings)
    notifier.follow_settings(settings)

    assert notifier.channels == ["cloudevents-1"]
    assert caplog.text.count("VIGIL_DRIFT_NOTIFY: ftp-1") == 1
    assert "token" not in caplog.text


def test_a_former_leader_stops_to_send(open_store: Open) -> None:
    former = open_store()
    notifier = Notifier(former)
    with http_receiver() as (inbox, address):
        notifier.follow(f"cloudevents+http://{address}", CONTEXT)
        present = open_store()
        present.record(StoreUpdate(changes=[change(1)]), notifier.channels)
        with pytest.raises(Exception, match="another monitor"):
            notifier.start()
        successor = Notifier(present)
        successor.follow(f"cloudevents+http://{address}", CONTEXT)
        successor.start()
        eventually(lambda: inbox.posts)
        successor.stop()

    assert inbox.ids() == ["i000001.1"]


def test_an_outage_is_one_message_on_open_and_one_on_close_whenever_the_monitor_is_killed(
    tmp_path: Path,
) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([mortal_monitor.__name__])
    chance = random.Random(23)
    kills = 0
    with http_receiver() as (inbox, address):
        notify = f"cloudevents+http://{address}"
        while kills < 20:
            seconds = chance.uniform(0.0, 0.6)
            process = processes.Process(
                target=mortal_monitor.live, args=(tmp_path, notify, seconds)
            )
            process.start()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        process = processes.Process(target=mortal_monitor.live, args=(tmp_path, notify, None))
        process.start()
        process.join()

    assert process.exitcode == 0
    told = {event["id"]: event["type"] for event in inbox.documents}
    assert sorted(told.values()) == ["vigil.incident.closed", "vigil.incident.opened"]
    assert [id_.rpartition(".")[2] for id_ in inbox.ids()] == ["1", "2"]
    (closed,) = mortal_monitor.open_store(tmp_path).page().incidents
    assert (closed.rows, closed.entity_count) == (BATCHES * ROWS_A_BATCH, ENTITIES)
