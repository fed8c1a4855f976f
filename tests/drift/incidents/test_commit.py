"""A database that breaks in the middle of a commit: what was said is said once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from drift.incidents.answers import IncidentAnswers
from drift.incidents.desk import IncidentDesk
from drift.incidents.deviation import Deviations
from drift.incidents.errors import IncidentStoreUnavailable
from drift.incidents.incident import ScoredRows
from drift.incidents.outbox import Outbox
from drift.settings import DriftSettings
from serve.metrics import DriftMetrics
from tests.drift.incidents.cut_proxy import CutProxy, Side
from tests.drift.incidents.receivers import HttpReceiver, http_receiver
from tests.postgres import postgres
from tests.running import eventually
from vigil.arrays import Floats

AT = 1_795_946_400.0
SIDES: list[Side] = ["before", "after"]
Desks = Callable[[str], tuple[IncidentDesk, CutProxy]]


def describe(rows: Floats) -> list[Deviations]:
    return [() for _ in rows]


def alerting(at: float) -> ScoredRows:
    return ScoredRows(
        version="1",
        threshold=0.6,
        names=("cpu",),
        rows=np.full((5, 1), at),
        scores=np.full(5, 0.8),
        times=at + np.arange(5.0),
        arrived=at + 5,
    )


@pytest.fixture
def receiver() -> Iterator[tuple[HttpReceiver, str]]:
    with http_receiver() as found:
        yield found


@pytest.fixture
def open_desk(tmp_path: Path, receiver: tuple[HttpReceiver, str]) -> Iterator[Desks]:
    """open_desk(table): a desk, and the way to its server, which may break where it writes."""
    opened: list[tuple[IncidentDesk, CutProxy]] = []

    def open_(table: str) -> tuple[IncidentDesk, CutProxy]:
        proxy = CutProxy(url, table)
        settings = DriftSettings.from_values(
            home=str(tmp_path),
            incidents_url=proxy.url.replace("+psycopg2", ""),
            notify=f"cloudevents+http://{receiver[1]}/",
        )
        desk = IncidentDesk(settings, tmp_path, DriftMetrics(), lambda: AT)
        opened.append((desk, proxy))
        desk.follow_lease(True)
        return desk, proxy

    with postgres() as url:
        yield open_
        for desk, proxy in opened:
            desk.close()
            proxy.close()


@pytest.mark.parametrize("side", SIDES)
def test_a_message_is_told_once(
    side: Side, open_desk: Desks, receiver: tuple[HttpReceiver, str]
) -> None:
    desk, proxy = open_desk("incident_messages")
    proxy.cut_next_commit(side)
    desk.observe(alerting(AT), describe)
    desk.save()
    assert proxy.cuts == 1
    desk.observe(alerting(AT + 10), describe)  # it goes on meanwhile
    desk.tick(AT + 20)
    desk.tick(AT + 10_000)
    (incident,) = desk.store.page().incidents
    eventually(lambda: len(receiver[0].posts) >= 2)
    eventually(lambda: Outbox(desk.store).backlog("cloudevents-1").waiting == 0)

    assert (incident.state, incident.rows) == ("closed", 10)
    assert [event["id"] for event in receiver[0].documents] == [
        f"{incident.id}.1",
        f"{incident.id}.2",
    ]


@pytest.mark.parametrize("side", SIDES)
def test_a_verdict_is_kept_once(side: Side, open_desk: Desks) -> None:
    desk, proxy = open_desk("incident_verdicts")
    answers = IncidentAnswers(desk, lambda: AT)
    desk.observe(alerting(AT), describe)
    desk.save()
    (incident,) = desk.store.page().incidents
    order = {
        "incident": incident.id,
        "verdict": "confirmed",
        "reason": "",
        "by": "ann",
        "rule": None,
    }
    proxy.cut_next_commit(side)
    with pytest.raises(IncidentStoreUnavailable):
        answers.judge_incident(order)
    desk.save()
    found = answers.incident(incident.id)

    assert proxy.cuts == 1
    assert [verdict["by"] for verdict in found["verdicts"]] == ["ann"]
    assert found["verdict"] == "confirmed"
