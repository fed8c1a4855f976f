"""What replicas and stream consumers have counted: of those that live one by one, of those that are gone in one sum, which never
goes back."""

from __future__ import annotations

from serve.metrics import MetricFamilies, sum_metrics

REPLICA_TIMEOUT_S = 6.0  # a replica that has not reported for so long is gone
# So often another replica has reported, about once a second, when Serve has long ended one that has not. It is not a time: when
# a machine wakes up, all its replicas have been silent for hours, and go on.
MAX_SILENT_ROUNDS = 300


class ReplicaCounters:
    """Holds as much for a thousand dead replicas as for one. Begins at nothing, as every counter of a new process does: what was
    told to a former monitor is not told again, or Prometheus would take it for new."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[MetricFamilies, int, float]] = {}
        self._round, self._heard = (
            0,
            set[str](),
        )  # who has reported in this round; who does again begins the next
        self._gone: MetricFamilies = []

    def report(self, name: str, counts: MetricFamilies, told: MetricFamilies, now: float) -> None:
        """The counts of a replica or a consumer since its start, and those of its last report that a monitor took."""
        if name in self._heard:
            self._round, self._heard = self._round + 1, set()
        self._heard.add(name)
        if name not in self._latest:
            self._gone = sum_metrics([self._gone, _negative(_without_gauges(told))])
        self._latest[name] = (counts, self._round, now)
        for other in [
            other
            for other, (_, last, _) in self._latest.items()
            if self._round - last > MAX_SILENT_ROUNDS
        ]:
            self._gone = sum_metrics([self._gone, _without_gauges(self._latest.pop(other)[0])])

    def snapshots(self, now: float) -> list[MetricFamilies]:
        """To be summed; of who is silent without its gauges: the dead are in no state."""
        latest = [
            counts if now - at < REPLICA_TIMEOUT_S else _without_gauges(counts)
            for counts, _, at in self._latest.values()
        ]
        return [self._gone, *latest]


def _without_gauges(counts: MetricFamilies) -> MetricFamilies:
    return [family for family in counts if family[1] != "gauge"]


def _negative(counts: MetricFamilies) -> MetricFamilies:
    return [
        (name, kind, documentation, [(sample, labels, -value) for sample, labels, value in samples])
        for name, kind, documentation, samples in counts
    ]
