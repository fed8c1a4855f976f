"""The sums over replicas: what Prometheus makes of them, whoever comes, goes or begins anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drift.replicas import REPLICA_TIMEOUT_S
from drift.view.counts import MAX_SILENT_ROUNDS, ReplicaCounters
from serve.exposition import MetricFamilies, collect_metrics, render_exposition
from serve.metrics import ServeMetrics


def counted(rows: int) -> MetricFamilies:
    metrics = ServeMetrics()
    metrics.rows.inc(rows)
    metrics.latency.observe(0.01)
    metrics.memory.set(5)
    return collect_metrics(metrics.registry)


def total_rows(found: list[MetricFamilies]) -> float:
    return sum(
        value
        for one in found
        for *_, of in one
        for name, _, value in of
        if name == "vigil_rows_scored_total"
    )


def bytes_held(found: list[MetricFamilies]) -> float:
    return sum(
        value
        for one in found
        for *_, of in one
        for name, _, value in of
        if name == "vigil_replica_resident_memory_bytes"
    )


def test_replicas_that_come_and_go_cost_nothing_and_take_nothing_back() -> None:
    counts, one, sizes = ReplicaCounters(), counted(1), []
    for i in range(30):
        for told in ([], *(one for _ in range(MAX_SILENT_ROUNDS))):
            counts.report(f"r{i}", one, told, i * REPLICA_TIMEOUT_S)
        found = counts.families(i * REPLICA_TIMEOUT_S)
        assert (total_rows(found), bytes_held(found)) == (
            i + 1,
            5,
        )  # memory is of the one that lives
        sizes.append((len(found), len(render_exposition(found))))
    assert max(sizes)[0] <= 4
    assert sizes[-1][1] < sizes[5][1] + 100


def test_a_replica_that_was_asleep_with_all_others_is_counted_once() -> None:
    counts = ReplicaCounters()
    for told in ([], *(counted(1) for _ in range(MAX_SILENT_ROUNDS - 1))):
        counts.report("a", counted(1), told, 0)
    counts.report("b", counted(2), [], 0)
    assert total_rows(counts.families(0)) == 3
    counts.report("a", counted(4), counted(1), REPLICA_TIMEOUT_S)
    assert total_rows(counts.families(0)) == 6


def test_a_replica_that_was_silent_for_too_long_is_counted_once() -> None:
    counts = ReplicaCounters()
    counts.report("a", counted(1), [], 0)
    for told in ([], *(counted(2) for _ in range(MAX_SILENT_ROUNDS + 1))):
        counts.report("b", counted(2), told, 0)
    counts.report("a", counted(4), counted(1), REPLICA_TIMEOUT_S)
    assert (
        total_rows(counts.families(REPLICA_TIMEOUT_S)),
        bytes_held(counts.families(REPLICA_TIMEOUT_S)),
    ) == (
        6,
        5,
    )


@given(
    st.lists(
        st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), st.none()),
        max_size=40,
    )
)
def test_prometheus_never_sees_more_than_was_counted(
    events: list[tuple[int, int, bool] | None],
) -> None:
    """Each event: rows of a replica, and whether it hears that its report was taken.

    None: the monitor begins anew.
    """
    counts, rows, told, heard, anew = (
        ReplicaCounters(),
        [0, 0, 0],
        dict[int, MetricFamilies](),
        True,
        False,
    )
    increase, before = 0.0, 0.0
    for event in events:
        if event is None:
            counts, anew = ReplicaCounters(), True
        else:
            replica, more, answered = event
            rows[replica] += more
            now = counted(rows[replica])
            counts.report(str(replica), now, told.get(replica, []), 0)
            told |= {replica: now} if answered else {}
            heard = heard and answered
        value = total_rows(counts.families(0))
        increase += value - before if value >= before else value  # as Prometheus reads a counter
        before = value
    assert increase >= 0
    assert increase <= sum(rows) or not heard
    assert increase == sum(rows) or anew
