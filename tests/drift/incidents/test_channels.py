"""What each kind of channel sends, and which URLs are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.incidents.channels.alertmanager import incident_alert
from drift.incidents.channels.channel import Channel, ChannelContext
from drift.incidents.channels.opening import open_channels, split_channel_urls
from drift.incidents.channels.wording import plain_text, word_message
from drift.incidents.incident import FeatureDeviation, Incident
from drift.incidents.message import OutboxMessage, summarize
from drift.incidents.sender import ChannelSender
from drift.incidents.update import StoreUpdate
from drift.settings import DriftSettings
from tests.alertmanager import alertmanager, needs_alertmanager
from tests.drift.incidents.examples import Open, change, incident
from tests.drift.incidents.receivers import HttpReceiver, http_receiver
from tests.running import eventually
from vigil.errors import BadSettings
from vigil.timestamps import iso_time
from vigil.webhook import webhook_signature

CONTEXT = ChannelContext("pumps", "https://vigil.example.com/", "s3cret")
HOSTILE = "<!channel> *x* [a](https://evil.example.com) @here\n`rm`\u202e\x00"
FEATURES = (FeatureDeviation(HOSTILE, 93.25, 41.0, "up"),)


@pytest.fixture
def receiver() -> Iterator[tuple[HttpReceiver, str]]:
    with http_receiver() as started:
        yield started


def message(content: Incident, kind: Any = "opened", n: int = 1) -> OutboxMessage:
    return OutboxMessage(seq=n, id=f"{content.id}.{n}", kind=kind, at=1000.5, content=content)


def only(channels: list[Channel]) -> Channel:
    (channel,) = channels
    return channel


def test_a_cloud_event_is_signed_and_has_the_incident(receiver: tuple[HttpReceiver, str]) -> None:
    inbox, address = receiver
    channel = only(open_channels(f"cloudevents+http://{address}/hooks/1?a=b", CONTEXT))
    opened = incident(1, features=FEATURES, entities=("a",), entity_count=1)

    assert channel.deliver([message(opened)], 2000.0).is_taken

    ((headers, body),) = inbox.posts
    event = json.loads(body)
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": "i000001.1",
        "source": "/vigil/pumps",
        "type": "vigil.incident.opened",
        "subject": "i000001",
        "time": "1970-01-01T00:16:40.500Z",
        "datacontenttype": "application/json",
    }
    assert data["id"] == "i000001"
    assert data["features"] == [
        {"feature": HOSTILE, "observed": 93.25, "expected": 41.0, "direction": "up"}
    ]
    assert inbox.paths == ["/hooks/1?a=b"]
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert headers["x-vigil-delivery"] == "i000001.1"
    assert headers["x-vigil-signature"] == webhook_signature(b"s3cret", "2000", body)


def test_without_a_secret_nothing_is_signed(receiver: tuple[HttpReceiver, str]) -> None:
    inbox, address = receiver
    channel = only(open_channels(f"cloudevents+http://user:pw@{address}/"))
    channel.deliver([message(incident(1))], 0.0)

    ((headers, _),) = inbox.posts
    assert "x-vigil-signature" not in headers
    assert headers["authorization"] == "Basic dXNlcjpwdw=="


def test_a_summary_is_an_event_of_its_own_type(receiver: tuple[HttpReceiver, str]) -> None:
    inbox, address = receiver
    channel = only(open_channels(f"cloudevents+http://{address}", CONTEXT))
    many = [message(incident(n, grade=n / 100), n=n) for n in range(50)]
    summary = OutboxMessage(
        seq=60, id="summary.60", kind="summary", at=1.0, content=summarize(many)
    )
    channel.deliver([summary], 0.0)

    (event,) = inbox.documents
    assert (event["type"], event["id"]) == ("vigil.incident.summary", "summary.60")
    assert "subject" not in event
    assert event["data"]["opened"] == 50
    assert len(event["data"]["messages"]) == 50
    assert event["data"]["gravest"][0]["id"] == "i000049"


def test_apprise_is_given_text_without_markup(receiver: tuple[HttpReceiver, str]) -> None:
    inbox, address = receiver
    channel = only(open_channels(f"json://{address}/x", CONTEXT))
    told = incident(1, features=FEATURES, entities=("<b>",), entity_count=7)

    assert channel.deliver([message(told)], 0.0).is_taken
    inbox.status = 500
    assert not channel.deliver([message(told)], 0.0).is_taken

    (sent,) = inbox.documents
    text = sent["title"] + sent["message"]
    assert sent["type"] == "warning"
    assert "pumps: incident opened: 3 rows of" in sent["title"]
    assert "93.25, expected 41 (up)" in sent["message"]
    assert "https://vigil.example.com/incidents/i000001" in sent["message"]
    assert not set("<>*[]@`\u202e\x00") & set(text)


@given(st.text(max_size=200))
def test_a_name_stays_on_its_line_and_is_no_markup(name: str) -> None:
    shown = plain_text(name)
    assert not set("<>*[]@`~|&\n\r\x00\u202e") & set(shown)
    assert "://" not in shown
    shown.encode()


@pytest.mark.parametrize("name", ["cpu_user", "Temperatur °C", "rate (1/s)", "温度", "a:b"])
def test_a_usual_name_is_shown_as_it_is(name: str) -> None:
    assert plain_text(name) == name


def test_each_kind_of_message_has_its_words() -> None:
    titles = [
        word_message(message(incident(1, title="cpu up on a"), kind), "pumps", CONTEXT.link).title
        for kind in ("opened", "updated", "closed")
    ]
    assert titles == [
        "pumps: incident opened: cpu up on a",
        "pumps: incident is graver: cpu up on a",
        "pumps: incident closed: cpu up on a",
    ]


@needs_alertmanager
def test_an_alertmanager_shows_the_alert_with_its_labels_and_resolves_it(
    tmp_path: Path, open_store: Open, receiver: tuple[HttpReceiver, str]
) -> None:
    inbox, address = receiver
    store = open_store()
    with alertmanager(tmp_path, f"http://{address}/") as running:
        channel = only(open_channels(f"alertmanager+http://{running.address}", CONTEXT))
        sender = ChannelSender(channel, store)
        now = time.time()  # an Alertmanager has a clock of its own
        opened = change(1, onset=now - 5, features=FEATURES)
        store.record(StoreUpdate(changes=[opened]), ["alertmanager-1"])
        sender.turn(now)
        alert = eventually(running.alerts, 30)[0]
        eventually(lambda: inbox.documents, 30)

        closed = change(1, "closed", onset=now - 5, end=now)
        store.record(StoreUpdate(changes=[closed]), ["alertmanager-1"])
        sender.turn(now)
        eventually(lambda: running.alerts() == [], 30)
        resolved = eventually(lambda: [a for a in inbox.documents if a["status"] == "resolved"], 30)

    assert alert["labels"] == {
        "alertname": "VigilIncident",
        "severity": "warning",
        "detector": "pumps",
        "kind": "rows",
        "incident": "i000001",
    }
    assert alert["startsAt"] == iso_time(now - 5)
    assert alert["generatorURL"] == "https://vigil.example.com/incidents/i000001"
    assert "93.25, expected 41 (up)" in alert["annotations"]["description"]
    assert inbox.documents[0]["status"] == "firing"
    assert resolved[0]["alerts"][0]["labels"] == alert["labels"]


def test_an_alert_fires_until_it_is_not_refreshed_for_long_and_ends_with_its_incident() -> None:
    context = ChannelContext("pumps")
    firing = incident_alert(incident(1, onset=2000.0), context, 1000.0)
    ended = incident_alert(incident(1, state="closed", end=5000.0), context, 1000.0)

    assert firing["startsAt"] == "1970-01-01T00:16:40.000Z"  # a row's clock may be ahead
    assert firing["endsAt"] == "1970-01-01T00:21:40.000Z"
    assert ended["endsAt"] == "1970-01-01T00:16:40.000Z"


def test_an_open_alert_is_sent_again_before_it_would_resolve(
    open_store: Open, receiver: tuple[HttpReceiver, str]
) -> None:
    inbox, address = receiver
    store = open_store()
    sender = ChannelSender(only(open_channels(f"alertmanager+http://{address}/am/")), store)
    store.record(StoreUpdate(changes=[change(1), change(2)]), ["alertmanager-1"])
    for second in range(0, 301, 10):
        sender.turn(float(second))
        if second == 200:
            store.record(StoreUpdate(changes=[change(1, "closed")]), ["alertmanager-1"])

    alive = [[alert["labels"]["incident"] for alert in post] for post in inbox.documents]
    assert inbox.paths[0] == "/am/api/v2/alerts"
    assert alive[0] == ["i000001", "i000002"]
    assert alive[-1] == ["i000002"]
    assert 6 <= len(alive) <= 9


@pytest.mark.parametrize(
    "setting",
    [
        "http://example.com/token",
        "cloudevents://h/token",
        "cloudevents+ftp://h/token",
        "cloudevents+https:///token",
        "alertmanager+http://user:token@:9093",
        "alertmanager+http://h:token",
        "slack://token",
        "token",
        "json://localhost/x, nonsense://token",
    ],
)
def test_a_refused_url_is_named_at_the_start_without_its_secrets(
    setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        BadSettings, match=r"notify = a secret: .*it must be cloudevents"
    ) as refused:
        DriftSettings.from_values(notify=setting)
    assert "token" not in str(refused.value) + caplog.text


def test_urls_are_separated_by_commas_and_named_by_their_kind() -> None:
    setting = "slack://A/B/C/#x,y , cloudevents+https://u:p@h/p?q=1,cloudevents+http://h2 ,"
    urls = split_channel_urls(setting)

    assert [url.name for url in urls] == ["slack-1", "cloudevents-1", "cloudevents-2"]
    assert urls[0].text == "slack://A/B/C/#x,y"
    assert split_channel_urls("") == []
    places = [channel.place for channel in open_channels(setting.partition(" , ")[2])]
    assert places == ["cloudevents+https://h/****", "cloudevents+http://h2"]
