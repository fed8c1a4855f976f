"""Messages to the monitor between releases: the missing has a default, the new is ignored."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.exposition import collect_metrics
from serve.metrics import ServeMetrics
from serve.model.report import (
    ArmCounts,
    CanaryReport,
    CapturedRows,
    ConsumerReport,
    MonitorAnswer,
    ReplicaReport,
    RowContext,
    ServedModel,
    ShadowReport,
)

COUNTS = collect_metrics(ServeMetrics().registry)
ROWS = np.arange(6.0).reshape(3, 2)
REQUESTS = ["a", "a", "b"]


def old_report() -> dict[str, Any]:
    """The dict that a replica sent before there were types."""
    arm = {"requests": 2, "errors": 1, "rows": 3, "alerts": 0, "latency": [0, 2]}
    return {
        "replica": "7-a",
        "pid": 7,
        "version": "3",
        "digest": "d",
        "since": 5.0,
        "desired": "4",
        "source": "registry",
        "canary": None,
        "refused": {"4": "it is damaged"},
        "rows": [("3", ROWS, ROWS[:, 0], ["a", "a", "b"])],
        "counts": COUNTS,
        "told": [],
        "trial": {"started": 1.0, "budget": 0.01, "champion": arm, "canary": arm},
        "shadow": {
            "champion": "3",
            "challenger": "4",
            "dropped": 0,
            "errors": 0,
            "scores": np.ones((2, 3)),
            "alerts": np.zeros((2, 3), bool),
            "seconds": (0.1, 0.2),
        },
    }


def new_report() -> ReplicaReport:
    arm = ArmCounts(requests=2, errors=1, rows=3, alerts=0, latency=(0, 2))
    return ReplicaReport(
        served=ServedModel(
            replica="7-a",
            pid=7,
            version="3",
            digest="d",
            since=5.0,
            desired="4",
            source="registry",
            refused={"4": "it is damaged"},
        ),
        rows=[CapturedRows("3", ROWS, ROWS[:, 0], REQUESTS)],
        counts=COUNTS,
        canary=CanaryReport(started=1.0, budget=0.01, champion=arm, canary=arm),
        shadow=ShadowReport(
            champion="3",
            challenger="4",
            scores=np.ones((2, 3)),
            alerts=np.zeros((2, 3), bool),
            seconds=(0.1, 0.2),
        ),
    )


def plain(value: Any) -> Any:
    """The value with lists in place of arrays and tuples, to compare."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def test_an_old_monitor_finds_every_key_in_a_new_report() -> None:
    assert plain(new_report().to_wire()) == plain(old_report())


def test_a_batch_keeps_its_threshold_its_numbering_and_whose_rows_they_are() -> None:
    context = RowContext(["a", "a", "b"], [1.0, 2.0, 3.0])
    numbering = np.array([[1, 3], [2, 3], [0, 1]])
    batch = CapturedRows("3", ROWS, ROWS[:, 0], REQUESTS, 0.6, context, numbering)
    report = msgspec.structs.replace(new_report(), rows=[batch])
    read = ReplicaReport.from_wire(report.to_wire()).rows[0]
    assert (read.threshold, read.context) == (0.6, context)
    assert read.number_rows().tolist() == numbering.tolist()


def test_what_is_sent_has_no_class_of_this_release() -> None:
    consumer = ConsumerReport("stream-1", COUNTS, COUNTS)
    for sent in (new_report().to_wire(), consumer.to_wire()):
        assert b"serve." not in pickle.dumps(sent)


def test_a_new_monitor_reads_what_an_old_replica_sends() -> None:
    report = ReplicaReport.from_wire(old_report())
    assert plain(report.to_wire()) == plain(old_report())
    assert report.rows[0].number_rows().tolist() == [[0, 2], [1, 2], [0, 1]]
    assert report.canary is not None
    assert report.canary.canary.errors == 1
    assert report.rows[0].rows is ROWS  # no copy


@pytest.mark.parametrize("key", sorted(old_report()))
def test_a_report_without_a_field_has_its_default(key: str) -> None:
    wire = old_report()
    del wire[key]
    if key == "replica":
        with pytest.raises(msgspec.ValidationError, match="replica"):
            ReplicaReport.from_wire(wire)
    else:
        assert ReplicaReport.from_wire({**wire, "of_tomorrow": 1}).served.replica == "7-a"


def test_a_shadow_that_failed_sends_no_arrays() -> None:
    shadow = ShadowReport(champion="3", challenger="4", errors=7)
    assert shadow.to_wire() == {"champion": "3", "challenger": "4", "errors": 7, "dropped": 0}


JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers())


@settings(max_examples=200, deadline=None)
@given(key=st.sampled_from(sorted(old_report())), value=JSON)
def test_a_report_with_another_value_is_read_or_refused(key: str, value: Any) -> None:
    wire = {**old_report(), key: value}
    try:
        report = ReplicaReport.from_wire(wire)
    except msgspec.ValidationError:
        return
    assert plain(report.to_wire())[key] == plain(value)


def test_a_consumer_reports_by_position() -> None:
    report = ConsumerReport("stream-1", COUNTS, COUNTS)
    assert ConsumerReport.from_wire(report.to_wire()) == report
    assert ConsumerReport.from_wire(("stream-1", COUNTS, [], "of tomorrow")).delivered == []


def test_the_answer_is_read_whatever_is_missing_or_new() -> None:
    answer = MonitorAnswer(1.5, 7.0)
    assert answer.to_wire() == {"drift_score": 1.5, "stopped_canary": 7.0}
    assert MonitorAnswer.from_wire(answer.to_wire()) == answer
    assert MonitorAnswer.from_wire({"of_tomorrow": 1}) == MonitorAnswer()
